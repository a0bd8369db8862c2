"""Compare jobs with the server's journal, and its bill with the books; see jobs_kill.py."""

from __future__ import annotations

import time
from collections import Counter
from typing import Any

from tests.acceptance._budget_bills import cost_of, reconcile
from tests.acceptance._jobs_site import answer_to, asked, changes
from tests.acceptance._jobs_trial import Trial


class Comparison:
    """What was found, and what was not as it must be."""

    def __init__(self, trial: Trial) -> None:
        self.trial, self.faults = trial, list[str]()
        self.journal = trial.gemini.journal
        self.prompts = {note["id"]: note["prompt"] for note in trial.notes if not note["error"]}

    def expect(self, claim: bool, why: str) -> None:
        if not claim:
            print(why, flush=True)
            self.faults.append(why)

    def jobs(self) -> dict[str, Any]:
        """Compare the rows with what was submitted, answered and noted by the database."""
        from django_obc_ai.models import Job

        jobs = {str(job.pk): job for job in Job.objects.all()}
        total = self.trial.size.jobs
        self.expect(len(self.prompts) == total, f"{len(self.prompts)} of {total} were submitted")
        self.expect(set(jobs) == set(self.prompts), "the jobs are not those that were submitted")
        answered = {key: job for key, job in jobs.items() if job.status == "succeeded"}
        lost = sorted(
            f"{job.status} {job.error_category}" for key, job in jobs.items() if key not in answered
        )
        self.expect(not lost, f"{len(lost)} jobs were lost: {lost[:5]}")
        complete = {asked(entry) for entry in self.journal if entry.is_complete}
        foreign = [
            key
            for key, job in answered.items()
            if not str(job.result["text"]).startswith(answer_to(self.prompts[key]))
            or self.prompts[key] not in complete
        ]
        self.expect(not foreign, f"{len(foreign)} answers are not the server's to that question")
        noted = changes()
        written = Counter(str(each["job"]) for each in noted if each["is_answer"])
        ended = Counter(str(each["job"]) for each in noted if each["status"] == "succeeded")
        doubled = [key for key in jobs if written[key] != 1 or ended[key] != 1]
        self.expect(not doubled, f"{len(doubled)} jobs were not answered exactly once")
        return {"answered": len(answered), "doubled": len(doubled)}

    def calls(self) -> dict[str, int]:
        """Compare the calls that the server saw with attempts and strikes."""
        from django_obc_ai.models import Job

        made = Counter(asked(entry) for entry in self.journal if asked(entry))
        attempts = {str(job.pk): job.attempts for job in Job.objects.all()}
        more = [key for key, prompt in self.prompts.items() if made[prompt] > attempts.get(key, 0)]
        self.expect(not more, f"{len(more)} jobs made more calls than attempts")
        calls, total = sum(made.values()), self.trial.size.jobs
        again = sum(attempts.values()) - total
        most = total + self.trial.struck
        self.expect(calls <= most, f"{calls} calls of {total} jobs, {self.trial.struck} struck")
        self.expect(
            again <= self.trial.struck, f"{again} were begun again, {self.trial.struck} struck"
        )
        return {"calls": calls, "again": again}

    def books(self) -> dict[str, int]:
        """Compare the bill with ledger and store, and reconcile them."""
        from django_obc_ai.backends.cost_stores import cost_stores
        from django_obc_ai.gateway import ledger, recovery
        from django_obc_ai.gateway.cache import digest
        from django_obc_ai.models import AIOperation
        from django_obc_ai.types import nano_from_usd

        while ledger.drain("default").stored:
            pass
        recovery.sweep()
        bill = sum(cost_of(entry.billed) for entry in self.journal)
        costs = {
            digest("prompt", ["", asked(entry)]): cost_of(entry.billed) for entry in self.journal
        }
        rows = AIOperation.objects.filter(success=True)
        wrong = [each for each in rows if nano_from_usd(each.cost_usd) != costs[each.prompt_hash]]
        self.expect(not wrong, f"{len(wrong)} of {len(rows)} costs are no bill")
        self.expect(len(rows) >= self.trial.size.jobs, f"only {len(rows)} answers are in the books")
        unknown = AIOperation.objects.filter(cost_known=False)
        self.expect(
            len(unknown) <= self.trial.struck, f"{len(unknown)} unknown, {self.trial.struck} struck"
        )
        ceilings = sum(nano_from_usd(row.cost_usd) for row in unknown)
        store = cost_stores["default"].totals([self.trial.key])[self.trial.key]
        booked = nano_from_usd(AIOperation.objects.total_cost())
        self.expect(
            bill <= store.spent_nano and bill <= booked and not store.held_nano,
            f"billed {bill}, ledger {booked}, store {store}",
        )
        found = {"unknown": len(unknown), "bill": bill, "booked": booked, "ceilings": ceilings}
        return {**found, "left": reconcile(self.trial, bill)}

    def row(self) -> str:
        """Return the row of the table."""
        jobs, calls, books = self.jobs(), self.calls(), self.books()
        trial, count = self.trial, self.trial.count
        killed = count["child"] + count["worker"] + count["beat"]
        usd = lambda nano: f"${nano / 1e9:.9f}"  # noqa: E731
        return (
            f"| {len(self.prompts)} by {trial.size.persons} | {killed}: {count['child']} children,"
            f" {count['worker']} workers, {count['beat']} beat | {count['stop']} |"
            f" {trial.struck} | {jobs['answered']} | {len(self.prompts) - jobs['answered']} |"
            f" {jobs['doubled']} | {calls['calls']} | {calls['again']} | {usd(books['bill'])} |"
            f" {usd(books['booked'])} | {usd(books['ceilings'])} in {books['unknown']} |"
            f" {usd(books['left'])} | {trial.seconds:.0f} s |"
        )


def compare(trial: Trial) -> tuple[str, list[str]]:
    """Return the row of the table and the faults."""
    time.sleep(0.5)
    comparison = Comparison(trial)
    row = comparison.row()
    return row, comparison.faults
