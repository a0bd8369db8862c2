"""Cassettes: answers of real providers, recorded once and replayed without them.

A cassette is a JSON file to be committed with the tests. It holds what our own interface of
providers says (request, answer, pieces of a stream, counts, errors), so it serves every backend;
headers, addresses and the objects of an SDK never come near it. What is left of secrets in texts
and options is replaced before anything is written.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import secrets
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from django_obc_ai.testing._scrubbing import Scrubber

#: What is asked of a real provider: nothing where the file is there; nothing; what is not on the
#: cassette; everything.
CassetteMode: TypeAlias = Literal["once", "none", "new_episodes", "all"]
#: The environment's word on the mode where a test says none.
MODE_VARIABLE = "OBC_AI_CASSETTE_MODE"
_FORMAT = 1
_Recording: TypeAlias = dict[str, Any]  # Any: JSON


class CassetteError(AssertionError):
    """A cassette cannot serve: it is unreadable, or does not hold what was asked."""


class Cassette:
    """One file of recorded calls, for ``override_ai(cassette=…)``.

    Requests are matched by provider alias, kind of call and everything that is sent: model, prompt,
    system, history, sources, schema, options and bounds. Equal ones are answered in the order in
    which they were recorded.

    Args:
        path: The file. Its folder is made at the first recording.
        mode: "once" records if there is no file and replays if there is one; "none" never asks a
            provider; "new_episodes" asks for what the file does not hold; "all" asks for everything
            and replaces what the file holds of it. None takes the variable
            ``OBC_AI_CASSETTE_MODE``, else "once".
        scrub: Further regular expressions whose matches are replaced before anything is written.

    Raises:
        ValueError: There is no such mode.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        mode: CassetteMode | None = None,
        scrub: Iterable[str | re.Pattern[str]] = (),
    ) -> None:
        """Note what to do; nothing is read before the block is entered."""
        self.path = Path(path)
        self.mode = mode or os.environ.get(MODE_VARIABLE) or "once"
        if self.mode not in get_args(CassetteMode):
            known = ", ".join(repr(each) for each in get_args(CassetteMode))
            raise ValueError(f"There is no cassette mode {self.mode!r}. There are {known}.")
        self._patterns = [re.compile(each) for each in scrub]
        self._lock = threading.Lock()
        self._held: dict[str, list[_Recording]] = {}
        self._played: dict[str, int] = {}
        self._fresh: dict[str, list[_Recording]] = {}
        self._is_new = False

    @property
    def is_recording(self) -> bool:
        """Return whether a provider is asked for all there is."""
        return self.mode == "all" or (self.mode == "once" and self._is_new)

    def start(self) -> None:
        """Read the file and begin at its beginning.

        Raises:
            CassetteError: The file is no cassette.
        """
        found = _read(self.path)
        self._is_new = found is None
        self._held, self._played, self._fresh = {}, {}, {}
        for each in found or ():
            self._held.setdefault(_key_of(each), []).append(each)

    def find(self, alias: str, call: str, request: _Recording) -> _Recording | None:
        """Return the next recording of a request, None if a provider is to be asked.

        Raises:
            CassetteError: There is none, and the mode lets nobody be asked.
        """
        if self.is_recording:
            return None
        asked = self._entry(alias, call, request)
        key = _key_of(asked)
        with self._lock:
            number = self._played.get(key, 0)
            held = self._held.get(key, [])
            if number < len(held):
                self._played[key] = number + 1
                return held[number]
        if self.mode == "new_episodes":
            return None
        raise CassetteError(self._told_missing(asked, len(held)))

    def keep(self, alias: str, call: str, request: _Recording, outcome: _Recording) -> None:
        """Add what a provider said to the file at once, so that no paid answer is lost."""
        entry = self._entry(alias, call, request) | self._scrubbed(outcome)
        key = _key_of(entry)
        with self._lock:
            if key not in self._fresh:
                is_added = self.mode == "new_episodes"
                self._fresh[key] = list(self._held.get(key, ())) if is_added else []
            self._fresh[key].append(entry)
            self._save()

    def _entry(self, alias: str, call: str, request: _Recording) -> _Recording:
        asked = Scrubber(self._patterns).value(request)  # by the settings as they are now
        # Through JSON, so that it compares with what was read.
        entry = {"provider": alias, "call": call, "request": asked}
        return dict(json.loads(json.dumps(entry, default=str)))

    def _scrubbed(self, outcome: _Recording) -> _Recording:
        clean = {name: each for name, each in outcome.items() if name not in ("pieces", "response")}
        scrubber = Scrubber(self._patterns)
        clean = scrubber.value(clean)
        if "response" in outcome:
            vectors = {n: each for n, each in outcome["response"].items() if n == "vectors"}
            others = {n: each for n, each in outcome["response"].items() if n != "vectors"}
            clean = {"response": vectors | scrubber.value(others)} | clean
        if "pieces" in outcome:
            clean = {"pieces": _scrubbed_pieces(outcome["pieces"], scrubber)} | clean
        return dict(clean)

    def _save(self) -> None:
        """Put what was recorded in place of what the file holds of the same requests.

        Several processes may record into one file: each reads what the others have written.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with _locked(self.path.parent):
            left, kept = dict(self._fresh), []
            for each in _read(self.path) or ():
                key = _key_of(each)
                if key in self._fresh:
                    kept += left.pop(key, [])
                else:
                    kept.append(each)
            kept += [each for recorded in left.values() for each in recorded]
            _write(self.path, {"format": _FORMAT, "calls": kept})

    def _told_missing(self, asked: _Recording, held: int) -> str:
        model = asked["request"].get("model") or "its only one"
        if self._is_new:
            why = "there is no such file"
        elif held:
            why = f"it holds {held} of this request, and all were played"
        else:
            why = self._nearest(asked)
        return (
            f"The cassette {self.path} has no answer for a call {asked['call']!r} of the provider"
            f" {asked['provider']!r} (model {model!r}): {why}. To record it, give the project its"
            f" key and run this test once with {MODE_VARIABLE}=new_episodes, or with all to record"
            " everything anew. Then look at the file and commit it."
        )

    def _nearest(self, asked: _Recording) -> str:
        """Name the fields in which the most similar recording differs, without what they hold."""
        best: list[str] | None = None
        for each, *_ in self._held.values():
            if (each["provider"], each["call"]) == (asked["provider"], asked["call"]):
                names = sorted({*each["request"], *asked["request"]})
                other = [n for n in names if each["request"].get(n) != asked["request"].get(n)]
                best = other if best is None or len(other) < len(best) else best
        if best is None:
            return "it holds no such call of this provider"
        return f"the most similar recording differs in {', '.join(best)}"


def _key_of(entry: _Recording) -> str:
    return json.dumps([entry["provider"], entry["call"], entry["request"]], sort_keys=True)


def _read(path: Path) -> list[_Recording] | None:
    try:
        found = json.loads(path.read_bytes())
        calls = {_FORMAT: found["calls"]}[found["format"]]
        for each in calls:
            _key_of(each)
        return list(calls)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise CassetteError(
            f"{path} is no cassette of this version ({type(error).__name__}). Delete it and record"
            " it anew."
        ) from None  # the error would quote the file


def _write(path: Path, content: _Recording) -> None:
    """Write beside the file and replace it, so that nobody reads half of one."""
    text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
    try:
        data = text.encode()
    except UnicodeEncodeError:  # half a character; JSON can write it, UTF-8 cannot
        data = (json.dumps(content, indent=2) + "\n").encode()
    fresh = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with fresh.open("xb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        fresh.replace(path)
    finally:
        fresh.unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Hold a folder, so that no lock file is left beside the cassettes."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _scrubbed_pieces(pieces: list[_Recording], scrubber: Scrubber) -> list[_Recording]:
    texts = [each.get("text", "") for each in pieces]
    clean = scrubber.pieces(texts)
    others = [scrubber.value({**each, "text": ""}) for each in pieces]
    if len(clean) == len(pieces):
        told = [each | {"text": text} for each, text in zip(others, clean, strict=True)]
        return [{n: found for n, found in each.items() if n != "text" or found} for each in told]
    # Pieces that share a secret became one: texts first, then what else the pieces said.
    rest = {name: found for each in others for name, found in each.items() if name != "text"}
    return [*({"text": text} for text in clean), rest]
