"""Lexical stores, which find texts by their words.

`lexical_stores["default"]` is the configured backend; see `BackendHandler`.
"""

from __future__ import annotations

from django_obc_ai.backends.handler import BackendHandler
from django_obc_ai.backends.lexical_stores.base import BaseLexicalStore

lexical_stores: BackendHandler[BaseLexicalStore] = BackendHandler(
    "LEXICAL_STORES", "django_obc_ai.backends.lexical_stores.base.BaseLexicalStore"
)

__all__ = ["BaseLexicalStore", "lexical_stores"]
