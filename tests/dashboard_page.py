"""Reading the dashboard as a machine does: tiles, tables, gauges and where they lead."""

from __future__ import annotations

import uuid
from html.parser import HTMLParser
from typing import Any

from django.test import Client

from django_obc_ai.models import AIOperation


class Page(HTMLParser):
    """What stands on the page.

    Attributes:
        tiles: Attributes of each tile by its name, and "url".
        gauges: Attributes of each budget's gauge by its key, and "url".
        meters: Attributes of each limit by its provider and its name, and "url".
        concerns: (about, text, url) of what needs a hand.
        tables: By name, rows of (text, url).
    """

    def __init__(self) -> None:
        super().__init__()
        self.tiles: dict[str, dict[str, str]] = {}
        self.gauges: dict[str, dict[str, str]] = {}
        self.meters: dict[str, dict[str, dict[str, str]]] = {}
        self.concerns: list[list[str]] = []
        self.tables: dict[str, list[list[tuple[str, str]]]] = {}
        self._box: dict[str, str] = {}
        self._rows: list[list[tuple[str, str]]] = []
        self._concern: list[str] | None = None
        self._is_in_cell = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = {name: value or "" for name, value in attrs}
        if "data-figure" in found:
            self._box = self.tiles[found["data-figure"]] = found
        elif "data-budget" in found:
            self._box = self.gauges[found["data-budget"]] = found
        elif "data-provider" in found:
            self.meters[found["data-provider"]] = {}
        elif "data-meter" in found:
            self._box = list(self.meters.values())[-1][found["data-meter"]] = found
        elif "data-concern" in found:
            self._concern = [found["data-concern"], "", ""]
            self.concerns.append(self._concern)
        elif "data-table" in found:
            self._rows = self.tables[found["data-table"]] = []
        elif tag == "tr":
            self._rows.append([])
        elif tag in ("td", "th") and self._rows:
            self._is_in_cell = True
            self._rows[-1].append(("", ""))
        elif tag == "a":
            self._lead(found["href"])

    def _lead(self, url: str) -> None:
        if self._is_in_cell:
            self._rows[-1][-1] = (self._rows[-1][-1][0], url)
        elif self._concern is not None:
            self._concern[2] = url
        elif self._box:
            self._box.setdefault("url", url)

    def handle_endtag(self, tag: str) -> None:
        if tag in ("td", "th"):
            self._is_in_cell = False
        elif tag == "li":
            self._box, self._concern = {}, None
        elif tag == "p":
            self._box = {}

    def handle_data(self, data: str) -> None:
        if self._is_in_cell:
            text, url = self._rows[-1][-1]
            self._rows[-1][-1] = (text + data, url)
        elif self._concern is not None:
            self._concern[1] += data


def read_page(text: str) -> Page:
    """Read a page; tables are left without their header."""
    page = Page()
    page.feed(text)
    page.tables = {name: rows[1:] for name, rows in page.tables.items()}
    return page


def rows_behind(client: Client, url: str) -> dict[uuid.UUID, Any]:
    """Follow a link to a list; return all its rows by key. Any: rows of the ledger."""
    response = client.get(url)
    assert response.status_code == 200, url
    shown = response.context["cl"]
    rows = {row.pk: row for row in shown.queryset}
    assert all(isinstance(row, AIOperation) for row in rows.values())
    assert shown.result_count == len(rows)
    return rows
