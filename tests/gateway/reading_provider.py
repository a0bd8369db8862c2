"""A provider whose answer is what a row says, as if a model had looked it up itself.

Its prompt names the row and not what is in it: only tags can tell that an answer is old.
"""

from __future__ import annotations

import os
from typing import Any

from django_obc_ai.testing import ScriptedProvider
from django_obc_ai.types import GenerationRequest
from tests.testapp.models import Place


def read_place(request: GenerationRequest) -> str:
    alias = os.environ.get("OBC_AI_TEST_READ_FROM", "default")
    place = Place.objects.using(alias).filter(pk=int(request.prompt)).first()
    if place is None:
        return "gone"
    return " ".join([place.name, *sorted(place.tags.values_list("name", flat=True))])


class ReadingProvider(ScriptedProvider):
    """Answers a primary key with what is in the row."""

    is_free = True

    def __init__(self, **options: Any) -> None:
        super().__init__(script=[read_place], repeat_last=True, is_free=True, **options)


READING = {"default": {"BACKEND": "tests.gateway.reading_provider.ReadingProvider"}}
