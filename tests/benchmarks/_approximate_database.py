"""The database of approximate_search.py: a PostgreSQL whose data stay, and its tables' rows."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np

import django_obc_ai
from tests.benchmarks._approximate_data import Cache, Data, Part

INDEX = "places"
#: Of the alias in OBC_AI["VECTOR_STORES"].
FAISS, PGVECTOR, PLAIN = "faiss", "pgvector", "numpy"
_STORES = "django_obc_ai.backends.vector_stores"


def server_settings(rows: int) -> dict[str, str]:
    """Settings that hold the tables and their index in memory, for 384 components."""
    megabytes = max(256, rows * 5 // 1000)  # 5 KB a row: two tables and a graph
    return {
        "shared_buffers": f"{megabytes}MB",
        "maintenance_work_mem": f"{megabytes}MB",
        "max_parallel_maintenance_workers": "1",  # beside the one that leads: two cores
        "max_wal_size": "16GB",
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "autovacuum": "off",
        "jit": "off",
    }


@contextmanager
def database(part: Part, cache: Cache) -> Iterator[Any]:
    """Run the server of a part, with Django set up on it; yield its psycopg connection string."""
    import psycopg

    from tests.servers.postgres import run_postgres

    with ExitStack() as stack:
        data = cache.path(f"postgres-{schema()}")
        server = stack.enter_context(run_postgres(data=data, **server_settings(part.rows)))
        with psycopg.connect(server.dsn, autocommit=True) as admin:
            found = admin.execute("SELECT FROM pg_database WHERE datname = 'test'").fetchone()
            if found is None:
                admin.execute("CREATE DATABASE test")
        _set_up(server.host, part, cache)
        dsn = server.dsn.replace("dbname=postgres", "dbname=test")
        try:
            yield dsn
        finally:
            from django.db import connections

            connections.close_all()
            with psycopg.connect(server.dsn, autocommit=True) as admin:
                admin.execute("CHECKPOINT")  # or the end would be cut short


def schema() -> str:
    """Name the tables and what is in them: another schema is another folder."""
    package = Path(django_obc_ai.__file__).parent
    files = [*package.glob("migrations/*.py"), *package.glob("backends/vector_stores/*pgvector*")]
    texts = [each.read_bytes() for each in sorted(files) if each.is_file()]
    return hashlib.sha256(b"".join(texts)).hexdigest()[:8]


def _set_up(host: str, part: Part, cache: Cache) -> None:
    """Configure Django, once a process, and make the tables."""
    import django
    from django.conf import settings
    from django.core.management import call_command

    import tests.settings as project
    from tests.benchmarks import _approximate_stores as stores
    from tests.servers.databases import postgres_settings

    values = {name: getattr(project, name) for name in dir(project) if name.isupper()}
    values["DATABASES"] = {"default": postgres_settings(host)}
    values["OBC_AI"] = {
        "EMBEDDERS": {
            "default": {"BACKEND": "tests.benchmarks._approximate_embedder.GivenVectors"}
        },
        "VECTOR_STORES": stores.settings(part, cache),
    }
    settings.configure(**values)
    django.setup()
    call_command("migrate", run_syncdb=True, verbosity=0)


def fill(data: Data, cache: Cache) -> None:
    """Write a row and a chunk of each vector, as the serving generation; nothing if it is there."""
    from django.db import connection

    from django_obc_ai.backends.embedders import embedders
    from django_obc_ai.indexes import generations, get_index
    from django_obc_ai.models import Chunk
    from tests.testapp.models import Place

    index = get_index(INDEX)
    serving = generations.serving_of(index)
    if serving is not None and serving.chunks.count() == len(data.vectors):
        return
    print("  filling the tables", flush=True)
    began = time.perf_counter()
    Chunk.objects.all().delete()
    Place.objects.all()._raw_delete("default")
    identity = embedders["default"].identity
    fingerprint = generations.fingerprint_of(index, identity)
    generations.ensure_state(index)
    generation = generations.create_generation(
        index, fingerprint=fingerprint, dimension=data.vectors.shape[1], state=b"",
        count=len(data.vectors), identity=identity,
    )  # fmt: skip
    generations.write(index, lambda state: _copy(data.vectors, generation.pk, state.version))
    generations.switch_to(index, generation)
    with connection.cursor() as cursor:
        cursor.execute("VACUUM ANALYZE")
    cache.note("fill seconds", time.perf_counter() - began)


def _copy(vectors: np.ndarray, generation: Any, version: int) -> None:
    """Number rows and chunks from 1, as the vectors are."""
    from django.db import connection

    with connection.cursor() as cursor:
        with cursor.copy("COPY testapp_place (id, name, province, is_hidden) FROM STDIN") as copy:
            for number in range(1, len(vectors) + 1):
                copy.write_row((number, f"place {number}", f"province {number % 80}", False))
        with cursor.copy(
            'COPY django_obc_ai_chunk (id, generation_id, object_key, number, start, "end",'
            " text, content_hash, vector, version) FROM STDIN WITH (FORMAT BINARY)"
        ) as copy:
            copy.set_types(
                ["int8", "uuid", "text", "int4", "int4", "int4", "text", "text", "bytea", "int8"]
            )
            for number, vector in enumerate(vectors, start=1):
                text = f"place {number}"
                digest = hashlib.sha256(text.encode()).hexdigest()
                raw = np.asarray(vector, dtype="<f4").tobytes()
                copy.write_row(
                    (number, generation, str(number), 0, 0, len(text), text, digest, raw, version)
                )
        for table in ("testapp_place", "django_obc_ai_chunk"):
            cursor.execute(
                "SELECT setval(pg_get_serial_sequence(%s, 'id'), %s)", [table, len(vectors)]
            )
