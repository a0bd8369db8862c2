"""Versions of prompts: writing, activating, going back to the file."""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from django_obc_ai.chat.prompts import find_fault
from django_obc_ai.conf import get_settings
from django_obc_ai.models import PromptTemplate

_Status = PromptTemplate.Status


def draft_prompt(name: str, text: str, *, user: Any) -> PromptTemplate:
    """Store another version of a prompt, which nothing uses yet.

    Args:
        name: ``chat_plan`` or ``chat_answer``.
        text: Template code.
        user: Who wrote it.

    Raises:
        ValueError: There is no such prompt, the template has a fault, or it does not use a
            value that the prompt needs.
    """
    text = text.replace("\r\n", "\n")  # what browsers send
    fault = find_fault(name, text)
    if fault:
        raise ValueError(fault)
    versions = PromptTemplate.objects.filter(name=name)
    with transaction.atomic(using=get_settings().database):
        latest = versions.aggregate(latest=Max("version"))["latest"] or 0
        return PromptTemplate.objects.create(
            name=name, version=latest + 1, text=text, created_by_id=getattr(user, "pk", None)
        )


def activate_prompt(prompt: PromptTemplate, *, user: Any) -> None:
    """Use a version from now on; the one that was used is archived.

    Raises:
        ValueError: The text has a fault by now.
    """
    fault = find_fault(prompt.name, prompt.text)
    if fault:
        raise ValueError(fault)
    with transaction.atomic(using=get_settings().database):
        _archive(prompt.name)
        prompt.status = _Status.ACTIVE
        prompt.activated_at = timezone.now()
        prompt.activated_by_id = getattr(user, "pk", None)
        prompt.save(update_fields=["status", "activated_at", "activated_by"])


def retire_prompt(name: str) -> bool:
    """Use the file of a prompt again; return whether a version was in use."""
    with transaction.atomic(using=get_settings().database):
        return _archive(name) > 0


def _archive(name: str) -> int:
    active = PromptTemplate.objects.filter(name=name, status=_Status.ACTIVE)
    return active.update(status=_Status.ARCHIVED)
