"""Events of the traffic between workers and providers: limits, flights, closed providers."""

from __future__ import annotations

from logging import DEBUG, ERROR, INFO, WARNING

from django_obc_ai.logs.event import OFTEN, Event

# --- traffic -------------------------------------------------------------------------------------
TRAFFIC_WAITED = Event(
    name="traffic.waited",
    level=DEBUG,
    message="A call waited %(wait_ms)d ms for the limits of %(alias)r: %(reason)s.",
    fields=("alias", "wait_ms", "reason"),
)
TRAFFIC_REFUSED = Event(
    name="traffic.refused",
    level=WARNING,
    message="The limits of %(alias)r refused a call: %(reason)s.",
    fields=("alias", "reason"),
    every_seconds=OFTEN,
)
TRAFFIC_COALESCED = Event(
    name="traffic.coalesced",
    level=DEBUG,
    message="A call took the answer of another one that asked the same.",
)
TRAFFIC_NOT_SHARED = Event(
    name="traffic.not_shared",
    level=WARNING,
    message="The coordinator failed; the call goes on alone, whoever asks the same.",
    every_seconds=OFTEN,
)
TRAFFIC_LIMITS_LOCAL = Event(
    name="traffic.limits_local",
    level=WARNING,
    message="The coordinator failed; limits and breakers hold within each process alone.",
    every_seconds=OFTEN,
)

# --- providers -----------------------------------------------------------------------------------
PROVIDER_CLOSED = Event(
    name="provider.closed",
    level=WARNING,
    message="The provider %(alias)r is closed until %(until)s: %(reason)s.",
    fields=("alias", "reason", "until"),
)
PROVIDER_REOPENED = Event(
    name="provider.reopened",
    level=INFO,
    message="The provider %(alias)r is open again.",
    fields=("alias",),
)

# --- flights -------------------------------------------------------------------------------------
FLIGHT_TAKEN_OVER = Event(
    name="flight.taken_over",
    level=WARNING,
    message="The process that made a call for others died; another one makes it again.",
    every_seconds=OFTEN,
)
FLIGHT_LOST = Event(
    name="flight.lost",
    level=ERROR,
    message="Two processes died over the same call; it is not made a third time.",
    every_seconds=OFTEN,
)
