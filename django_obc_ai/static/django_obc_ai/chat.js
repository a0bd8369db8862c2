// The chat as people see it: ask, stop, try again, copy. Without it the forms work as they stand.
"use strict";

(() => {
  // From chat-line.js; missing where the page's policy forbids to set HTML.
  const shared = window[Symbol.for("django_obc_ai.chat")];
  if (!shared) return;
  if (shared.begin) {
    shared.begin(); // the tag stands twice on the page
    return;
  }
  const { Line, policy } = shared;
  const LONGEST_WAIT_SECONDS = 60;
  const SHOWN_COPIED_MS = 2000;

  class Chat {
    constructor(root) {
      this.root = root;
      this.kind = root.dataset.obcAi;
      this.form = this.find("form");
      this.field = this.form.elements.message;
      this.log = this.find("log");
      this.scroll = this.find("scroll");
      this.key = root.dataset.conversation || this.remembered();
      this.isLoaded = this.kind === "page";
      this.running = null;
      this.line = new Line(this.form, { url: root.dataset.url, texts: (name) => this.text(name) });
      if (this.isLoaded && this.key) this.remember(this.key);
      this.form.noValidate = true; // the browser would name the empty field, in its own language
      this.form.addEventListener("submit", (event) => {
        event.preventDefault();
        this.ask(this.field.value, { isTyped: true });
      });
      this.field.addEventListener("keydown", (event) => this.typed(event));
      root.addEventListener("click", (event) => this.clicked(event));
      root.addEventListener("submit", (event) => "obcAiDelete" in event.target.dataset && this.remember(""));
      root.addEventListener("keydown", (event) => this.escaped(event));
      root.addEventListener("toggle", () => this.opened());
      addEventListener("pagehide", () => this.stop(true));
      addEventListener("pageshow", (event) => event.persisted && this.returned());
      root.dataset.ready = "";
      this.point();
      if (this.kind === "inline" || root.open) this.load();
      if (this.kind === "page" && !location.hash && scrollY === 0) this.follow();
    }

    find(name, within = this.root) {
      return within.querySelector(`[data-obc-ai-${name}]`);
    }

    text(name) {
      return this.root.dataset[`text${name}`] ?? "";
    }

    say(text) {
      this.find("status").textContent = text;
    }

    // --- The conversation of this tab ---------------------------------------------------------

    remembered() {
      try {
        return this.kind === "page" ? "" : sessionStorage.getItem(this.root.dataset.storage) || "";
      } catch {
        return ""; // storage is forbidden: each page begins anew
      }
    }

    remember(key) {
      this.key = key;
      try {
        if (key) sessionStorage.setItem(this.root.dataset.storage, key);
        else sessionStorage.removeItem(this.root.dataset.storage);
      } catch {
        // See remembered().
      }
      this.point();
    }

    address() {
      return this.key ? `${this.root.dataset.url}${encodeURIComponent(this.key)}/` : this.root.dataset.url;
    }

    point() {
      this.form.elements.conversation.value = this.key;
      const link = this.find("page");
      if (link) link.href = this.address();
    }

    async load() {
      if (this.isLoaded || this.running) return;
      this.isLoaded = true;
      if (!this.key) this.remember(this.remembered()); // of another chat on this page
      if (!this.key) return;
      try {
        const response = await fetch(`${this.address()}?part=log`, { redirect: "manual", cache: "no-store" });
        if (response.ok) {
          if (this.running) return; // a question came first
          this.log.innerHTML = policy.createHTML(await response.text());
          this.follow();
        } else if (response.status === 404) this.remember(""); // it was deleted, or is another's
        else this.isLoaded = false;
      } catch {
        this.isLoaded = false; // the next time it is opened
      }
    }

    begin() {
      this.stop(true);
      this.remember("");
      this.log.replaceChildren();
      this.isLoaded = true;
      this.field.focus();
    }

    returned() {
      if (!this.wasCut) return;
      this.wasCut = false;
      this.isLoaded = false;
      this.load();
    }

    // --- Asking -------------------------------------------------------------------------------

    async ask(message, { isTyped = false } = {}) {
      const said = message.trim();
      if (this.running) return;
      if (!said) {
        this.field.focus();
        return;
      }
      const run = new AbortController();
      this.running = run;
      this.isLoaded = true;
      this.log.querySelectorAll(".obc-ai-notice").forEach((each) => each.remove());
      const question = this.add("question");
      this.find("said", question).textContent = said;
      const body = this.find("body", this.add("answer"));
      if (isTyped) this.field.value = "";
      this.show(true);
      this.say(this.text("Answering"));
      this.follow();
      try {
        for await (const event of this.line.ask(said, run.signal)) this.take(event, body);
        this.say(this.find("text", body)?.innerText ?? "");
      } catch (problem) {
        if (body.isConnected) this.fail(problem, { body, question, said, isTyped });
      }
      if (this.running === run) this.running = null;
      this.show(Boolean(this.running));
      this.follow();
    }

    take({ name, data }, body) {
      if (name === "conversation") {
        this.remember(data.conversation);
        if (this.kind === "page") history.replaceState(history.state, "", data.url);
      } else if (name === "block") this.block(body, data);
      else if (name === "answer") body.innerHTML = policy.createHTML(data.html);
      this.follow();
    }

    block(body, { number, html }) {
      let place = body.querySelector(".obc-ai-text");
      if (!place) {
        place = document.createElement("div");
        place.className = "obc-ai-text";
        place.dir = "auto";
        body.replaceChildren(place);
      }
      while (place.children.length <= number) {
        place.append(document.createElement("div"));
        place.lastChild.className = "obc-ai-block";
      }
      place.children[number].innerHTML = policy.createHTML(html);
    }

    stop(isLeaving = false) {
      if (!this.running) return;
      const run = this.running;
      this.wasCut = isLeaving;
      run.abort();
    }

    // --- When it fails ------------------------------------------------------------------------

    fail(problem, { body, question, said, isTyped }) {
      body.querySelector(".obc-ai-thinking")?.remove();
      const notice = document.createElement("div");
      notice.className = problem.isMild ? "obc-ai-notice obc-ai-mild" : "obc-ai-notice";
      const words = document.createElement("span");
      words.textContent = problem.message;
      notice.append(words);
      if (problem.isGone) {
        this.remember("");
        words.textContent = this.text("Gone");
      }
      if (problem.isExpired) {
        const link = document.createElement("a");
        link.href = this.root.dataset.loginUrl;
        link.className = "obc-ai-button";
        link.textContent = this.text("LogIn");
        notice.append(link);
      } else {
        const button = document.createElement("button");
        button.type = "button";
        button.className = "obc-ai-button";
        button.textContent = this.text("Retry");
        button.addEventListener("click", () => {
          if (this.running) return;
          question.remove();
          body.closest("[data-obc-ai-turn]").remove();
          if (this.field.value.trim() === said) this.field.value = "";
          this.focus();
          this.ask(said);
        });
        this.pause(button, problem.waitSeconds);
        notice.append(button);
      }
      body.append(notice);
      // What was typed is not lost, wherever the person goes from here.
      if (isTyped && !problem.isMild && !this.field.value) this.field.value = said;
      this.say(words.textContent);
    }

    pause(button, seconds) {
      if (!(seconds > 0)) return;
      button.disabled = true;
      setTimeout(() => { button.disabled = false; }, Math.min(seconds, LONGEST_WAIT_SECONDS) * 1000);
    }

    // --- What is seen -------------------------------------------------------------------------

    add(name) {
      const template = this.root.querySelector(`template[data-obc-ai-template=${name}]`);
      this.log.append(template.content.firstElementChild.cloneNode(true));
      return this.log.lastElementChild;
    }

    show(isBusy) {
      const [send, stop] = [this.find("send"), this.find("stop")];
      const hadFocus = [send, stop].includes(document.activeElement);
      send.hidden = isBusy;
      stop.hidden = !isBusy;
      this.log.setAttribute("aria-busy", String(isBusy));
      if (hadFocus) this.focus();
    }

    // A finger's keyboard would cover the answer.
    focus() {
      if (matchMedia("(hover: none)").matches) this.scroll.focus({ preventScroll: true });
      else this.field.focus({ preventScroll: true });
    }

    // Scroll down as the answer grows, until its question reaches the top: one reads from there.
    follow() {
      const turns = this.log.querySelectorAll(".obc-ai-question");
      const last = turns[turns.length - 1];
      if (!last) return;
      const isWindow = getComputedStyle(this.scroll).overflowY === "visible";
      const frame = isWindow ? document.scrollingElement : this.scroll;
      const top = isWindow ? 0 : this.scroll.getBoundingClientRect().top;
      const most = frame.scrollTop + last.getBoundingClientRect().top - top - 16;
      const end = frame.scrollHeight - frame.clientHeight;
      if (Math.min(most, end) > frame.scrollTop) frame.scrollTop = Math.min(most, end);
    }

    opened() {
      if (this.kind !== "widget" || !this.root.open) return;
      this.load();
      this.field.focus();
    }

    // --- What people do -----------------------------------------------------------------------

    typed(event) {
      if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
      event.preventDefault();
      this.ask(this.field.value, { isTyped: true });
    }

    escaped(event) {
      if (event.key !== "Escape" || event.isComposing) return;
      if (this.kind !== "widget") this.stop();
      else if (this.root.open) {
        this.root.open = false;
        this.root.querySelector("summary").focus();
      }
    }

    clicked(event) {
      const hit = event.target.closest?.("a, button");
      if (!hit) return;
      const { obcAiAsk: asked } = hit.dataset;
      if (event.ctrlKey || event.metaKey || event.shiftKey) return;
      if (asked !== undefined) {
        event.preventDefault();
        if (this.running) return;
        this.focus();
        this.ask(asked);
      } else if (hit.hash?.startsWith("#obc-ai-source-")) {
        event.preventDefault(); // the address of the page around stays as it is
        this.open(hit);
      } else if ("obcAiStop" in hit.dataset) this.stop();
      else if ("obcAiNew" in hit.dataset) this.begin();
      else if ("obcAiCopy" in hit.dataset) this.copy(hit);
    }

    open(link) {
      // Within this chat: another one on the page may show the same conversation.
      const source = this.root.querySelector(`[id="${CSS.escape(link.hash.slice(1))}"]`);
      if (!source) return;
      this.root.querySelectorAll(".obc-ai-shown").forEach((each) => each.classList.remove("obc-ai-shown"));
      source.classList.add("obc-ai-shown");
      const details = source.querySelector("details"); // rows of a query have no more to show
      if (details) details.open = true;
      (details?.querySelector("summary") ?? source).focus({ preventScroll: true });
      source.scrollIntoView({ block: "nearest" });
    }

    async copy(button) {
      const answer = button.closest("[data-obc-ai-answer]");
      const text = this.find("text", answer).innerText.trim();
      const sources = [...answer.querySelectorAll("[data-obc-ai-source] :is(summary, .obc-ai-plain)")];
      const list = sources.map((each) => `[${each.innerText.trim().replace(/\s+/, "] ")}`);
      try {
        await navigator.clipboard.writeText([text, ...(list.length ? ["", ...list] : [])].join("\n"));
      } catch {
        getSelection().selectAllChildren(this.find("text", answer)); // one key is left to press
        return;
      }
      const label = button.textContent;
      if (label === this.text("Copied")) return;
      button.textContent = this.text("Copied");
      this.say(this.text("Copied"));
      setTimeout(() => { button.textContent = label; }, SHOWN_COPIED_MS);
    }
  }

  shared.begin = () => {
    document.querySelectorAll("[data-obc-ai]:not([data-ready])").forEach((root) => new Chat(root));
  };
  shared.begin();
})();
