"""Questions about a project's data: declarations, guard, query, prompts, citations.

The model fills a typed plan; nothing that it writes is evaluated.
"""

from __future__ import annotations

from django_obc_ai.chat.declaration import ChatModel
from django_obc_ai.chat.registry import get_chat_model, get_chat_models, register, unregister

__all__ = ["ChatModel", "get_chat_model", "get_chat_models", "register", "unregister"]
