"""A cost store in Redis, or in any server of its protocol such as Valkey."""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from django_obc_ai.backends.cost_stores import _redis_fields as fields
from django_obc_ai.backends.cost_stores import _redis_scripts as scripts
from django_obc_ai.backends.cost_stores._redis_process import NOT_MINE, Mine, Process
from django_obc_ai.backends.cost_stores.base import BaseCostStore, BudgetsChangedError
from django_obc_ai.backends.redis_link import RedisLink, ScriptCall, Step
from django_obc_ai.backends.redis_rows import RedisRows
from django_obc_ai.exceptions import CostStoreError, CostStoreLostError
from django_obc_ai.types import Amount, BudgetHold, BudgetTotals, ExpiredHold, Settlement


class RedisCostStore(RedisRows, BaseCostStore):
    """Totals in one hash that only Lua scripts change.

    A server that was restarted, emptied, or has evicted the hash is noticed: on each new
    connection by its run id, and in each script by the epoch and a counter that never
    falls. Nothing is admitted then until `rebuild`.
    """

    tracks_budgets: ClassVar[bool] = True
    extra: ClassVar[str] = "redis"
    sdk_module: ClassVar[str] = "redis"

    def __init__(
        self,
        *,
        url: str = "redis://127.0.0.1:6379/0",
        prefix: str = "obc-ai:costs",
        lease_seconds: float = 120.0,
        timeout_seconds: float = 2.0,
    ) -> None:
        """Keep the options; the connection is made at the first use.

        Args:
            url: Of the server, with password and database.
            prefix: Begins the names of all keys; projects that share a server differ in it.
            lease_seconds: See `BaseCostStore`; also the wait after a loss.
            timeout_seconds: For connecting and for each answer.

        Raises:
            ValueError: The prefix holds a brace, or a time is not above 0.
        """
        if "{" in prefix or "}" in prefix:
            raise ValueError("prefix holds a brace; all keys share one in braces already.")
        if lease_seconds <= 0 or timeout_seconds <= 0:
            raise ValueError("lease_seconds and timeout_seconds must be above 0.")
        self._url, self._prefix = url, prefix
        self._keys = (f"{{{prefix}}}".encode(), f"{{{prefix}}}:due".encode())
        self.lease_seconds, self._timeout = lease_seconds, timeout_seconds
        self._process = Process()

    @property
    def server(self) -> str:
        """See `BaseCostStore.server`."""
        return self._url

    def _mine(self) -> Process:
        """Return this process's part; a forked child begins with none."""
        if self._process.pid != os.getpid():
            self._process = Process()
        return self._process

    def _link(self, process: Process) -> RedisLink:
        if process.link is None:
            with process.lock:
                if process.link is None:
                    process.link = RedisLink(
                        self.import_sdk(),
                        url=self._url,
                        timeout_seconds=self._timeout,
                        translate=_translated,
                        attach=self._attach,
                    )
        return process.link

    def _attach(self, connection: Any) -> None:
        """Compare run ids on a new connection: whatever restarts a server ends the old ones."""
        connection.on_connect()
        head = (self._now(), self._process.fresh(), b"", b"0")
        connection.send_command("EVAL", scripts.ATTACH, 2, *self._keys, *head)
        connection.read_response()

    def _now(self) -> bytes:
        return b"" if self.clock is None else b"%d" % (self.clock() * 1000)

    def run_all(self, calls: Sequence[ScriptCall]) -> list[Any]:
        """See `RedisRows.run_all`.

        Raises:
            CostStoreError: Redis failed.
        """
        return self._link(self._mine()).run_all(calls)

    def _call(
        self,
        script: str,
        *arguments: Any,
        epoch: bytes | None = None,
        more_keys: Sequence[bytes] = (),
    ) -> ScriptCall:
        """Return the call of a script, on the newest knowledge of epoch and counter."""
        process = self._mine()
        epoch = process.epoch if epoch is None else epoch
        head = (self._now(), process.fresh(), epoch, b"%d" % process.seen)
        return (script, b"%d" % (2 + len(more_keys)), *self._keys, *more_keys, *head, *arguments)

    def _run(self, script: str, *arguments: Any) -> Any:
        return self.run_all([self._call(script, *arguments)])[0]

    def _note(self, counter: int) -> None:
        process = self._process
        with process.lock:
            process.seen = max(process.seen, counter)

    def _learn(self, epoch: bytes) -> None:
        """Take over the store's epoch and announce what this process holds."""
        process = self._mine()
        with process.lock:
            if process.epoch == epoch:
                return
            process.epoch, process.seen = epoch, 0
        self.renew()

    def reserve(
        self, reservation: UUID, holds: Sequence[BudgetHold], amount: Amount, *, details: str = ""
    ) -> BudgetHold | None:
        """See `BaseCostStore.reserve`."""
        return self.run_step(self.reserve_step(reservation, holds, amount, details=details))

    def reserve_step(
        self,
        reservation: UUID,
        holds: Sequence[BudgetHold],
        amount: Amount,
        *,
        details: str = "",
        budgets: str | None = None,
        under: tuple[bytes, bytes] | None = None,
    ) -> Step[BudgetHold | None]:
        """See `BaseCostStore.reserve_step`."""
        process = self._mine()
        record = fields.record(holds, amount, details)
        # As bytes, because redis-py is slow to turn anything else into them.
        amounts = [amount.of(hold.unit) for hold in holds]
        wanted = (
            b"*" if budgets is None else budgets.encode(),
            b" ".join([self._end(hold) for hold in holds]),
            *[fields.field(hold.key) for hold in holds],
            *[fields.room(hold, each) for hold, each in zip(holds, amounts, strict=True)],
            *[b"%d" % each for each in amounts],
        )
        lease, field = b"%d" % (self.lease_seconds * 1000), b"i:%b" % str(reservation).encode()
        epoch = b""

        def call() -> ScriptCall:
            nonlocal epoch
            epoch = process.epoch
            mine = (lease, field, epoch + b"\n" + record, *wanted)
            return self._call(scripts.RESERVE, *mine, epoch=epoch, more_keys=under or ())

        def read(reply: Any) -> BudgetHold | None:
            for is_last in (False, False, True):
                if isinstance(reply, int):
                    process.open[reservation] = Mine(record, epoch, holds, amounts)
                    self._note(reply)
                    return None
                if reply[0] == b"full":
                    return holds[int(reply[2])]
                if reply[0] == b"permit":
                    raise CostStoreError("Redis has lost a permit. Nothing was sent.")
                if reply[0] == b"budgets":
                    raise BudgetsChangedError(reply[2].decode())
                self._learn(reply[1])
                if reply[0] == b"lost":
                    self._raise_lost(since=int(reply[2]), now=int(reply[3]))
                if not is_last:
                    (reply,) = self.run_all([call()])
            raise CostStoreError("The Redis cost store is lost again and again. Nothing was sent.")

        return Step(call(), read)

    def note_budgets(self) -> None:
        """See `BaseCostStore.note_budgets`."""
        self._run(scripts.NOTE_BUDGETS)

    def _end(self, hold: BudgetHold) -> bytes:
        """Return when the totals of a hold may be forgotten, in ms."""
        if hold.ends_at is None:
            return b"-"
        return b"%d" % ((hold.ends_at + 2 * self.lease_seconds) * 1000)

    def _raise_lost(self, *, since: int, now: int) -> None:
        wait = max(0.0, since / 1000 + self.lease_seconds - now / 1000)
        raise CostStoreLostError(
            "The Redis cost store has lost its totals (a restart, an eviction or a flush)."
            f" Nothing is sent until they are rebuilt from the ledger, in {wait:.0f} seconds at"
            " the earliest: calls that are under way must end or report first.",
            retry_after_seconds=wait,
        )

    def settle(self, reservation: UUID, amount: Amount) -> Settlement | None:
        """See `BaseCostStore.settle`.

        Raises:
            CostStoreError: Redis failed; the hold stays and counts as spent.
        """
        return self.run_step(self.settle_step(reservation, amount))

    def settle_step(self, reservation: UUID, amount: Amount) -> Step[Settlement | None]:
        """See `BaseCostStore.settle_step`."""
        process = self._mine()
        mine = process.open.get(reservation, NOT_MINE)
        record = mine.epoch + b"\n" + mine.record if mine.record else b""
        costs = (b"%d" % amount.nano, b"%d" % amount.tokens, b"%d" % amount.requests)
        name = str(reservation).encode()
        spent = [amount.of(hold.unit) for hold in mine.holds]
        pairs = zip(spent, mine.held, strict=True)
        changes = (
            *[fields.field(hold.key) for hold in mine.holds],
            *[b"%d" % (cost - held) for cost, held in pairs],
            *[b"%d" % cost for cost in spent],
        )

        def read(reply: Any) -> Settlement | None:
            process.open.pop(reservation, None)
            self._learn(reply[1])
            if reply[0] == b"no":
                return None
            self._note(int(reply[2]))
            names = [each.decode() for each in reply[3]] if reply[3] else mine.keys
            totals = fields.pairs(names, reply[4])
            return Settlement(totals=totals, was_expired=reply[0] in (b"N", b"C"))

        return Step(self._call(scripts.SETTLE, name, *costs, record, mine.epoch, *changes), read)

    def renew(self) -> None:
        """See `BaseCostStore.renew`."""
        process = self._mine()
        mine = list(process.open.items())
        flat: list[Any] = []
        for reservation, held in mine:
            flat += [str(reservation), held.epoch + b"\n" + held.record, held.epoch]
        if not flat:
            return
        epoch = self._run(scripts.RENEW, int(self.lease_seconds * 1000), *flat)
        for _, held in mine:
            held.epoch = epoch
        with process.lock:
            if process.epoch != epoch:
                process.epoch, process.seen = epoch, 0

    def totals(self, keys: Sequence[str]) -> dict[str, BudgetTotals]:
        """See `BaseCostStore.totals`.

        Raises:
            CostStoreError: Redis failed.
        """
        if not keys:
            return {}
        names = [f"{kind}:{key}" for key in keys for kind in ("s", "c")]
        return fields.pairs(keys, self._link(self._mine()).ask("HMGET", self._keys[0], *names))

    def expire(self) -> list[ExpiredHold]:
        """See `BaseCostStore.expire`."""
        while True:
            reply = self._run(scripts.EXPIRE)
            if reply[0] < 100:
                break
        found = []
        for reservation, value in reply[1]:
            _, epoch, rest = value.split(b"\n", 2)
            owner, nano, tokens, requests, _, details = rest.split(b"\n", 5)
            amount = Amount(nano=int(nano), tokens=int(tokens), requests=int(requests))
            found.append(
                ExpiredHold(
                    reservation=UUID(reservation.decode()),
                    amount=amount,
                    owner=owner.decode(),
                    details=details.decode(),
                    is_from_before_loss=epoch != reply[2],
                )
            )
        return found

    def confirm(self, reservations: Sequence[UUID]) -> None:
        """See `BaseCostStore.confirm`."""
        if reservations:
            self._run(scripts.CONFIRM, *(str(each) for each in reservations))

    def rebuild(self, read: Callable[[], Mapping[str, int]], *, is_new: bool = False) -> bool:
        """See `BaseCostStore.rebuild`."""
        token = uuid.uuid4().hex
        wait = 0 if is_new else int(self.lease_seconds * 1000)
        answer = self._run(scripts.BEGIN, token, wait)
        before: Mapping[str, BudgetTotals] = {}
        if answer == b"ok":
            token = ""
            names = self._link(self._mine()).ask("HKEYS", self._keys[0])
            known = [name[2:].decode() for name in names if name.startswith(b"s:")]
            before = self.totals(known)
        elif answer != b"go":
            return False
        flat: list[Any] = []
        for key, spent in read().items():
            old = before[key].spent_nano if key in before else 0
            flat += [key, spent - old]
        return bool(self._run(scripts.FINISH, token, *flat))

    def close(self) -> None:
        """Close this process's connections."""
        if self._process.pid == os.getpid() and self._process.link is not None:
            self._process.link.close()


def _translated(error: Exception) -> CostStoreError:
    # The package's own message names host and port, never the password; still it is chained only.
    return CostStoreError(
        f"The Redis cost store could not be asked ({type(error).__name__}), so nothing may be"
        " sent. Start Redis, or name a stand-in in OBC_AI['MONEY']."
    )
