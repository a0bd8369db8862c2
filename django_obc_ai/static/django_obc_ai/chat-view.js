// What is seen of a conversation: it grows, is scrolled, and its sources and texts are at hand.
"use strict";

(() => {
  // From chat-line.js; missing where the page's policy forbids to set HTML.
  const shared = window[Symbol.for("django_obc_ai.chat")];
  if (!shared || shared.View) return; // or the tag stands twice on the page
  const { policy } = shared;
  const SHOWN_COPIED_MS = 2000;
  const ABOVE_PX = 16;
  const LEFT_OF_LONG_PX = 96; // a few lines of a long question stay in sight
  const SLACK_PX = 2; // browsers round

  class View {
    constructor(root) {
      this.root = root;
      this.log = this.find("log");
      this.scroll = this.find("scroll");
      this.followed = 0;
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

    add(name) {
      const template = this.root.querySelector(`template[data-obc-ai-template=${name}]`);
      this.log.append(template.content.firstElementChild.cloneNode(true));
      return this.log.lastElementChild;
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

    // What failed and is asked again stands there once; of what else failed the words stay.
    tidy(said) {
      for (const notice of this.log.querySelectorAll(".obc-ai-notice")) {
        const reply = notice.closest("[data-obc-ai-turn]");
        const question = reply.previousElementSibling;
        const isSame = question && this.find("said", question)?.textContent.trim() === said;
        if (isSame && reply === this.log.lastElementChild) {
          question.remove();
          reply.remove();
        } else notice.querySelector("a, button")?.remove();
      }
    }

    // List and head of the page, as they are once its conversation has begun; true if they stand.
    reframe(page) {
      for (const name of ["side", "head"]) {
        const [mine, fresh] = [this.find(name), this.find(name, page)];
        // What has the focus is not taken away; the next answer is another occasion.
        if (!mine || !fresh || mine.contains(document.activeElement)) return false;
        mine.replaceWith(fresh);
      }
      document.title = page.title;
      return true;
    }

    // Scroll down as the answer grows, until its question reaches the top: one reads from there.
    follow() {
      const turns = this.log.querySelectorAll(".obc-ai-question");
      const last = turns[turns.length - 1];
      if (!last) return;
      const isWindow = getComputedStyle(this.scroll).overflowY === "visible";
      const frame = isWindow ? document.scrollingElement : this.scroll;
      if (!frame.clientHeight) return; // closed meanwhile
      const top = isWindow ? 0 : this.scroll.getBoundingClientRect().top;
      const end = frame.scrollHeight - frame.clientHeight;
      // Whoever scrolled up reads there. What got shorter has moved by itself.
      if (frame.scrollTop < Math.min(this.followed, end) - SLACK_PX) return;
      const question = last.getBoundingClientRect();
      const isLong = question.height > frame.clientHeight / 2;
      const most = frame.scrollTop - top + (isLong ? question.bottom - LEFT_OF_LONG_PX : question.top - ABOVE_PX);
      const wanted = Math.min(most, end);
      if (wanted > frame.scrollTop) frame.scrollTo({ top: wanted, behavior: "instant" });
      this.followed = frame.scrollTop;
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

  shared.View = View;
})();
