"""Rows of finished calls in a stream of Redis, until they are in the database."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django_obc_ai.backends.redis_link import ScriptedBackend, Step

_DROP = "return redis.call('XDEL', KEYS[1], unpack(ARGV))"
#: ARGV[1] the id to begin behind, or "-"; [2] how old in ms; [3] how many.
_READ = """
local t = redis.call('TIME')
local newest = t[1] * 1000 + math.floor(t[2] / 1000) - ARGV[2]
return redis.call('XRANGE', KEYS[1], ARGV[1], string.format('%.0f', newest), 'COUNT', ARGV[3])
"""
_PAGE = 100


class RedisRows(ScriptedBackend):
    """For backends in Redis: keeps what the ledger is about to store, in one stream.

    The entries of a living process are gone within about a second. Who finds older ones stores
    them, which is idempotent, since each row has its own id.
    """

    _prefix: str

    def keep_row_step(self, database: str, row: str) -> Step[str]:
        """Return the step that puts a row into the stream, and says under which id.

        Args:
            database: The mark of the database that is to take it.
            row: A text.
        """
        call = (b"XADD", self._stream, b"*", b"d", database.encode(), b"r", row.encode())
        return Step(call, lambda reply: str(reply.decode()))

    def keep_row(self, database: str, row: str) -> str:
        """See `keep_row_step`."""
        return self.run_step(self.keep_row_step(database, row))

    def drop_rows(self, ids: Sequence[str]) -> None:
        """Take rows out of the stream; those that are gone already do not matter."""
        pages = [ids[at : at + _PAGE] for at in range(0, len(ids), _PAGE)]
        if pages:
            self.run_all([(_DROP, b"1", self._stream, *page) for page in pages])

    def rows(self, *, older_than_seconds: float = 0.0) -> Iterator[tuple[str, str, str]]:
        """Yield id, mark of the database and text of rows that wait, oldest first."""
        after = "-"
        while True:
            age = b"%d" % (older_than_seconds * 1000)
            (page,) = self.run_all([(_READ, b"1", self._stream, after, age, _PAGE)])
            for entry, (_, database, _, row) in page:
                yield entry.decode(), database.decode(), row.decode()
            if len(page) < _PAGE:
                return
            after = f"({page[-1][0].decode()}"

    @property
    def _stream(self) -> bytes:
        return f"{{{self._prefix}}}:rows".encode()
