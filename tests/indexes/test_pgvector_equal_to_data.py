"""What an index holds equals the data, in a store that changes in the same transactions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.indexes.in_postgres import DATABASES, in_postgres
from tests.indexes.test_equal_to_data import (  # noqa: F401 - the same tests, on another store
    test_a_deploy_that_changes_the_text_loses_no_save_of_either_side,
    test_a_grown_corpus_is_fitted_anew,
    test_a_rolled_back_save_changes_nothing,
    test_a_row_that_changes_while_it_is_embedded_is_embedded_again,
    test_a_row_that_leaves_the_queryset_leaves_the_index,
    test_an_unreadable_row_stays_and_stops_nobody_else,
    test_any_primary_key_type,
    test_bulk_changes_need_the_documented_call,
    test_children_and_proxies_of_an_indexed_model_count,
    test_force_embeds_everything_again,
    test_limit_builds_but_does_not_serve,
    test_many_to_many_changes_from_both_sides,
    test_old_versions_and_tombstones_are_forgotten,
    test_replica_notices_a_restored_history,
    test_rows_deleted_without_a_signal_are_pruned,
    test_saves_and_deletes_reach_the_index_at_commit,
)

pytestmark = [
    pytest.mark.django_db(transaction=True, databases=DATABASES),
    pytest.mark.usefixtures("postgres_alias"),
]


@pytest.fixture(autouse=True)
def _there(postgres_alias: str) -> Iterator[None]:
    with in_postgres():
        yield
