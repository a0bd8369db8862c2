"""What the results of checks say about each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from deploy.verify.checks import FAILED, PASSED
from deploy.verify.criteria import GROUPS, Group, Item

NOT_HERE = "not here"
#: Suite and id of a check.
Name = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Verdict:
    """How an item stands.

    Attributes:
        status: `PASSED`, `FAILED` or `NOT_HERE`.
        why: What did not pass, and in which words; "" for an item that passed.
    """

    id: str
    group: Group
    item: Item
    status: str
    why: str = ""

    @staticmethod
    def score(verdicts: Sequence[Verdict]) -> int:
        """Per cent of the items that were decided; rounded down, so that 100 is all of them."""
        passed = sum(each.status == PASSED for each in verdicts)
        decided = passed + sum(each.status == FAILED for each in verdicts)
        return 100 * passed // decided if decided else 0


def judge(
    results: Mapping[Name, tuple[str, str]], needs: Mapping[Name, AbstractSet[Name]]
) -> list[Verdict]:
    """Return the verdict on every item.

    An item has failed if one of its checks has, or was not made since what it needs had failed. It
    has passed if all have. Otherwise nobody knows here.

    Args:
        results: Status and text of each check that was told.
        needs: What has to pass before a check is made.
    """
    return [
        _verdict(name, group, item, results, needs)
        for group in GROUPS
        for name, item in group.numbered()
    ]


def _verdict(
    name: str,
    group: Group,
    item: Item,
    results: Mapping[Name, tuple[str, str]],
    needs: Mapping[Name, AbstractSet[Name]],
) -> Verdict:
    failed: dict[Name, str] = {}
    open_ones: dict[Name, str] = {}
    for check in item.checks():
        status, text = results.get(check, ("", "was not asked"))
        if status == PASSED:
            continue
        causes = {check} if status == FAILED else needs.get(check, frozenset())
        found = {each: results[each][1] for each in causes if _has_failed(each, results)}
        failed |= found
        if not found:
            open_ones[check] = text
    told = failed or open_ones
    why = "; ".join(f"{check}: {text}" for (_, check), text in sorted(told.items()))
    if failed:
        return Verdict(name, group, item, FAILED, why)
    return Verdict(name, group, item, NOT_HERE if open_ones else PASSED, why)


def _has_failed(check: Name, results: Mapping[Name, tuple[str, str]]) -> bool:
    return results.get(check, ("", ""))[0] == FAILED
