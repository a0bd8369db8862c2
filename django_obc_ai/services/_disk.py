"""The part of the health check that looks for room: spool, stores of indexes and log files."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.lexical_stores import lexical_stores
from django_obc_ai.backends.vector_stores import vector_stores
from django_obc_ai.exceptions import ConfigurationError
from django_obc_ai.gateway import spool
from django_obc_ai.logs.event import ROOT
from django_obc_ai.services._provider_health import HealthItem

_MEBIBYTE = 1024 * 1024
#: Less than this is little on any disk.
LEAST_BYTES = 500 * _MEBIBYTE
#: So is less than this share, of a disk on which it comes to less than `ENOUGH_BYTES`.
LEAST_SHARE = 0.05
ENOUGH_BYTES = 10_240 * _MEBIBYTE
_usage = shutil.disk_usage


def check_disk() -> HealthItem:
    """Say whether the disks that this package writes to have room."""
    short, most, folders = [], "", list(_folders())
    least = None
    for what, folder in folders:
        total, _, free = _usage(_existing(folder))
        if free < LEAST_BYTES or free < min(total * LEAST_SHARE, ENOUGH_BYTES):
            short.append(f"the {what} has {free // _MEBIBYTE:,} MB left")
            most = most or str(folder)
        least = free if least is None else min(least, free)
    if short:
        message = f"Disks are nearly full: {'; '.join(short)}."
        hint = f"Make room on the disk of {most}."
        return HealthItem(name="disk", status="warning", message=message, hint=hint)
    if least is None:
        return HealthItem(name="disk", status="ok", message="Nothing is written to disk.")
    detail = f"{least // _MEBIBYTE:,} MB or more left"
    message = f"There is room for what is written in {len(folders)} folders."
    return HealthItem(name="disk", status="ok", message=message, detail=detail)


def _folders() -> Iterator[tuple[str, Path]]:
    """Yield what is written, and where."""
    if (folder := spool.get_folder()) is not None:
        yield "spool", folder
    families: dict[str, BackendHandler[Any]] = {  # Any: of two families
        "vector store": vector_stores,
        "lexical store": lexical_stores,
    }
    for what, stores in families.items():
        for alias in stores:
            try:
                path = getattr(stores[alias], "path", None)
            except ConfigurationError:  # the item of the store itself says so
                continue
            if path:
                yield f"{what} {alias}", Path(path)
    seen = set()
    for name in (ROOT, "django"):
        for handler in logging.getLogger(name).handlers:
            file = getattr(handler, "path", None) or getattr(handler, "baseFilename", None)
            if file and Path(file).parent not in seen:
                seen.add(Path(file).parent)
                yield "log", Path(file).parent


def _existing(folder: Path) -> Path:
    """Return the folder, or the one that it would be made in."""
    folder = folder.absolute()
    return next((each for each in (folder, *folder.parents) if each.exists()), Path("/"))
