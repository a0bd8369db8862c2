"""Measure what our provider and the whole gateway add to a call, over each bare SDK and httpx.

The same short question is asked in every way, in turn, of a loopback server in a process of its
own, over one kept connection. The server answers at once, so what is measured is the client's
work. Under "gateway" are: settings, prompt, cache key, price, ledger row and signal; its database
is a SQLite file in WAL mode with synchronous=NORMAL.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

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


def by_provider(alias: str) -> Call:
    from django_obc_ai.backends.providers import providers
    from django_obc_ai.types import GenerationRequest

    request = GenerationRequest(prompt=PROMPT, max_output_tokens=TOKENS)
    provider = providers[alias]
    return lambda: provider.generate(request).text


def by_gateway(alias: str, *, use_cache: bool = False) -> Call:
    from django_obc_ai.services.text import TextService

    service = TextService(alias)

    def call() -> object:
        result = service.generate_text(
            PROMPT, include_context=False, use_cache=use_cache, max_output_tokens=TOKENS
        )
        result.raise_for_error()
        return result.text

    return call


@contextmanager
def budgeted(budgets: list[dict[str, str]]) -> Iterator[None]:
    from django.conf import settings
    from django.test import override_settings

    with override_settings(OBC_AI={**settings.OBC_AI, "BUDGETS": budgets}):
        yield


def measure(ways: dict[str, Call], calls: int) -> dict[str, float]:
    """Median milliseconds of each way, asked in turn so that all meet the same machine."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for call in ways.values():
        for _ in range(5):
            assert call()
    for _ in range(calls):
        for name, call in ways.items():
            began = time.perf_counter()
            call()
            taken[name].append((time.perf_counter() - began) * 1000)
    return {name: statistics.median(times) for name, times in taken.items()}


def version_of(package: str) -> str:
    return f"{package} {importlib.metadata.version(package)}"


def table(sdk: str, found: dict[str, float]) -> list[str]:
    bare = found[f"{sdk}, bare"]
    rows = [
        f"| {name} | {ms:.2f} ms | {ms - bare:+.2f} ms | {ms / bare:.2f} |"
        for name, ms in found.items()
    ]
    head = f"| one call | median | over {sdk}, bare | ratio |"
    return [f"## {sdk}", "", head, "|---|---|---|---|", *rows, ""]


def run(calls: int, url: str, key: str) -> list[str]:
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    lines: list[str] = []
    bare = {"google-genai": by_google_genai, "google-generativeai": by_google_generativeai}
    for sdk, make in bare.items():
        budgets = [{"scope": "global", "period": "day", "limit_usd": "1000"}]
        ways = {
            "httpx2, JSON alone": by_httpx(url, key),
            f"{sdk}, bare": make(url, key),
            "our provider": by_provider(sdk),
            "our gateway": by_gateway(sdk),
        }
        found = measure(ways, calls)
        with budgeted(budgets):
            limited = by_gateway(sdk)
            ways = {f"{sdk}, bare": ways[f"{sdk}, bare"], "with a hard budget": limited}
            bare_again, held = measure(ways, calls).values()
        found["our gateway, with a hard budget"] = found[f"{sdk}, bare"] + held - bare_again
        cached = by_gateway(sdk, use_cache=True)
        found["our gateway, answered from the cache"] = measure({"": cached}, calls)[""]
        lines += table(sdk, found)
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    calls = 20 if options.small else 500
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        os.environ["OBC_AI_TEST_SQLITE"] = str(Path(folder) / "db.sqlite3")
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
        import django
        from django.test import override_settings

        django.setup()
        from tests.servers.gemini import run_gemini_process

        server = stack.enter_context(run_gemini_process())
        connection = {"api_key": server.key, "model": MODEL, "base_url": server.url}
        where = "django_obc_ai.backends.providers"
        classes = {
            "default": f"{where}.google_genai.GoogleGenAIProvider",
            "google-genai": f"{where}.google_genai.GoogleGenAIProvider",
            "google-generativeai": f"{where}.google_generativeai.GoogleGenerativeAIProvider",
        }
        entries = {
            alias: {"BACKEND": path, "OPTIONS": connection} for alias, path in classes.items()
        }
        stack.enter_context(override_settings(OBC_AI={"PROVIDERS": entries}))
        lines = run(calls, server.url, server.key)
    packages = ("django", "google-genai", "google-generativeai", "httpx2")
    versions = ", ".join(map(version_of, packages))
    machine = (
        f"Python {platform.python_version()}, {versions}, {os.cpu_count()} cores, {calls} calls"
        " each. Command: `./tests/acceptance/run.sh overhead`"
    )
    title = ["# What a call costs in time", "", (__doc__ or "").strip(), "", machine, ""]
    Path(options.out).write_text("\n".join(title + lines), encoding="utf-8")


if __name__ == "__main__":
    main()
