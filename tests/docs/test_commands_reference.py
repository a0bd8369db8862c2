"""docs/reference/commands.md lists every command with its arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest
from django.core.management import find_commands, load_command_class
from django.core.management.base import BaseCommand

import django_obc_ai
from tests.docs.markdown import DOCS, headings, names, section, table_rows

PAGE = DOCS / "reference" / "commands.md"
COMMANDS = find_commands(str(Path(django_obc_ai.__file__).parent / "management"))


def _actions(command: BaseCommand) -> dict[str, argparse.Action]:
    parser = command.create_parser("manage.py", "any")
    return {max(each.option_strings, default=each.dest): each for each in parser._actions}


def _own(name: str) -> dict[str, argparse.Action]:
    everyones = _actions(BaseCommand())
    found = _actions(load_command_class("django_obc_ai", name))
    return {option: action for option, action in found.items() if option not in everyones}


def _rows(name: str) -> dict[str, list[str]]:
    rows = table_rows(section(PAGE, f"`{name}`"))
    return {names(row[0])[0]: row for row in rows if names(row[0])}


def test_every_command_has_a_section_and_no_other() -> None:
    assert sorted(names(heading)[0] for heading in headings(PAGE, 2)) == sorted(COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_argument_is_listed_and_no_other(name: str) -> None:
    assert set(_rows(name)) == set(_own(name))


@pytest.mark.parametrize("name", COMMANDS)
def test_defaults_and_choices_are_those_of_the_code(name: str) -> None:
    for option, action in _own(name).items():
        _, default, meaning = _rows(name)[option]
        if action.required and action.option_strings:
            assert default == "required"
        elif action.default is False:
            assert default == "off"
        elif action.default in (None, []):
            assert default.startswith(("all ", "no ", "the ", "today"))
        else:
            assert names(default) == [str(action.default)]
        for choice in action.choices or ():
            assert f"`{choice}`" in meaning
