"""Texts of providers that no database takes cost no row, and keep no other one waiting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from django_obc_ai.exceptions import InvalidRequestError
from django_obc_ai.gateway import ledger, spool
from django_obc_ai.models import AIOperation
from django_obc_ai.services.ledger import flush_rows
from django_obc_ai.services.text import TextService
from django_obc_ai.testing import Reply
from tests.gateway.conftest import Batched, SpoolOf, pks
from tests.gateway.test_spool import waiting

pytestmark = pytest.mark.django_db(transaction=True)
ODD = "bad \ud83d half\x00, Ñ 🙂"
CLEAN = "bad ? half, Ñ 🙂"


@pytest.mark.parametrize("rows", ["batched", "each"])
def test_a_providers_odd_text_is_cleaned(batched: Batched, rows: str) -> None:
    cut = Reply("A", model=ODD, finish_reason="stop")
    batched(InvalidRequestError(ODD), cut, LOG={"rows": rows})
    for _ in range(2):
        TextService().generate_text("Q", use_cache=False, prompt_version=ODD)
    flush_rows()
    failed, good = AIOperation.objects.order_by("created_at")
    assert CLEAN in failed.error_message
    assert good.model_used == CLEAN
    assert {failed.prompt_version, good.prompt_version} == {CLEAN}
    assert (spool.find(None), spool.count_set_aside()) == ([], 0)


def test_a_name_is_cut_after_it_was_cleaned(batched: Batched) -> None:
    length: Any = AIOperation._meta.get_field("model_used").max_length
    batched(Reply("A", model="\x00" * 9 + "m" * 500))
    TextService().generate_text("Q", use_cache=False)
    flush_rows()
    assert AIOperation.objects.get().model_used == "m" * length


def test_a_spooled_row_that_cannot_be_stored_is_set_aside_and_the_others_go_on(
    spooled: SpoolOf, folder: Path
) -> None:
    spooled()
    bad = waiting(error_message=ODD) + waiting(input_tokens=2**70)
    good = waiting(3)
    report = ledger.drain("default")
    assert (report.stored, report.refused, report.left) == (3, 2, 0)
    assert pks() == set(good)
    assert {each.stem[-36:] for each in folder.glob("*.refused")} == {str(each) for each in bad}
    assert spool.find(None) == []
