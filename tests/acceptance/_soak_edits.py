"""The edits of the search index's soak: what hypothesis may draw, and how each is made."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import transaction

from django_obc_ai.services.changes import IndexedQuerySet, marking
from tests.testapp.models import Place, Tag

#: Rows of this province are hidden from everybody and never shown again.
SECRET = "Secret"
FEWEST, MOST = 150, 450
WORDS = ("river", "market", "school", "coast", "river market", "deleted river", "")


class _UndoneError(Exception):
    pass


class Editor:
    """Makes one edit at a time, as a project does it."""

    def __init__(self, owners: list[int]) -> None:
        self.owners = owners

    def make(self, kind: str, choice: int, word: str, number: int, flag: bool) -> None:
        """Make an edit.

        Args:
            kind: One of `KINDS`.
            choice: Picks the rows.
            word: Of the new name.
            number: Makes the name differ from others; picks an owner, too.
            flag: What the kind leaves open: hidden or not, set or cleared, and so on.
        """
        name = f"{word} {number}".strip() if word else ""
        pks = list(Place.objects.order_by("pk").values_list("pk", flat=True))
        if len(pks) > MOST:
            Place.objects.filter(pk__in=pks[choice % 2 : 2 * (MOST - FEWEST) : 2]).delete()
        elif len(pks) < FEWEST:
            self.many(30, name, flag)
        start = choice % max(1, len(pks))
        KINDS[kind](self, pks[start : start + 1 + choice % 4], name, number, flag)

    def some(self, pks: list[int]) -> Any:
        return IndexedQuerySet(Place).filter(pk__in=pks).exclude(province=SECRET)

    def many(self, count: int, name: str, flag: bool) -> None:
        rows = [Place(name=f"{name} {n}", province="Lanao", is_hidden=flag) for n in range(count)]
        IndexedQuerySet(Place).bulk_create(rows)

    def create(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        owner = self.owners[number % len(self.owners)] if flag else None
        Place.objects.create(name=name, province="Sulu", is_hidden=flag, owner_id=owner)

    def create_secret(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        Place.objects.create(name=name, province=SECRET, is_hidden=True)

    def create_many(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        self.many(len(pks), name, flag)

    def save(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        for place in self.some(pks):
            place.name, place.is_hidden = name, flag
            # Raises if another editor has deleted the row since, instead of making it anew.
            place.save(force_update=True)

    def delete(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        for place in Place.objects.filter(pk__in=pks[:2]):
            place.delete()

    def delete_many(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        Place.objects.filter(pk__in=pks).delete()

    def update(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        self.some(pks).update(name=name, is_hidden=flag)

    def update_many(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        rows = list(self.some(pks))
        for row in rows:
            row.name, row.province = name, "Cotabato" if flag else "Basilan"
        self.some(pks).bulk_update(rows, ["name", "province"])

    def update_unasked(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        """Write as raw SQL does, in the documented block."""
        rows = Place.objects.filter(pk__in=pks).exclude(province=SECRET)
        with marking(rows):
            rows.update(name=name)

    def soft_delete(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        """Move rows out of the index's queryset, or back."""
        self.some(pks).update(name=f"deleted {name}" if flag else f"back {number}")

    def hand_over(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        owner = self.owners[number % len(self.owners)] if flag else None
        self.some(pks).update(owner_id=owner, is_hidden=True)

    def undo(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        """Roll back everything, or a savepoint alone."""
        try:
            with transaction.atomic():
                if flag:
                    self.some(pks[:1]).update(name=name)
                try:
                    with transaction.atomic():
                        self.some(pks).update(name=f"never {name}")
                        Place.objects.create(name=f"never {number}")
                        Place.objects.filter(pk__in=pks[:1]).delete()
                        raise _UndoneError
                except _UndoneError:
                    if not flag:
                        raise
        except _UndoneError:
            pass

    def tag(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        tag, _ = Tag.objects.get_or_create(name=f"tag {number % 12}")
        if flag:
            tag.places.set(pks)
        else:
            tag.places.clear()

    def delete_tag(self, pks: list[int], name: str, number: int, flag: bool) -> None:
        for tag in Tag.objects.filter(name=f"tag {number % 12}"):
            tag.places.clear()
            tag.delete()


KINDS: dict[str, Callable[..., None]] = {
    name: each
    for name, each in vars(Editor).items()
    if not name.startswith("_") and name not in ("make", "some", "many")
}
