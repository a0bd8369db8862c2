"""The public services: text, search, costs, indexing and health."""

from __future__ import annotations
