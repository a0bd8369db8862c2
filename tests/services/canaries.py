"""Everything that a project holds, as bytes, to look for what must not be there."""

from __future__ import annotations

import base64
import pickletools
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.cache import caches
from django.db import connections


def in_tables(alias: str = "default") -> Iterator[tuple[str, bytes]]:
    """Every value of every row of every table, with the table's name."""
    connection = connections[alias]
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            for row in cursor.fetchall():
                yield table, b"\n".join(_as_bytes(value) for value in row)


def in_files(folder: Path) -> Iterator[tuple[str, bytes]]:
    """Every file below a folder, with its name."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(folder)), path.read_bytes()


def in_cache(alias: str) -> Iterator[tuple[str, bytes]]:
    """Every entry of a cache, as it is pickled, with its key or another name."""
    cache: Any = caches[alias]  # Any: what each backend keeps its entries in is its own
    kind = type(cache).__name__
    if kind == "LocMemCache":
        yield from cache._cache.items()
    elif kind == "FileBasedCache":
        for path in Path(cache._dir).glob("*.djcache"):
            with path.open("rb") as file:
                for _ in pickletools.genops(file):  # when it expires, which stands before it
                    pass
                yield path.name, zlib.decompress(file.read())
    elif kind == "DatabaseCache":
        with connections["default"].cursor() as cursor:
            cursor.execute(f"SELECT cache_key, value FROM {cache._table}")
            for key, value in cursor.fetchall():
                yield key, base64.b64decode(value)
    else:
        client = cache._cache.get_client()
        for key in client.keys("*"):
            yield key.decode(), client.get(key)


def holding(needle: str, found: Iterator[tuple[str, bytes]]) -> list[str]:
    """The names of what holds a text."""
    return [name for name, content in found if needle.encode() in content]


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return str(value).encode()
