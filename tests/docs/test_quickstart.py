"""The quickstart, followed to the letter, and what it says besides."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.docs.conftest import QUICKSTART
from tests.docs.execute import Page, run_script
from tests.docs.markdown import blocks
from tests.extras import requires


def test_quickstart_does_what_it_says(quickstart: Path) -> None:
    assert (quickstart / "db.sqlite3").is_file()
    assert {block.language for block in blocks(QUICKSTART)} == {"console", "python", "pycon"}


@pytest.mark.parametrize("wrong", ["12 rows, 6 texts", "6 rows, 6 texts embedded in ... hours"])
def test_output_that_differs_is_noticed(project: Path, tmp_path: Path, wrong: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"```console\n$ python manage.py ai_index --rebuild\nclinics: {wrong}\n```\n")
    with pytest.raises(AssertionError, match="but:"):
        Page(page, project, settings="mysite.settings").follow()


def test_a_typed_line_that_answers_otherwise_is_noticed(project: Path, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```pycon\n>>> 1 + 1\n3\n```\n")
    with pytest.raises(AssertionError, match="Expected"):
        Page(page, project, settings="mysite.settings").follow()


def test_default_embedder_finds_words_and_no_meanings(project: Path) -> None:
    found = run_script(
        project,
        """
        from django_obc_ai.services.search import SimilaritySearchService
        for query in ("vaccination", "immunisation", "bakuna"):
            found = SimilaritySearchService().search("clinics", query, user=None)
            print(query, [each.object.town for each in found])
        """,
    )
    assert found.splitlines() == ["vaccination ['Marawi']", "immunisation []", "bakuna []"]


@requires("nh3")
def test_the_chat_page_answers_whoever_logged_in(project: Path) -> None:
    found = run_script(
        project,
        """
        from django.test import Client
        client = Client(headers={"host": "localhost"})
        login = {"username": "amina", "password": "six paces east"}
        print(client.get("/chat/").url)
        print(client.post("/admin/login/?next=/chat/", login).url)
        for asked in ("How many clinics are there?", "Find dental care"):
            page = client.get(client.post("/chat/", {"message": asked}).url).content.decode()
            print("There are 5 clinics" in page, "Jolo Dental Clinic" in page)
        """,
    )
    assert found.splitlines() == ["/admin/login/?next=/chat/", "/chat/", "True False", "False True"]


def test_a_visitors_answer_never_rests_on_a_draft(project: Path) -> None:
    found = run_script(
        project,
        """
        from django.contrib.auth.models import AnonymousUser, User
        from django.test import RequestFactory
        from clinics.views import ask
        for user in (AnonymousUser(), User.objects.get(username="amina")):
            request = RequestFactory().get("/ask/", {"q": "Vaccination in Lamitan"})
            request.user = user
            print("Lamitan Mobile Clinic" in ask(request).content.decode())
        """,
    )
    assert found.split() == ["False", "True"]
