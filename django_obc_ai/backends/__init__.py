"""Pluggable backends: one folder per family, one module per product."""

from __future__ import annotations
