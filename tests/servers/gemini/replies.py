"""What the server is told to do with one request, and names for what tests ask for most."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

UsageMode = Literal["exact", "last_only", "not_last", "missing"]
ErrorShape = Literal["auto", "object", "array", "html", "bare"]
BodyFault = Literal["", "empty", "broken", "html"]
Cut = Literal["", "clean", "rst", "fin", "hang", "error", "no_answer", "silent"]

#: How the connection can be cut before the service begins to generate.
CUTS_BEFORE_GENERATION = ("no_answer", "silent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """One reply of the script. All fields are plain JSON, so that a script may be a file.

    Attributes:
        name: How the journal calls the reply.
        text: What the model writes. None: JSON that fits the request's schema if it has one,
            else a sentence that follows from the prompt alone, so that it repeats.
        chunks: Into how many pieces a stream divides the text (fewer if it is shorter).
        finish_reason: As on the wire. SAFETY, RECITATION and their like answer without
            content unless `text` is given.
        block_reason: Block the prompt for this reason: no candidate, only the prompt counts.
        function_calls: Calls the model makes, each ``{"name": …, "args": {…}}``.
        continuation_token: Sent with the candidate; google-genai follows it by itself unless
            ``automatic_continuation`` is off.
        model_version: Model that answers; "" is the one that the request's name stands for.
        prompt_tokens: Counted instead of the prompt itself, for prices of very long prompts.
        cached_tokens: The part of the prompt that was cached.
        thoughts_tokens: Hidden reasoning. Bounded by maxOutputTokens, before the text, and by a
            thinkingBudget of 0 or more.
        tool_tokens: toolUsePromptTokenCount.
        usage: In which chunks usageMetadata is sent, each time for all chunks so far.
        usage_fields: Laid over usageMetadata; None takes a field away. What is billed stays.
        status: Anything but 200 is an error, sent before generation.
        error_status: Name of the error, for example FAILED_PRECONDITION; "" follows the number.
        error_message: Its message; "" is the usual one.
        reason: Reason in an ErrorInfo detail, for example API_KEY_INVALID.
        quota: Id of the quota in a QuotaFailure detail, for example from `QUOTA_PER_DAY`.
        retry_delay: RetryInfo, for example "53s".
        error_shape: "auto" is an array on a stream without alt=sse and an object elsewhere.
            "bare" sends an error in mid SSE as lines of JSON without "data:".
        delay_seconds: Wait before the status line.
        chunk_interval_seconds: Wait before every chunk but the first.
        drip_bytes: Send the body so many bytes at a time; 0 sends it at once.
        drip_interval_seconds: Wait between these.
        body: Status 200 with something else than an answer.
        cut: How the answer breaks off; see the package's description.
        cut_after: Chunks of a stream that are sent before that.
        bills: False bills nothing, True everything, None by the package's rules.
    """

    name: str = "answer"
    text: str | None = None
    chunks: int = 4
    finish_reason: str = "STOP"
    block_reason: str = ""
    function_calls: tuple[Mapping[str, Any], ...] = ()
    continuation_token: str = ""
    model_version: str = ""
    prompt_tokens: int | None = None
    cached_tokens: int = 0
    thoughts_tokens: int = 0
    tool_tokens: int = 0
    usage: UsageMode = "exact"
    usage_fields: Mapping[str, int | None] = field(default_factory=dict)
    status: int = 200
    error_status: str = ""
    error_message: str = ""
    reason: str = ""
    quota: str = ""
    retry_delay: str = ""
    error_shape: ErrorShape = "auto"
    delay_seconds: float = 0.0
    chunk_interval_seconds: float = 0.0
    drip_bytes: int = 0
    drip_interval_seconds: float = 0.0
    body: BodyFault = ""
    cut: Cut = ""
    cut_after: int = 1
    bills: bool | None = None

    def __post_init__(self) -> None:
        _check(self.usage, UsageMode)
        _check(self.error_shape, ErrorShape)
        _check(self.body, BodyFault)
        _check(self.cut, Cut)
        # A script read from JSON has lists.
        object.__setattr__(self, "function_calls", tuple(self.function_calls))

    @property
    def is_error(self) -> bool:
        """Is the request refused with a status of its own?"""
        return self.status != 200 and self.cut != "error"

    @property
    def is_before_generation(self) -> bool:
        """Does the request end before the service begins to generate?"""
        return self.is_error or self.cut in CUTS_BEFORE_GENERATION

    def to_json(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        default = Reply()
        mine = asdict(self)
        return {
            f.name: mine[f.name] for f in fields(self) if mine[f.name] != getattr(default, f.name)
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Reply:
        """The opposite of to_json(). An unknown field is a TypeError."""
        return cls(**value)


def _check(value: str, allowed: Any) -> None:
    if value not in allowed.__args__:
        raise ValueError(f"{value!r} is none of {allowed.__args__}")


QUOTA_PER_MINUTE = "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"
QUOTA_TOKENS_PER_MINUTE = "GenerateContentInputTokensPerModelPerMinute-FreeTier"
QUOTA_PER_DAY = "GenerateRequestsPerDayPerProjectPerModel-FreeTier"


def answer(text: str | None = None, **more: Any) -> Reply:
    """An answer that ends well, unless `more` says otherwise."""
    return Reply(text=text, **more)


def error(status: int, **more: Any) -> Reply:
    """A refusal before generation: 400, 401, 403, 404, 408, 429, 499, 500, 502, 503, 504, …"""
    shape: dict[str, Any] = {"error_shape": "html"} if status == 502 else {}
    return Reply(**{"name": f"error {status}", "status": status, **shape, **more})


def bad_key(**more: Any) -> Reply:
    """400 as for a wrong key."""
    return error(400, **{"name": "bad key", "reason": "API_KEY_INVALID", **more})


def rate_limited(retry_delay: str = "53s", **more: Any) -> Reply:
    """429: too many requests in this minute."""
    fields_ = {"name": "rate limited", "quota": QUOTA_PER_MINUTE, "retry_delay": retry_delay}
    return error(429, **{**fields_, **more})


def daily_quota(retry_delay: str = "53s", **more: Any) -> Reply:
    """429: the day's quota is used up. The delay is just as misleading as the real one."""
    return rate_limited(retry_delay, **{"name": "daily quota", "quota": QUOTA_PER_DAY, **more})


def blocked_prompt(reason: str = "SAFETY", **more: Any) -> Reply:
    """The prompt is blocked, and billed."""
    return Reply(**{"name": "blocked prompt", "block_reason": reason, **more})


def finished(finish_reason: str, **more: Any) -> Reply:
    """An answer that ends for another reason than STOP."""
    return Reply(**{"name": f"finished {finish_reason}", "finish_reason": finish_reason, **more})


def cut(how: Cut, after: int = 1, **more: Any) -> Reply:
    """An answer that breaks off; see the package's description."""
    return Reply(**{"name": f"cut {how}", "cut": how, "cut_after": after, **more})


def broken_body(body: BodyFault, **more: Any) -> Reply:
    """Status 200 and no usable answer."""
    return Reply(**{"name": f"body {body}", "body": body, **more})


def usage_zero(**more: Any) -> Reply:
    """An answer whose usageMetadata says 0 everywhere."""
    zeros = {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0}
    return Reply(**{"name": "usage zero", "usage_fields": zeros, **more})


def usage_contradictory(total: int = 1, **more: Any) -> Reply:
    """An answer whose totalTokenCount is not the sum of its parts."""
    fields_ = {"totalTokenCount": total}
    return Reply(**{"name": "usage contradictory", "usage_fields": fields_, **more})
