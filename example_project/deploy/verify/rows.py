"""Whether anything wrote while something was asked that must not write, and whether it was us."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import timedelta

from deploy.verify.checks import Failed, Skipped
from deploy.verify.people import OWN

#: How long is waited, without asking, to see whether rows change by themselves.
_QUIET_SECONDS = 5.0
#: What the admin's history is read for: what was asked may have taken minutes.
_OF_LATE = timedelta(minutes=15)
#: A row, by its model and key.
Key = tuple[str, str]
Rows = dict[Key, int]


def read_rows() -> Rows:
    """Return a hash of each of the example's rows, and of each user who is a person."""
    from django.apps import apps
    from django.contrib.auth import get_user_model

    found: Rows = {}
    for model in apps.get_app_config("communities").get_models():
        columns = [each.attname for each in model._meta.concrete_fields]
        rows = model._default_manager.values_list("pk", *columns)
        label = model._meta.label
        found.update(((label, str(row[0])), hash(repr(row))) for row in rows.iterator())
    people = get_user_model()
    rights = ("username", "password", "email", "is_active", "is_staff", "is_superuser")
    rows = people._default_manager.exclude(username__startswith=OWN).values_list("pk", *rights)
    found.update(((people._meta.label, str(row[0])), hash(repr(row))) for row in rows.iterator())
    return found


def unwritten(ask: Callable[[], str]) -> str:
    """Ask, and return what that returned, if no row was changed meanwhile.

    People go on working: where rows have changed, all is asked once more. What somebody did in the
    admin, who registered, and rows that also change while nothing is asked, are not ours.

    Args:
        ask: Asks all; called once or twice.

    Raises:
        Skipped: Rows changed both times, and others account for it.
        Failed: They changed both times, and nobody is known to have done it.
    """
    first, told = _changed_by(ask)
    if not first:
        return told
    second, told = _changed_by(ask)
    if not second:
        return f"{told}; {_named(first)} changed the first time alone, so by others"
    unexplained = second - _in_history(second)
    if unexplained:
        before = read_rows()
        time.sleep(_QUIET_SECONDS)
        by_themselves = {label for label, _ in _differences(before, read_rows())}
        unexplained = {each for each in unexplained if each[0] not in by_themselves}
    if unexplained:
        raise Failed(
            f"rows changed both times that this was asked, in {_named(unexplained)}, and neither"
            " the admin's history nor a registration tells who did it. If no program of yours"
            " did, take the chat out of service, and look at those rows"
        )
    raise Skipped(
        f"others are changing {_named(second)} meanwhile, so that nothing can be told of it: run"
        " it again when the site is quieter"
    )


def _changed_by(ask: Callable[[], str]) -> tuple[set[Key], str]:
    before = read_rows()
    told = ask()
    return _differences(before, read_rows()), told


def _differences(before: Rows, after: Rows) -> set[Key]:
    return {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}


def _named(keys: set[Key]) -> str:
    return ", ".join(sorted({label for label, _ in keys}))


def _in_history(keys: set[Key]) -> set[Key]:
    """Return those of the rows that people changed in the admin, or by registering, of late."""
    from django.apps import apps
    from django.contrib.auth import get_user_model
    from django.utils import timezone

    since = timezone.now() - _OF_LATE
    found: set[Key] = set()
    if apps.is_installed("django.contrib.admin"):
        from django.contrib.admin.models import LogEntry

        entries = LogEntry.objects.filter(action_time__gte=since)
        entries = entries.exclude(user__username__startswith=OWN)
        for entry in entries.select_related("content_type"):
            model = entry.content_type.model_class() if entry.content_type else None
            if model is not None:
                found.add((model._meta.label, str(entry.object_id)))
    people = get_user_model()
    # Whoever registers has no rights; a user with rights that nobody gave in the admin is no guest.
    joined = people._default_manager.filter(
        date_joined__gte=since, is_staff=False, is_superuser=False
    )
    found |= {(people._meta.label, str(key)) for key in joined.values_list("pk", flat=True)}
    return keys & found
