"""One process of overhead.py: one project, and the ways in which it makes a call.

python tests/benchmarks/_overhead_ways.py FACTS-as-JSON

A line of JSON in, a line of JSON out; see `Bench`.
"""

from __future__ import annotations

import gc
import itertools
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from typing import Any

MODEL = "gemini-2.5-flash"
PROMPT = "Which barangays of Upi lie on the coast?"
TOKENS = 256
Call = Callable[[], object]


def by_httpx(url: str, key: str) -> Call:
    import httpx2

    client = httpx2.Client(headers={"x-goog-api-key": key})
    address = f"{url}/v1beta/models/{MODEL}:generateContent"
    body = {
        "contents": [{"role": "user", "parts": [{"text": PROMPT}]}],
        "generationConfig": {"maxOutputTokens": TOKENS},
    }

    def call() -> object:
        answer = client.post(address, json=body).json()
        return answer["candidates"][0]["content"]["parts"][0]["text"]

    return call


def by_google_genai(url: str, key: str) -> Call:
    from google import genai

    client = genai.Client(
        api_key=key, http_options={"base_url": url, "api_version": "v1beta", "timeout": 30_000}
    )

    def call() -> object:
        return client.models.generate_content(
            model=MODEL, contents=PROMPT, config={"max_output_tokens": TOKENS}
        ).text

    return call


def by_google_generativeai(url: str, key: str) -> Call:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import google.generativeai as genai

    genai.configure(api_key=key, transport="rest", client_options={"api_endpoint": url})
    model = genai.GenerativeModel(MODEL)
    config = {"max_output_tokens": TOKENS}

    def call() -> object:
        return model.generate_content(PROMPT, generation_config=config).text

    return call


def by_provider(url: str, key: str) -> Call:
    from django_obc_ai.backends.providers import providers
    from django_obc_ai.types import GenerationRequest

    request = GenerationRequest(prompt=PROMPT, max_output_tokens=TOKENS)
    provider = providers["default"]
    return lambda: provider.generate(request).text


def by_gateway(kind: str) -> Call:
    """Return a call by `TextService`: "uncached", "new" (every prompt is) or "hit"."""
    from django_obc_ai.services.text import TextService

    service, numbers = TextService(), itertools.count()
    options: dict[str, Any] = {"include_context": False, "max_output_tokens": TOKENS}
    options["use_cache"] = kind != "uncached"

    def call() -> object:
        prompt = f"{PROMPT} {os.getpid()} {next(numbers)}" if kind == "new" else PROMPT
        result = service.generate_text(prompt, **options)
        result.raise_for_error()
        return result.text

    return call


BARE: dict[str, Callable[[str, str], Call]] = {
    "httpx2": by_httpx,
    "google-genai": by_google_genai,
    "google-generativeai": by_google_generativeai,
    "provider": by_provider,
}


class Bench:
    """The orders, and the ways by their names."""

    def __init__(self, facts: dict[str, Any]) -> None:
        self.ways: dict[str, Call] = {}
        for name in facts["ways"]:
            make = BARE.get(name)
            self.ways[name] = make(facts["url"], facts["key"]) if make else by_gateway(name)
        for call in self.ways.values():
            for _ in range(20):
                assert call()

    def block(self, *, calls: int) -> dict[str, list[float]]:
        """Time each way in turn, in milliseconds, so that all meet the same machine."""
        taken: dict[str, list[float]] = {name: [] for name in self.ways}
        gc.collect()
        for _ in range(calls):
            for name, call in self.ways.items():
                began = time.perf_counter()
                call()
                taken[name].append((time.perf_counter() - began) * 1000)
        return taken

    def parts(self, *, way: str, calls: int) -> list[list[Any]]:
        from tests.benchmarks._overhead_parts import parts

        return parts(self.ways[way], calls)

    def profile(self, *, way: str, calls: int) -> list[list[Any]]:
        from tests.benchmarks._overhead_parts import profile

        return profile(self.ways[way], calls)


def main() -> None:
    facts = json.loads(sys.argv[1])
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write among the answers
    import django
    from django.conf import settings

    for name, value in facts["settings"].items():
        setattr(settings, name, value)
    django.setup()
    bench = Bench(facts)
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(bench, order.pop("do"))(**order)), file=out, flush=True)


if __name__ == "__main__":
    main()
