"""What is asked and answered in the background comes back from the database as it was."""

from __future__ import annotations

import uuid
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from django_obc_ai import exceptions
from django_obc_ai.exceptions import (
    ConfigurationError,
    InvalidRequestError,
    ObcAIError,
    RateLimitedError,
)
from django_obc_ai.models import Job
from django_obc_ai.services import _job_json
from django_obc_ai.types import (
    CallInfo,
    GenerationRequest,
    GenerationResult,
    Message,
    Source,
    Usage,
)

pytestmark = pytest.mark.django_db
#: Zero bytes, halves of pairs and the mark that they are written with come as often as others.
TEXTS = st.text(st.one_of(st.characters(), st.sampled_from("\x00\x1a\ud800\udfff0001a😀")))
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.text(), VALUES)
REQUESTS = st.builds(
    GenerationRequest,
    prompt=TEXTS,
    model=TEXTS,
    system=TEXTS,
    history=st.lists(
        st.builds(Message, role=st.sampled_from(["user", "assistant"]), text=TEXTS), max_size=3
    ).map(tuple),
    sources=st.lists(st.builds(Source, text=TEXTS, title=TEXTS), max_size=3).map(tuple),
    response_schema=st.none() | OBJECTS,
    max_output_tokens=st.none() | st.integers(1, 10**6),
    temperature=st.none() | st.floats(0, 2),
    options=OBJECTS,
    prompt_version=TEXTS,
)
CALLS = st.builds(
    CallInfo,
    operation_id=st.uuids(),
    provider=TEXTS,
    operation_type=TEXTS,
    module=TEXTS,
    content_type=TEXTS,
    user_id=st.none(),
    scope=TEXTS,
    use_cache=st.booleans(),
    cache_ttl_seconds=st.none() | st.integers(0, 10**6),
    cache_tags=st.lists(st.tuples(TEXTS, TEXTS), max_size=3).map(tuple),
    varies_by_user=st.booleans(),
    may_retry=st.booleans(),
    reads_cache=st.booleans(),
)
COUNTS = st.integers(0, 10**9)
RESULTS = st.builds(
    GenerationResult,
    success=st.just(True),
    text=TEXTS,
    error=st.none(),
    error_message=st.just(""),
    tokens_used=COUNTS,
    cost=st.decimals(0, 1000, places=9),
    response_time=st.floats(0, 1000),
    model=TEXTS,
    cached=st.booleans(),
    coalesced=st.booleans(),
    finish_reason=TEXTS,
    data=VALUES,
    usage=st.builds(Usage, input_tokens=COUNTS, output_tokens=COUNTS, is_exact=st.booleans()),
    is_offline=st.booleans(),
    operation_id=st.none() | st.uuids(),
)
PATIENT = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def stored(**values: Any) -> Job:
    """A job as the database gives it back."""
    job = Job.objects.create(operation_id=uuid.uuid4(), **values)
    return Job.objects.get(pk=job.pk)


@PATIENT
@given(request=REQUESTS, info=CALLS)
def test_a_call_comes_back_as_it_was(request: GenerationRequest, info: CallInfo) -> None:
    job = stored(request=_job_json.write_call(request, info))
    again, info_again = _job_json.read_call(job)
    assert again == request
    assert list(again.options) == list(request.options)  # a model may mind the order
    assert repr(again.response_schema) == repr(request.response_schema)
    assert info_again == CallInfo(
        **{name: getattr(info, name) for name in info.__slots__ if name != "operation_id"},
        operation_id=job.operation_id,  # type: ignore[arg-type]
    )


@PATIENT
@given(result=RESULTS)
def test_an_answer_comes_back_as_it_was(result: GenerationResult) -> None:
    job = stored(status="succeeded", result=_job_json.write_result(result))
    again = _job_json.read_result(job)
    assert again == result
    assert repr(again.data) == repr(result.data)


def failure(error: ObcAIError | ConfigurationError) -> GenerationResult:
    return GenerationResult(
        success=False, text="", error=error.code, error_message=str(error), tokens_used=0,
        cost=Decimal(0), response_time=0.0, model="", cached=False, coalesced=False,
        finish_reason="", data=None, usage=Usage(), is_offline=False, operation_id=None,
        exception=error,
    )  # fmt: skip


@pytest.mark.parametrize(
    "kind", [each for each in vars(exceptions).values() if isinstance(each, type)
             and issubclass(each, (ObcAIError, ConfigurationError))]
)  # fmt: skip
def test_the_error_of_an_answer_comes_back_as_its_class(kind: type[ObcAIError]) -> None:
    error = kind("What was wrong.")
    if isinstance(error, ObcAIError):
        error.retry_after_seconds = 2.5
    wanted = failure(error)
    job = stored(status="failed", result=_job_json.write_result(wanted))
    again = _job_json.read_result(job)
    assert again == wanted and again is not None
    with pytest.raises(kind, match="What was wrong") as raised:
        again.raise_for_error()
    assert raised.value.code == error.code
    assert getattr(raised.value, "retry_after_seconds", 2.5) == 2.5


def test_an_error_of_a_projects_own_class_comes_back_with_its_code() -> None:
    class OwnError(InvalidRequestError):
        code = "own"

    job = stored(status="failed", result=_job_json.write_result(failure(OwnError("No."))))
    again = _job_json.read_result(job)
    assert again is not None and again.error == "own"
    with pytest.raises(exceptions.ProviderError) as raised:
        again.raise_for_error()
    assert raised.value.code == "own"


def test_a_code_that_an_instance_was_given_comes_back() -> None:
    error = RateLimitedError("Used up.")
    error.code = "quota_exhausted"
    job = stored(status="failed", result=_job_json.write_result(failure(error)))
    again = _job_json.read_result(job)
    assert again is not None and again.exception is not None
    assert again.exception.code == "quota_exhausted"


def test_a_request_of_a_newer_version_is_read_without_what_is_unknown() -> None:
    written = _job_json.write_call(
        GenerationRequest(prompt="Q"), CallInfo(operation_id=uuid.uuid4())
    )
    written["info"]["of_tomorrow"] = 1
    del written["info"]["may_retry"]
    request, info = _job_json.read_call(stored(request=written))
    assert (request.prompt, info.may_retry) == ("Q", True)


def test_texts_are_rewritten_and_names_are_not() -> None:
    request = GenerationRequest(
        prompt="of amina", system="amina", model="amina", options={"amina": ["amina"]},
        history=(Message(role="user", text="I am amina"),), sources=(Source(text="amina"),),
    )  # fmt: skip
    info = CallInfo(operation_id=uuid.uuid4(), module="amina", provider="amina")
    written = _job_json.write_call(request, info)
    job = stored(request=_job_json.rewritten(written, lambda text: text.replace("amina", "…")))
    again, info_again = _job_json.read_call(job)
    assert (again.prompt, again.system, again.options) == ("of …", "…", {"amina": ["…"]})
    assert (again.history[0].text, again.sources[0].text) == ("I am …", "…")
    assert (again.model, info_again.module, info_again.provider) == ("amina",) * 3
