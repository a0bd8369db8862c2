"""Declarations over the test models in which much is hidden, also from superusers."""

from __future__ import annotations

from typing import Any


def public(**more: Any) -> dict[str, Any]:
    return {"needs_permission": False, "visible_to": lambda rows, user: rows, **more}


DECLARED: dict[str, Any] = {
    "testapp.Survey": public(
        fields=[
            "title", "date", "year", "count", "length", "budget", "share", "status", "level",
            "token", "started_at", "data",
        ],
        relations=["place", "by_slug"],
    ),
    "testapp.Place": public(
        fields=["name"], relations=["owner"], visible_to=lambda r, u: r.filter(is_hidden=False)
    ),
    "testapp.Tag": public(fields=["name"], visible_to=lambda r, u: r.exclude(name="hidden")),
    "testapp.CompositeThing": public(
        fields=["region", "number"], visible_to=lambda r, u: r.filter(title="a").distinct()
    ),
    "auth.User": public(fields=["username"], visible_to=lambda r, u: r.exclude(username="ghost")),
}  # fmt: skip
