"""The middleware of correlation ids, over WSGI and ASGI, for pages and for streams."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from asgiref.sync import sync_to_async
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path

from django_obc_ai.logs import current
from django_obc_ai.logs.correlation import CorrelationFilter, is_valid

pytestmark = pytest.mark.django_db  # the end of a request takes up what waits on disk
logger = logging.getLogger("project")


def page(request: Any) -> HttpResponse:
    return HttpResponse(current())


async def async_page(request: Any) -> HttpResponse:
    return HttpResponse(f"{current()} {await sync_to_async(current)()}")


def stream(request: Any) -> StreamingHttpResponse:
    def pieces() -> Iterator[str]:
        try:
            yield current()
            yield " "
            yield current()
        finally:
            logger.warning("closed")

    return StreamingHttpResponse(pieces())


async def async_stream(request: Any) -> StreamingHttpResponse:
    async def pieces() -> AsyncIterator[str]:
        yield current()
        await asyncio.sleep(0)
        yield " " + current()

    return StreamingHttpResponse(pieces())


def fail(request: Any) -> HttpResponse:
    raise RuntimeError("it broke")


urlpatterns = [
    path("page", page),
    path("async-page", async_page),
    path("stream", stream),
    path("async-stream", async_stream),
    path("fail", fail),
]


@pytest.fixture(autouse=True)
def _site() -> Iterator[None]:
    middleware = ["django_obc_ai.middleware.CorrelationIdMiddleware"]
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=middleware):
        yield


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.handler.addFilter(CorrelationFilter())
    return caplog


def get(client: Client, page: str, correlation_id: str = "request-1") -> Any:
    return client.get(page, headers={"X-Request-ID": correlation_id})


def test_an_id_is_taken_seen_sent_back_and_forgotten(client: Client) -> None:
    response = get(client, "/page")
    assert (response.content, response["X-Request-ID"]) == (b"request-1", "request-1")
    assert current() == ""


@pytest.mark.parametrize("given", ["", "two words", "x" * 129, "<script>", "a\u0308", "%0d%0aX"])
def test_another_is_made_where_none_or_a_bad_one_comes(client: Client, given: str) -> None:
    response = get(client, "/page", given)
    made = response["X-Request-ID"]
    assert made != given and is_valid(made)
    assert response.content.decode() == made
    assert get(client, "/page", given)["X-Request-ID"] != made


def test_a_page_that_fails_has_one_too(seen: pytest.LogCaptureFixture) -> None:
    response = get(Client(raise_request_exception=False), "/fail")
    assert (response.status_code, response["X-Request-ID"]) == (500, "request-1")
    assert {vars(each)["correlation_id"] for each in seen.records} == {"request-1"}
    assert current() == ""


def test_what_django_logs_after_the_middleware_has_it(
    client: Client, seen: pytest.LogCaptureFixture
) -> None:
    get(client, "/nowhere")
    assert [(each.getMessage(), vars(each)["correlation_id"]) for each in seen.records] == [
        ("Not Found: /nowhere", "request-1")
    ]


def test_a_stream_has_it_to_its_end(client: Client, seen: pytest.LogCaptureFixture) -> None:
    assert get(client, "/stream").getvalue() == b"request-1 request-1"
    assert vars(seen.records[0])["correlation_id"] == "request-1"
    assert current() == ""


def test_a_stream_that_the_reader_leaves_has_it_when_it_is_closed(
    seen: pytest.LogCaptureFixture,
) -> None:
    environ = RequestFactory().get("/stream", headers={"X-Request-ID": "request-1"}).environ
    response: Any = WSGIHandler()(environ, lambda *_: lambda _: None)
    assert next(iter(response)) == b"request-1"
    response.close()
    assert vars(seen.records[0])["correlation_id"] == "request-1"
    assert current() == ""


def test_asgi_requests_do_not_mix() -> None:
    async def ask(number: int) -> str:
        page = "/async-page" if number % 2 else "/page"
        headers = {"X-Request-ID": f"request-{number}"}
        response: Any = await AsyncClient().get(page, headers=headers)
        assert response["X-Request-ID"] == f"request-{number}"
        return str(response.content.decode())

    async def main() -> list[str]:
        return await asyncio.gather(*(ask(number) for number in range(20)))

    for number, text in enumerate(asyncio.run(main())):
        assert set(text.split()) == {f"request-{number}"}
    assert current() == ""


def test_an_async_stream_has_it_to_its_end() -> None:
    async def main() -> str:
        headers = {"X-Request-ID": "request-1"}
        response: Any = await AsyncClient().get("/async-stream", headers=headers)
        return "".join([part.decode() async for part in response.streaming_content])

    assert asyncio.run(main()) == "request-1 request-1"


def test_it_works_between_middleware_of_both_kinds() -> None:
    ours = "django_obc_ai.middleware.CorrelationIdMiddleware"
    kinds = [f"{__name__}.SyncOnly", ours, f"{__name__}.SyncOnly"]
    headers = {"X-Request-ID": "request-1"}
    with override_settings(MIDDLEWARE=kinds):

        async def main() -> Any:
            return await AsyncClient().get("/async-page", headers=headers)

        assert asyncio.run(main()).content == b"request-1 request-1"


class SyncOnly:
    """A middleware that knows no event loop."""

    def __init__(self, get_response: Any) -> None:
        self.get_response = get_response

    def __call__(self, request: Any) -> Any:
        return self.get_response(request)
