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
  const { Line, View, policy } = shared;
  const LONGEST_WAIT_SECONDS = 60;

  class Chat extends View {
    constructor(root) {
      super(root);
      this.kind = root.dataset.obcAi;
      this.form = this.find("form");
      this.field = this.form.elements.message;
      this.key = root.dataset.conversation || this.remembered();
      this.framed = this.key; // what list and head of the page are about
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
      this.tidy(said);
      this.followed = 0;
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
        if (body.isConnected) this.fail(problem, { body, said, isTyped });
      }
      if (this.running === run) this.running = null;
      this.show(Boolean(this.running));
      this.follow();
      this.refresh();
    }

    // The first question of a conversation gives the page a title, an entry in the list, "Delete".
    async refresh() {
      const { key } = this;
      if (this.kind !== "page" || !key || key === this.framed) return;
      try {
        const page = await this.line.read(`${this.address()}?part=frame`);
        if (key === this.key && this.reframe(page)) this.framed = key;
      } catch {
        // Only its surroundings are old; the next answer is another occasion.
      }
    }

    take({ name, data }, body) {
      if (name === "conversation") {
        this.remember(data.conversation);
        if (this.kind === "page") history.replaceState(history.state, "", data.url);
      } else if (name === "block") this.block(body, data);
      else if (name === "answer") body.innerHTML = policy.createHTML(data.html);
      this.follow();
    }

    stop(isLeaving = false) {
      if (!this.running) return;
      const run = this.running;
      this.wasCut = isLeaving;
      run.abort();
    }

    // --- When it fails ------------------------------------------------------------------------

    fail(problem, { body, said, isTyped }) {
      body.querySelector(".obc-ai-thinking")?.remove();
      const notice = document.createElement("div");
      notice.className = problem.isMild ? "obc-ai-notice obc-ai-mild" : "obc-ai-notice";
      const words = document.createElement("span");
      words.dir = "auto";
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
  }

  shared.begin = () => {
    document.querySelectorAll("[data-obc-ai]:not([data-ready])").forEach((root) => new Chat(root));
  };
  shared.begin();
})();
