"""What schemathesis does besides: ask for other people's keys, and look for their texts.

It imports this module; `_api_schema.py` writes the facts.
"""

from __future__ import annotations

import json
import os
import random
from pathlib import Path
from typing import Any

import schemathesis

_facts: dict[str, Any] = json.loads(Path(os.environ["OBC_AI_SCHEMATHESIS"]).read_text())
_chance = random.Random(20261129)


def _some_key(path: str) -> str | None:
    """Somebody else's key in half of the cases, in a quarter an own one."""
    whose = _chance.choice(["others", "others", "own", ""])
    kind = "jobs" if path.startswith("/jobs/") else "conversations"
    return _chance.choice(_facts[whose][kind]) if whose and _facts[whose][kind] else None


#: That the index of places has; each gets the values that were made for other names.
_FILTERS = ("province", "province__in", "province__gt", "province__range", "owner__username")


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    if case.meta is not None and case.meta.generation.mode.is_negative:
        if "scope" in (case.query or {}) and case.query["scope"] in (None, "", [], {}):
            case.query["scope"] = "a" * 101  # what is sent of the others is an empty text
        return
    filters = case.body.get("filters") if isinstance(case.body, dict) else None
    if filters:
        case.body["filters"] = dict(zip(_FILTERS, filters.values(), strict=False))
        case.body["index"] = "places"
    key = _some_key(case.path)
    if key is None:
        return
    if "key" in (case.path_parameters or {}):
        case.path_parameters["key"] = key
    if isinstance(case.body, dict) and "conversation" in case.body:
        case.body["conversation"] = key


@schemathesis.hook
def after_call(context: Any, case: Any, response: Any) -> None:
    # No check, since those that are added here are not among "all".
    text, asked = response.content.decode(errors="replace"), (case.path_parameters, case.body)
    note = {
        "where": f"{case.method} {case.path}",
        "status": response.status_code,
        "asks_for_others": any(
            key in str(asked) for each in _facts["others"].values() for key in each
        ),
        "leaks": any(canary in text for canary in _facts["canaries"]),
        "shows_own": any(canary in text for canary in _facts["own_canaries"]),
    }
    with Path(_facts["calls"]).open("a") as file:
        file.write(json.dumps(note) + "\n")
