"""The one way to a paid model: cache, budget, retry, price and ledger around a call."""

from __future__ import annotations
