"""Chat without a model: questions become plans, rows become sentences. One door to its parts."""

from __future__ import annotations

from django_obc_ai.chat.phrases import phrase, suggest
from django_obc_ai.chat.proposals import propose
from django_obc_ai.chat.words import language_of

__all__ = ["language_of", "phrase", "propose", "suggest"]
