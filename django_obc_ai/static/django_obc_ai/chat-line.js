// How the chat talks with the server: questions, answers in pieces, and what can go wrong.
"use strict";

(() => {
  const SHARED = Symbol.for("django_obc_ai.chat");
  if (window[SHARED]) return; // the tag stands twice on the page
  let policy = { createHTML: (text) => text };
  try {
    // The server renders and sanitises all of it; a policy by name lets a project say that only
    // this may set HTML ("require-trusted-types-for 'script'; trusted-types obc-ai").
    policy = window.trustedTypes?.createPolicy("obc-ai", policy) ?? policy;
  } catch {
    return; // the page forbids it: what works without JavaScript works still
  }

  // The events of a stream, however it was cut: the format is that of the HTML standard.
  async function* eventsOf(body) {
    const reader = body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    let name = "";
    let data = [];
    for (;;) {
      const { done, value = "" } = await reader.read();
      // A CR at the end of a piece may be half of a CRLF.
      const lines = (rest + value).split(done ? /\r\n|\n|\r/ : /\r\n|\n|\r(?!$)/);
      rest = lines.pop();
      for (const line of lines) {
        if (line === "") {
          if (data.length) yield { name, data: JSON.parse(data.join("\n")) };
          [name, data] = ["", []];
          continue;
        }
        const [field, text] = line.split(/: ?(.*)/s);
        if (field === "event") name = text;
        else if (field === "data") data.push(text ?? "");
      }
      if (done) return; // what was begun and not ended does not count
    }
  }

  class Problem extends Error {
    constructor(text, { isMild = false, isExpired = false, isGone = false, waitSeconds = 0 } = {}) {
      super(text);
      Object.assign(this, { isMild, isExpired, isGone, waitSeconds });
    }
  }

  // Sends a chat's form and yields the events of the answer; whatever goes wrong is a Problem.
  class Line {
    constructor(form, { url, texts }) {
      Object.assign(this, { form, url, texts });
    }

    async *ask(message, signal) {
      try {
        const response = await this.#send(message, signal);
        let isEnded = false;
        for await (const event of eventsOf(response.body)) {
          signal.throwIfAborted(); // what came in one piece with the last one, too
          if (event.name === "error") throw new Problem(this.texts("Failed"));
          isEnded = event.name === "answer";
          yield event;
        }
        if (!isEnded) throw new Problem(this.texts("Lost"));
      } catch (error) {
        throw this.#problemOf(error, signal);
      }
    }

    async #send(message, signal, isSecond = false) {
      const fields = new URLSearchParams(new FormData(this.form));
      fields.set("message", message);
      const response = await fetch(this.form.action, {
        method: "POST",
        body: fields,
        headers: { Accept: "text/event-stream" },
        redirect: "manual",
        signal,
      });
      const type = response.headers.get("Content-Type") ?? "";
      if (response.ok && type.startsWith("text/event-stream")) return response;
      // Whoever is sent on is sent to log in.
      if (response.type === "opaqueredirect") throw this.#expired();
      if (type.startsWith("application/json")) {
        const { detail } = await response.json();
        throw new Problem(String(detail ?? "") || this.texts("Failed"), {
          isGone: response.status === 404,
          isExpired: response.status === 403,
          waitSeconds: Number(response.headers.get("Retry-After")),
        });
      }
      // A page from a cache, or one from before a login elsewhere, holds an old token.
      if (response.status === 403 && !isSecond) {
        await this.#renew(signal);
        return this.#send(message, signal, true);
      }
      throw new Problem(this.texts("Failed"));
    }

    async read(address, signal) {
      const response = await fetch(address, { redirect: "manual", cache: "no-store", signal });
      if (!response.ok) throw this.#expired();
      const html = policy.createHTML(await response.text());
      return new DOMParser().parseFromString(html, "text/html");
    }

    async #renew(signal) {
      const page = await this.read(this.url, signal);
      const fresh = page.querySelector("[data-obc-ai-form] [name=csrfmiddlewaretoken]")?.value;
      if (!fresh) throw new Problem(this.texts("Failed"));
      this.form.elements.csrfmiddlewaretoken.value = fresh;
    }

    #expired() {
      return new Problem(this.texts("Expired"), { isExpired: true });
    }

    #problemOf(error, signal) {
      if (error instanceof Problem) return error;
      if (signal.aborted) return new Problem(this.texts("Stopped"), { isMild: true });
      if (!navigator.onLine) return new Problem(this.texts("Offline"));
      // fetch() and the reader of a body say in this way that the network failed.
      return new Problem(this.texts(error instanceof TypeError ? "Lost" : "Failed"));
    }
  }

  window[SHARED] = { Line, policy };
})();
