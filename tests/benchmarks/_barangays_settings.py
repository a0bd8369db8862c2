"""The example's settings, with an embedder and a vector store that barangays.py chooses.

OBC_BENCH_EMBEDDER  dotted path of the embedder
OBC_BENCH_OPTIONS   its options, as JSON
OBC_BENCH_STORE     dotted path of the vector store
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable

from django.http import HttpRequest, HttpResponse

from obc_site.settings import *  # noqa: F403 - a settings module
from obc_site.settings import MIDDLEWARE, OBC_AI, VAR_DIR

_embedder = {
    "BACKEND": os.environ["OBC_BENCH_EMBEDDER"],
    "OPTIONS": json.loads(os.environ["OBC_BENCH_OPTIONS"]),
}
_store: dict[str, object] = {"BACKEND": os.environ["OBC_BENCH_STORE"]}
if str(_store["BACKEND"]).endswith(".FaissVectorStore"):
    _store["OPTIONS"] = {"path": str(VAR_DIR / "vectors")}
OBC_AI |= {"EMBEDDERS": {"default": _embedder}, "VECTOR_STORES": {"default": _store}}
SECURE_SSL_REDIRECT = False  # nothing stands before the workers here
MIDDLEWARE = [f"{__name__}.name_worker", *MIDDLEWARE]


def name_worker(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Let each answer say which process has given it."""

    def answer(request: HttpRequest) -> HttpResponse:
        response = get_response(request)
        response["X-Worker"] = str(os.getpid())
        return response

    return answer
