"""Any sequence of edits: no answer from the cache is older than what is committed."""

from __future__ import annotations

import contextlib
import json
import random
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
import valkey
from django.db import connection, connections, transaction
from django.test import override_settings
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from django_obc_ai.services.cache import read_tags
from django_obc_ai.services.changes import IndexedQuerySet
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import override_ai
from django_obc_ai.types import GenerationRequest
from tests.gateway.reading_provider import READING, read_place
from tests.servers.valkey import RedisServer
from tests.subprocesses import ROOT
from tests.testapp.models import Place, Tag

pytestmark = pytest.mark.django_db(transaction=True)
PKS = (1, 2, 3)
PK = st.sampled_from(PKS)
NAME = st.sampled_from("abc")


class _UndoneError(Exception):
    pass


def ask(pk: int) -> str:
    return str(TextService().generate_text(str(pk), cache_tags=read_tags(Place(pk=pk))).text)


class Edits(RuleBasedStateMachine):
    """Answers are made in the midst of transactions, too; each must be what is there to see."""

    def __init__(self) -> None:
        super().__init__()
        Place.objects.all().delete()
        Tag.objects.all().delete()
        self.tag = Tag.objects.create(name="T")
        self.open: list[Any] = []

    @rule(pk=PK, name=NAME)
    def save(self, pk: int, name: str) -> None:
        Place(pk=pk, name=name).save()

    @rule(pk=PK)
    def delete(self, pk: int) -> None:
        Place.objects.filter(pk=pk).delete()

    @rule(pk=PK, name=NAME)
    def update(self, pk: int, name: str) -> None:
        IndexedQuerySet(Place).filter(pk=pk).update(name=name)

    @rule(pk=PK, action=st.sampled_from(["add", "remove", "clear"]), is_reverse=st.booleans())
    def relate(self, pk: int, action: str, is_reverse: bool) -> None:
        place = Place.objects.filter(pk=pk).first()
        if place is not None:
            side, other = (self.tag.places, place) if is_reverse else (place.tags, self.tag)
            getattr(side, action)(*([] if action == "clear" else [other]))

    @rule()
    def begin(self) -> None:
        if len(self.open) < 3:
            block = transaction.atomic()
            block.__enter__()
            self.open.append(block)

    @rule(is_undone=st.booleans())
    def end(self, is_undone: bool) -> None:
        if self.open:
            block = self.open.pop()
            error = _UndoneError() if is_undone else None
            block.__exit__(None if error is None else _UndoneError, error, None)

    @rule(pk=PK, name=NAME, is_undone=st.booleans())
    def ask_in_between(self, pk: int, name: str, is_undone: bool) -> None:
        self.ask(pk)
        with contextlib.suppress(_UndoneError), transaction.atomic():
            self.save(pk, name)
            self.ask(pk)
            if is_undone:
                raise _UndoneError
        self.ask(pk)

    @rule(pk=PK)
    def ask(self, pk: int) -> None:
        assert ask(pk) == read_place(GenerationRequest(prompt=str(pk)))

    @invariant()
    def nothing_committed_is_unknown_to_the_cache(self) -> None:
        if not self.open:
            for pk in PKS:
                assert ask(pk) == read_place(GenerationRequest(prompt=str(pk)))

    def teardown(self) -> None:
        while self.open:
            self.open.pop().__exit__(_UndoneError, _UndoneError(), None)


def test_no_sequence_of_edits_leaves_a_stale_answer() -> None:
    with override_ai(PROVIDERS=READING):
        run_state_machine_as_test(
            Edits,
            settings=settings(
                max_examples=25,
                stateful_step_count=20,
                deadline=None,
                suppress_health_check=list(HealthCheck),
            ),
        )


class Writer:
    """Edits rows at random; each committed version of a row has a higher number.

    What is rolled back has a number, too, and a lower one: it is below all that is committed.
    """

    def __init__(self) -> None:
        self.committed = dict.fromkeys(PKS, 1)
        self._chance = random.Random(8)
        for pk in PKS:
            Place(pk=pk, name="1").save()

    def edit(self) -> int:
        pk = self._chance.choice(PKS)
        after = self.committed[pk] + 1
        rows = IndexedQuerySet(Place).filter(pk=pk)
        kind = self._chance.choice(["save", "update", "undone", "anew", "nested"])
        with contextlib.suppress(_UndoneError), transaction.atomic():
            if kind == "undone":
                Place(pk=pk, name="0").save()
                ask(pk)
                raise _UndoneError
            if kind == "nested":
                with contextlib.suppress(_UndoneError), transaction.atomic():
                    Place(pk=pk, name="0").save()
                    ask(pk)
                    raise _UndoneError
            if kind == "anew":
                rows.delete()
            if kind == "update":
                rows.update(name=str(after))
            else:
                Place(pk=pk, name=str(after)).save()
        if kind != "undone":
            self.committed[pk] = after
        return pk


@pytest.fixture
def shared_cache(redis_server: RedisServer) -> Iterator[dict[str, Any]]:
    backend = "django.core.cache.backends.redis.RedisCache"
    caches = {"default": {"BACKEND": backend, "LOCATION": redis_server.url}}
    with override_settings(CACHES=caches, OBC_AI={"PROVIDERS": READING}):
        yield caches


def test_readers_in_threads_get_nothing_older_than_what_was_committed() -> None:
    faults: list[str] = []
    cached = [0]
    over = threading.Event()
    with override_ai(PROVIDERS=READING):
        writer = Writer()

        def read() -> None:
            try:
                while not over.is_set():
                    for pk in PKS:
                        committed = writer.committed[pk]
                        seen = read_tags(Place(pk=pk))
                        result = TextService().generate_text(str(pk), cache_tags=seen)
                        result.raise_for_error()
                        cached[0] += result.cached
                        if int(result.text.split()[0]) < committed:
                            faults.append(f"{result.text} after {committed}")
            except Exception as error:
                faults.append(repr(error))
            finally:
                connections.close_all()

        readers = [threading.Thread(target=read) for _ in range(3)]
        for reader in readers:
            reader.start()
        for _ in range(60):
            writer.edit()
            time.sleep(0.005)
        over.set()
        for reader in readers:
            reader.join(60)
    assert faults == []
    assert cached[0] > 0


def test_readers_in_processes_get_nothing_older_than_what_was_committed(
    redis_server: RedisServer, shared_cache: dict[str, Any]
) -> None:
    writer = Writer()
    place = {**connection.settings_dict, "TEST": {}}
    given = {
        "DATABASES": {"default": json.loads(json.dumps(place, default=str))},
        "CACHES": shared_cache,
        "OBC_AI": {"PROVIDERS": READING},
        "url": redis_server.url,
        "pks": PKS,
    }
    command = [sys.executable, "-m", "tests.gateway.ask_in_process", json.dumps(given)]
    readers = [
        subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]
    try:
        with valkey.Valkey.from_url(redis_server.url) as client:
            for reader in readers:
                assert reader.stdout is not None
                assert reader.stdout.readline() == "ready\n"
            for _ in range(80):
                pk = writer.edit()
                client.set(f"committed:{pk}", writer.committed[pk])
                time.sleep(0.01)
            client.set("over", 1)
        for reader in readers:
            asked, cached, stale = json.loads(reader.communicate(timeout=60)[0])
            assert stale == []
            assert asked > cached > 0
    finally:
        for reader in readers:
            reader.kill()
            reader.communicate()
