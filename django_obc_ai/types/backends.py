"""How a backend is named in settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class BackendSpec:
    """One entry of a backend family in settings; its options stay out of the repr."""

    path: str
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
