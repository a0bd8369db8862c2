"""Is anything lost of what two hundred people asked? The site's rows, and the provider's bill."""

from __future__ import annotations

import datetime
import json
import re
import runpy
from collections import Counter
from types import SimpleNamespace
from typing import Any

from tests.acceptance._api_report import Report
from tests.acceptance._budget_bills import INPUT, OUTPUT, cost_of, reconcile
from tests.acceptance._deploy_site import wait_until
from tests.acceptance._load_site import LoadSite
from tests.servers.gemini.journal import JournalEntry
from tests.subprocesses import ROOT

#: The kit's own list; it is no package that is installed.
_KIT = ROOT / "example_project" / "deploy" / "verify"
_errors = runpy.run_path(str(_KIT / "log_lines.py"))["errors"]


class Books:
    """Compares what people were told with what is stored, and what is stored with the bill."""

    def __init__(
        self, site: LoadSite, told: dict[str, Any], journal: list[JournalEntry], report: Report
    ) -> None:
        self.site, self.told, self.journal, self.report = site, told, journal, report

    def prove(self, *, is_small: bool) -> None:
        """Compare all."""
        from django.db.models import Count, Q

        from communities.models import Community
        from django_obc_ai.models import AIOperation, DirtyRow

        wait_until(lambda: not DirtyRow.objects.exists(), "the outbox is empty", seconds=180)
        self.logs()
        self.answers()
        self.messages()
        counts = AIOperation.objects.aggregate(
            all=Count("pk"), cached=Count("pk", filter=Q(cached=True)),
            coalesced=Count("pk", filter=Q(coalesced=True)),
        )  # fmt: skip
        share = {name: f"{100 * counts[name] / counts['all']:.1f} %" for name in counts}
        self.report.line(
            f"- Of {counts['all']:,} operations the exact cache answered {counts['cached']:,}"
            f" ({share['cached']}), and {counts['coalesced']:,} ({share['coalesced']}) took the"
            " answer of one that asked the same at the same time."
        )
        is_mixed = 0 < counts["cached"] < counts["all"] / 2
        self.report.expect(is_small or is_mixed, f"the cache answered {share['cached']}")
        self.bill()
        self.site.manage("ai_index", "communities", "--verify")
        edited = Community.objects.filter(former_names__startswith="Bagong Pangalan").count()
        asked = sum(call["kind"] == "edit" for call in self.told["calls"])
        self.report.expect(0 < edited == asked, f"{asked} edits, {edited} of them stored")
        self.report.line(
            f"- The editor changed {edited} places; the index equals the data"
            " (`ai_index communities --verify`), and the outbox is empty."
        )

    def logs(self) -> None:
        """Read what all programs have written."""
        lines, found = 0, list[str]()
        for path in [*sorted((self.site.home / "log").iterdir()), self.site.postgres_log]:
            text = path.read_bytes()[self.site.read_before.get(path, 0) :]
            for line in text.decode(errors="replace").splitlines():
                lines += 1
                if path.name != "nginx-access.log" and is_bad(line):
                    found.append(f"{path.name}: {line[:300]}")
        self.report.expect(not found, f"{len(found)} lines tell of errors: {found[:5]}")
        self.report.line(
            f"- {lines:,} lines in the logs of nginx, the site's programs, supervisord and"
            f" PostgreSQL; {len(found)} tell of a warning or an error."
        )

    def answers(self) -> None:
        """Compare what nginx says it has answered with what people got."""
        got = Counter(str(call["status"]) for call in self.told["calls"])
        sent = Counter[str]()
        for line in self.site.log("nginx-access.log").splitlines():
            found = re.search(r'" (\d{3}) ', line)
            assert found is not None, line
            sent[found[1]] += 1
        self.report.expect(got == sent, f"people got {dict(got)}, nginx sent {dict(sent)}")

    def messages(self) -> None:
        """Find each question once, with the one answer that was told."""
        from django_obc_ai.models import AIOperation, ChatMessage, Conversation

        turns, expect = self.told["turns"], self.report.expect
        found = {str(row.key): row for row in ChatMessage.objects.order_by("pk")}
        answers = {key: row for key, row in found.items() if row.role == "assistant"}
        keys = [turn["message_id"] for turn in turns]
        expect(
            len(set(keys)) == len(keys) and set(keys) == set(answers),
            f"{len(turns)} turns were told, {len(answers)} answers are stored",
        )
        before: dict[str, ChatMessage | None] = {}
        last: dict[Any, ChatMessage] = {}
        for key, row in found.items():
            before[key], last[row.conversation_id] = last.get(row.conversation_id), row
        wrong = [
            turn
            for turn in turns
            if (row := answers.get(turn["message_id"])) is None
            or (row.text, str(row.conversation_id)) != (turn["text"], turn["conversation"])
            or (asked := before[turn["message_id"]]) is None
            or (asked.role, asked.text) != ("user", turn["question"])
        ]
        expect(not wrong, f"{len(wrong)} turns are stored otherwise: {wrong[:2]}")
        stored = len(found) - len(answers)
        expect(stored == len(turns), f"{len(turns)} questions were asked, {stored} are stored")
        named = Counter(each for row in answers.values() for each in row.operation_ids)
        chats = AIOperation.objects.filter(operation_type="chat")
        rows = set(map(str, chats.values_list("pk", flat=True)))
        expect(
            set(named) == rows and set(named.values()) == {1},
            f"answers name {len(named)} operations, {len(rows)} are in the ledger",
        )
        self.report.line(
            f"- {len(turns):,} questions in {Conversation.objects.count():,} conversations: each is"
            " stored once, followed by the one answer that its person was told; each names its"
            f" operations, {len(named):,} in all, and each of these is in the ledger."
        )

    def bill(self) -> None:
        """Compare each call that reached the provider with its row, and all with its bill."""
        from django.utils import timezone

        from django_obc_ai.backends.cost_stores import cost_stores
        from django_obc_ai.gateway import policy
        from django_obc_ai.models import AIOperation
        from django_obc_ai.types import nano_from_usd

        expect, journal = self.report.expect, self.journal
        bad = [each for each in journal if not each.is_complete or each.status != 200]
        expect(not bad, f"{len(bad)} calls of the provider did not end well: {bad[:1]}")
        rows = AIOperation.objects.filter(cached=False, coalesced=False)
        failed = AIOperation.objects.filter(success=False).count()
        again = rows.exclude(attempts=1).count()
        expect(not failed and not again, f"{failed} calls failed, {again} were made again")
        billed = Counter(map(_facts_of, journal))
        booked = Counter(
            (
                row.prompt_hash, row.input_tokens, row.output_tokens,
                nano_from_usd(row.cost_usd), row.tokens_exact and row.cost_known,
            )
            for row in rows
        )  # fmt: skip
        expect(
            billed == booked,
            f"billed, not booked: {list((billed - booked).items())[:2]};"
            f" booked, not billed: {list((booked - billed).items())[:2]}",
        )
        now = datetime.datetime.now(datetime.UTC)
        keys = [each.key for each in map(_key_of, policy.periods_at(now))]
        totals = cost_stores["default"].totals(keys)
        held = {key: each.held_nano for key, each in totals.items() if each.held_nano}
        expect(not held, f"still reserved: {held}")
        by_day = Counter[datetime.date]()
        for each in journal:
            by_day[timezone.localdate(each.received_at)] += cost_of(each.billed)
        bill = by_day.total()
        before = nano_from_usd(AIOperation.objects.total_cost())
        expect(before == bill, f"the provider billed {bill}, the ledger has {before} nano-dollars")
        trial = SimpleNamespace(name="load", folder=self.site.home, key=keys[-1])
        left = reconcile(trial, by_day)
        self.report.line(
            f"- The provider was asked {len(journal):,} times and billed ${bill / 1e9:.9f}"
            f" ({INPUT} and {OUTPUT} nano-dollars a token). There is one row for each of these"
            " calls, with the same tokens and cost, and none besides; nothing is reserved any"
            f" longer. Reconciled with the bill, ledger and cost store differ from it by {left}"
            " nano-dollars."
        )


def _key_of(period: Any) -> Any:
    from django_obc_ai.gateway import policy

    budget = period.budget
    return SimpleNamespace(key=policy.key_of(budget, budget.key, period.mark))


def _facts_of(entry: JournalEntry) -> tuple[Any, ...]:
    """Return what a row must have, of a call as the provider saw it."""
    from django_obc_ai.gateway.cache import digest

    system = "".join(part["text"] for part in entry.body["systemInstruction"]["parts"])
    prompt = entry.body["contents"][-1]["parts"][-1]["text"]
    billed = entry.billed
    hashed = digest("prompt", [system, prompt])
    return hashed, billed.prompt, billed.candidates, cost_of(billed), True


def is_bad(line: str) -> bool:
    """Does a line of a log tell of a warning or an error? Of a record of Python by its level."""
    if line.startswith("{"):
        return json.loads(line)["level"] not in ("DEBUG", "INFO")
    return "WARNING" in line or bool(_errors(line))
