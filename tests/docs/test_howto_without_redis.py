"""The page without Redis and Celery is followed; its crontab runs; its figures are right."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

from django_obc_ai.services.task_table import SCHEDULE, TASKS
from tests.docs.execute import Page, run_script
from tests.docs.markdown import DOCS, blocks, section, table_rows
from tests.docs.test_guarantees import figures_of

PAGE = DOCS / "howto" / "run-without-redis-and-celery.md"
_LINE = re.compile(r"^(?:[\d*/]+ +){5}/srv/mysite/manage (?P<command>.*) >/dev/null$")
#: What the schedule's tasks are as commands, where the name is another one.
_COMMANDS = {
    "recover_jobs": "run_jobs",
    "index_objects": "ai_index --sweep",
    "verify_index": "ai_index --verify",
    "drain_spool": "ai_drain_spool",
    "roll_up": "ai_rollup",
}


def _commands() -> list[str]:
    (block,) = [each for each in blocks(PAGE) if "MAILTO" in each.text]
    first, *lines = [line for line in block.text.splitlines() if not line.startswith("#")]
    assert first == "MAILTO=it@example.org"
    found = [_LINE.match(line) for line in lines]
    assert all(found), lines
    return [match["command"] for match in found if match is not None]


def test_the_crontab_does_all_that_the_schedule_does() -> None:
    assert set(SCHEDULE) <= set(TASKS)
    for task in SCHEDULE:
        wanted = _COMMANDS.get(task, task)
        assert any(each.startswith(wanted) for each in _commands()), task
    assert {"purge_content", "purge_conversations"} <= set(_commands())


def test_the_page_does_what_it_says_and_every_line_of_the_crontab_runs(project: Path) -> None:
    assert Page(PAGE, project, settings="mysite.settings").follow() == 3
    lines = [shlex.split(each) for each in _commands()]
    # From Django 6.1 on a new project prints its mails; before, it asks a server.
    script = f"""
    from django.conf import settings
    from django.core.management import call_command
    from django.test import override_settings

    console = {{"EMAIL_BACKEND": "django.core.mail.backends.console.EmailBackend"}}
    with override_settings(**({{}} if getattr(settings, "MAILERS", None) else console)):
        for line in {lines!r}:
            call_command(*line, verbosity=0)
    print("all", len({lines!r}))
    """
    found = run_script(project, script).splitlines()
    assert found[-1] == f"all {len(lines)}" and "To: it@example.org" in found


def test_figures_are_those_that_were_measured() -> None:
    rows = [row for row in table_rows(section(PAGE, "What you give up")) if "acceptance" in row[-1]]
    assert len(rows) == 2
    for _, with_redis, without, last in rows:
        name = re.search(r"acceptance/(\w+)\.md", last)
        assert name is not None
        measured = figures_of((DOCS / "acceptance" / f"{name[1]}.md").read_text())
        assert figures_of(with_redis) | figures_of(without) <= measured
