"""A process that searches by words; see test_words_replica.py.

Its argument is that of `tests.in_process.begin`, with the "query". It tells what was found, how
many statements asked for texts of chunks for the store, how many of them began to read all, and
the folder of the snapshot that it has.
"""

from __future__ import annotations

import json

from tests.in_process import begin, wait_for_the_others

given = begin()

from django.db import connection  # noqa: E402
from django.test.utils import CaptureQueriesContext  # noqa: E402

from django_obc_ai.backends.lexical_stores import lexical_stores  # noqa: E402
from django_obc_ai.backends.lexical_stores.bm25 import BM25LexicalStore  # noqa: E402
from django_obc_ai.indexes import get_index  # noqa: E402
from django_obc_ai.indexes.replica import sync_words  # noqa: E402
from django_obc_ai.services.search import SimilaritySearchService  # noqa: E402

wait_for_the_others()
with CaptureQueriesContext(connection) as queries:
    sync_words(get_index("places"))
results = SimilaritySearchService().search(
    "places", given["query"], user=None, k=50, mode="lexical"
)
store = lexical_stores["default"]
assert isinstance(store, BM25LexicalStore)
base = store._contents["places"].base
reads = [each["sql"] for each in queries if '."text"' in each["sql"]]
answer = {
    "found": [each.object.pk for each in results],
    "reads": len(reads),
    "fills": sum('"id" > 0' in each for each in reads),
    "mapped": str(base.folder) if base else "",
}
print(json.dumps([answer]))
