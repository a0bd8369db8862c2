"""Single-flight: of equal calls at the same time one is made, and all take its answer.

Equal is what the response cache would answer with one entry, made of the same versions of its
tags. The leader goes on as any call does; followers ask the coordinator until it has landed, died
or their own time is over. They take the answer from the flight and not from the cache, which may
be off, and which keeps no truncated answer. An error is shared where it would repeat.

Where the coordinator cannot be asked, each call goes on alone: what it costs is for the budgets to
say, and an answer is worth more than a saving.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from decimal import Decimal
from uuid import UUID

from django_obc_ai import exceptions
from django_obc_ai.backends.coordinators import BaseCoordinator
from django_obc_ai.backends.redis_link import Step
from django_obc_ai.exceptions import (
    AuthenticationError,
    ContentBlockedError,
    CoordinatorError,
    InvalidRequestError,
    ModelNotFoundError,
    ObcAIError,
    ProviderError,
    QuotaExhaustedError,
)
from django_obc_ai.gateway import cache, keeper, ratelimit
from django_obc_ai.logs import events
from django_obc_ai.types import CallInfo, ProviderResponse
from django_obc_ai.types.coordination import Boarding
from django_obc_ai.types.ids import new_id

#: How long an answer stays with its flight, for those who were waiting for it.
KEEP_SECONDS = 10.0
#: A stream's text goes to its followers this often; and to those of a call that only the same
#: person can follow, who hardly ever asks the same twice at once.
_PUBLISH_SECONDS, _PUBLISH_TO_ONE_SECONDS = 0.1, 1.0
#: Who boards so late looks into the cache once more.
_LATE_SECONDS = 0.005
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.005, 0.1
#: Whoever asked the same would be told the same.
_SHARED_ERRORS = (
    AuthenticationError,
    ContentBlockedError,
    InvalidRequestError,
    ModelNotFoundError,
    QuotaExhaustedError,
)


class Landing:
    """What a flight left: an answer with what it cost, or an error that would repeat."""

    __slots__ = ("cost_usd", "entry", "error", "response")

    def __init__(self, text: str) -> None:
        """Read what `_written` wrote."""
        values = json.loads(text)
        self.response: ProviderResponse | None = None
        self.error: ObcAIError | None = None
        self.cost_usd = Decimal(values.get("cost", "0"))
        entry = values.get("entry")
        self.entry = None if entry is None else UUID(entry)
        if "error" in values:
            kind = getattr(exceptions, values["error"], ProviderError)
            self.error = kind(values["message"], retry_after_seconds=values.get("retry_after"))
        else:
            self.response = ProviderResponse(
                text=values["text"], finish_reason=values["finish"], model=values["model"]
            )


class Flight:
    """One call's part in a flight."""

    def __init__(
        self, coordinator: BaseCoordinator, entry: UUID, info: CallInfo, *, began: float
    ) -> None:
        """Name what is asked; nothing is looked up yet.

        Args:
            coordinator: Is asked.
            entry: Of the response cache.
            info: Who calls.
            began: When, before the cache was looked into, by `time.perf_counter`.
        """
        self._coordinator = coordinator
        self._key = cache.digest("flight", [entry.hex, info.cache_tags])[:40]
        self._token = new_id().hex
        self._began = began
        self._boarding: Boarding | None = None
        self._pause = _FIRST_PAUSE_SECONDS
        self._unpublished: list[str] = []
        self._publish_seconds = _PUBLISH_TO_ONE_SECONDS if info.varies_by_user else _PUBLISH_SECONDS
        self._published_at = time.monotonic() if info.varies_by_user else 0.0
        self._stands_since: float | None = None
        self.is_led = False
        self.was_boarded_late = False

    def board(self) -> Boarding | None:
        """Lead, follow, or take the answer; see `BaseCoordinator.board`. None: go on alone."""
        before, asked_at = self._boarding, time.monotonic()
        try:
            found = self._coordinator.board(
                self._key,
                self._token,
                age_seconds=time.perf_counter() - self._began,
                seen=0 if before is None else before.seen,
            )
        except CoordinatorError as error:
            ratelimit.note_away(error)
            events.TRAFFIC_NOT_SHARED.log(error=error)
            return None
        if found.role == "lead":
            self.is_led = True
            self.was_boarded_late = time.monotonic() - asked_at > _LATE_SECONDS
            keeper.keep(self._token, self._renew, self._coordinator.flight_lease_seconds / 3)
            if found.is_takeover:
                events.FLIGHT_TAKEN_OVER.log()
        elif found.role == "lost":
            events.FLIGHT_LOST.log()
        self._boarding = found
        return found

    def _renew(self) -> None:
        since, lease = self._stands_since, self._coordinator.flight_lease_seconds
        if since is not None and time.monotonic() - since > lease:
            return  # its reader has stopped reading, and nobody else is to wait for that
        self._coordinator.renew_flight(self._key, self._token)

    def next_pause(self) -> float:
        """Return the seconds after which a follower asks again."""
        pause, self._pause = self._pause, min(self._pause * 1.5, _LONGEST_PAUSE_SECONDS)
        return pause

    def is_to_publish(self, piece: str) -> bool:
        """Note a piece of a stream; return whether it is time to let the followers have it."""
        if not self.is_led:
            return False
        self._stands_since = time.monotonic()
        self._unpublished.append(piece)
        return time.monotonic() - self._published_at >= self._publish_seconds

    def go_on(self) -> None:
        """Note that the reader of a stream has taken the last piece."""
        self._stands_since = None

    def publish(self) -> None:
        """Let followers have what was noted; they lose nothing if it fails."""
        pieces, self._unpublished = self._unpublished, []
        self._published_at = time.monotonic()
        try:
            self._coordinator.publish(self._key, self._token, "".join(pieces))
        except CoordinatorError as error:
            events.TRAFFIC_NOT_SHARED.log(error=error)

    def land(
        self,
        response: ProviderResponse | None,
        error: BaseException | None,
        *,
        cost_usd: Decimal,
        entry: UUID | None,
    ) -> None:
        """Leave what the followers may take; what they may not, one of them asks for anew.

        Args:
            response: The answer, or None.
            error: Why there is none.
            cost_usd: Of the call.
            entry: Where the cache keeps the answer, or None.
        """
        if not self.is_led:
            return
        self.is_led = False
        keeper.drop(self._token)
        answer = _written(response, error, cost_usd, entry)
        try:
            self._coordinator.land(self._key, self._token, answer, keep_seconds=KEEP_SECONDS)
        except CoordinatorError as failure:
            events.TRAFFIC_NOT_SHARED.log(error=failure)

    def land_step(
        self, server: str, response: ProviderResponse, *, cost_usd: Decimal, entry: UUID | None
    ) -> Step[None] | None:
        """Return that it landed with an answer as a step for a trip to a server, or None."""
        if not self.is_led or self._coordinator.server != server:
            return None
        step = self._coordinator.land_step(
            self._key,
            self._token,
            _written(response, None, cost_usd, entry),
            keep_seconds=KEEP_SECONDS,
        )
        return None if step is None else Step(step.call, self._note_landed)

    def _note_landed(self, _: object) -> None:
        self.is_led = False
        keeper.drop(self._token)


def _written(
    response: ProviderResponse | None,
    error: BaseException | None,
    cost_usd: Decimal,
    entry: UUID | None,
) -> str | None:
    values: dict[str, object]
    if isinstance(error, _SHARED_ERRORS):
        values = {"error": type(error).__name__, "message": str(error)}
        values["retry_after"] = error.retry_after_seconds
    elif response is not None and error is None:
        values = {
            "text": response.text,
            "finish": response.finish_reason,
            "model": response.model,
            "cost": str(cost_usd),
            "entry": None if entry is None else entry.hex,
        }
    else:
        return None
    return json.dumps(values, ensure_ascii=False)


def flight_for(info: CallInfo, name_of: Callable[[], UUID], *, began: float) -> Flight | None:
    """Return a flight to board; None for a call that shares nothing, or has nobody to ask.

    Args:
        info: Who calls.
        name_of: Returns the request's entry in the response cache.
        began: See `Flight`.
    """
    if not cache.is_shareable(info):
        return None
    coordinator = ratelimit.shared()
    if coordinator is None or not coordinator.can_share_now():
        return None
    return Flight(coordinator, name_of(), info, began=began)
