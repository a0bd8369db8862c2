"""The one place that knows OpenTelemetry: silent without it, harmless where it fails."""

from __future__ import annotations

import json
import logging
import re
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import pytest

import django_obc_ai
from django_obc_ai import telemetry
from django_obc_ai.gateway.trace import INSTRUMENTS
from django_obc_ai.services.text import TextService
from tests.extras import requires
from tests.telemetry import Heard

PACKAGE = Path(django_obc_ai.__file__).parent
#: Where names of attributes stand.
SOURCES = [
    "telemetry.py", "gateway/trace.py", "services/search.py", "services/embeddings.py",
    "services/_chat_trace.py",
]  # fmt: skip


def names_told() -> set[str]:
    """Every name of the conventions, or of our own, that stands in the code."""
    text = "".join((PACKAGE / each).read_text() for each in SOURCES)
    return set(re.findall(r'"((?:gen_ai|obc_ai|error)\.[a-z_.]+)"', text))


# --- names -------------------------------------------------------------------------------------
def constants(module: str) -> set[str]:
    found = vars(__import__(f"opentelemetry.semconv.{module}", fromlist=["*"]))
    return {str(value) for name, value in found.items() if name.isupper()}


def values_of(enum: str) -> set[str]:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes

    return {each.value for each in getattr(gen_ai_attributes, enum)}


@requires("opentelemetry.semconv")
def test_every_name_of_the_conventions_is_one_of_theirs() -> None:
    known = constants("_incubating.attributes.gen_ai_attributes")
    known |= constants("_incubating.metrics.gen_ai_metrics")
    known |= constants("attributes.error_attributes")
    theirs = {each for each in names_told() if not each.startswith("obc_ai.")}
    assert len(theirs) > 20
    assert theirs - known == set()


@requires("opentelemetry.semconv")
def test_no_name_is_one_that_the_conventions_gave_up() -> None:
    gone = {"gen_ai.system", "gen_ai.usage.prompt_tokens", "gen_ai.usage.completion_tokens"}
    gone |= {"gen_ai.prompt", "gen_ai.completion"}
    assert gone < constants("_incubating.attributes.gen_ai_attributes")
    assert not names_told() & gone


@requires("opentelemetry.semconv")
def test_no_name_holds_content_or_people() -> None:
    from opentelemetry.semconv._incubating.attributes import gen_ai_attributes as names

    content = {
        names.GEN_AI_INPUT_MESSAGES,
        names.GEN_AI_OUTPUT_MESSAGES,
        names.GEN_AI_RETRIEVAL_DOCUMENTS,
        names.GEN_AI_RETRIEVAL_QUERY_TEXT,
        names.GEN_AI_SYSTEM_INSTRUCTIONS,
    }
    assert not names_told() & content
    assert not [each for each in names_told() if "user" in each or "tenant" in each]


@requires("opentelemetry.semconv")
def test_well_known_values_are_those_of_the_conventions() -> None:
    from django_obc_ai.backends.providers.google_genai import GoogleGenAIProvider
    from django_obc_ai.backends.providers.google_generativeai import GoogleGenerativeAIProvider
    from django_obc_ai.backends.providers.openai_compatible import OpenAICompatibleProvider

    for provider in (GoogleGenAIProvider, GoogleGenerativeAIProvider, OpenAICompatibleProvider):
        assert provider.telemetry_name in values_of("GenAiProviderNameValues")
    operations = {"chat", "embeddings", "retrieval", "invoke_agent"}
    assert operations <= values_of("GenAiOperationNameValues")
    assert {"input", "output"} == values_of("GenAiTokenTypeValues")
    assert "json" in values_of("GenAiOutputTypeValues")


@requires("opentelemetry.semconv")
def test_units_are_those_of_the_conventions() -> None:
    from opentelemetry.semconv._incubating.metrics import gen_ai_metrics

    class Meter:
        def create_histogram(self, name: str, description: str, unit: str) -> tuple[str, str]:
            return name, unit

    theirs = dict(
        create(Meter())
        for name, create in vars(gen_ai_metrics).items()
        if name.startswith("create_gen_ai_client")
    )
    ours = {each.name: each.unit for each in INSTRUMENTS if each.name.startswith("gen_ai.")}
    assert ours.items() <= theirs.items()


# --- without OpenTelemetry ---------------------------------------------------------------------
_ALONE = """
import sys, django
from django.conf import settings
settings.configure(
    SECRET_KEY="only for this",
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "django_obc_ai"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)
django.setup()
from django.core.management import call_command
call_command("migrate", verbosity=0)
from django_obc_ai import telemetry
from django_obc_ai.services.text import TextService
assert TextService().generate_text("Q").success
with telemetry.restore_context(telemetry.carry_context() or {"traceparent": "00-1-1-01"}):
    pass
print([each for each in sys.modules if each.startswith("opentelemetry")])
"""


def test_nothing_is_imported_where_nobody_has_loaded_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _ALONE], check=True, capture_output=True, text=True
    )
    assert done.stdout == "[]\n"


@requires("opentelemetry.trace")
def test_without_a_provider_no_span_is_made() -> None:
    from opentelemetry import trace

    assert not telemetry.is_heard()
    span = telemetry.Span()
    span.begin("x", {})
    with span.current():
        assert trace.get_current_span() is trace.INVALID_SPAN
    assert not span.is_recording
    span.end()


@requires("opentelemetry.trace")
def test_a_provider_that_is_set_later_is_heard_within_a_second(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    from opentelemetry import metrics, trace

    now = [100.0]
    monkeypatch.setattr(telemetry.time, "monotonic", lambda: now[0])
    with monkeypatch.context() as nobody:
        nobody.setattr(trace, "_TRACER_PROVIDER", None)
        nobody.setattr(metrics._internal, "_METER_PROVIDER", None)
        assert not telemetry.is_heard()
    assert not telemetry.is_heard()
    now[0] += 1
    assert telemetry.is_heard()


# --- harmless ----------------------------------------------------------------------------------
class Broken:
    """An SDK that fails at everything."""

    def __getattr__(self, name: str) -> Any:
        def fail(*_: Any, **__: Any) -> Any:
            raise RuntimeError(f"telemetry: {name}")

        return fail


class BrokenTracers(Broken):
    """One that makes spans, and fails with them."""

    def get_tracer(self, *_: Any) -> BrokenTracers:
        return self

    def start_span(self, *_: Any, **__: Any) -> Broken:
        return Broken()


@pytest.mark.django_db
@pytest.mark.parametrize("broken", [Broken, BrokenTracers])
def test_telemetry_that_fails_breaks_no_call_and_is_logged_once(
    heard: Heard,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    broken: Callable[[], Any],
) -> None:
    from opentelemetry import metrics, trace

    monkeypatch.setattr(trace, "_TRACER_PROVIDER", broken())
    monkeypatch.setattr(metrics._internal, "_METER_PROVIDER", broken())
    with caplog.at_level(logging.WARNING, logger="django_obc_ai.telemetry"):
        assert TextService().generate_text("Q").success
        assert "".join(TextService().stream_text("Q and more"))
    assert len(caplog.records) == 1


# --- generators --------------------------------------------------------------------------------
def test_the_steps_of_a_generator_belong_to_its_span_and_its_readers_do_not(heard: Heard) -> None:
    span = telemetry.Span()

    def pieces() -> Generator[int, None, None]:
        for number in range(2):
            with telemetry.spanning(f"inside {number}", {}):
                pass
            yield number

    with telemetry.spanning("reader", {}):
        for number in telemetry.steps(span, lambda: span.begin("turn", {}), pieces()):
            with telemetry.spanning(f"outside {number}", {}):
                pass
    assert heard.tree() == {
        "inside 0": "turn", "inside 1": "turn", "outside 0": "reader", "outside 1": "reader",
        "turn": "reader", "reader": None,
    }  # fmt: skip


def test_a_generator_that_raises_ends_its_span_as_an_error(heard: Heard) -> None:
    span = telemetry.Span()

    def pieces() -> Generator[int, None, None]:
        yield 1
        raise LookupError("gone")

    with pytest.raises(LookupError):
        list(telemetry.steps(span, lambda: span.begin("turn", {}), pieces()))
    assert (heard.span("turn").attributes or {})["error.type"] == "LookupError"


# --- jobs --------------------------------------------------------------------------------------
def test_a_job_continues_the_trace_that_it_was_started_in(heard: Heard) -> None:
    with telemetry.spanning("request", {}):
        carried = json.loads(json.dumps(telemetry.carry_context()))
    assert re.fullmatch(r"00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}", carried["traceparent"])
    with telemetry.restore_context(carried), telemetry.spanning("job", {}):
        pass
    request, job = heard.span("request"), heard.span("job")
    assert request.context and job.context and job.parent
    assert job.context.trace_id == request.context.trace_id
    assert job.parent.span_id == request.context.span_id


@pytest.mark.parametrize("carried", [{}, None, {"traceparent": "nonsense"}, {"x": "y"}])
def test_a_job_without_a_trace_begins_its_own(heard: Heard, carried: Any) -> None:
    with telemetry.restore_context(carried), telemetry.spanning("job", {}):
        pass
    assert heard.span("job").parent is None


def test_a_job_leaves_nothing_behind(heard: Heard) -> None:
    with telemetry.spanning("request", {}):
        carried = telemetry.carry_context()
    with telemetry.restore_context(carried):
        assert telemetry.carry_context() == carried
    assert telemetry.carry_context() == {}
