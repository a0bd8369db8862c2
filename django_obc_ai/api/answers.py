"""How conversations and answers look in JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from django_obc_ai.conf import get_settings
from django_obc_ai.types.chat import ChatAnswer


class Question(serializers.Serializer[Any]):
    """A question, and the conversation that it goes on with."""

    message = serializers.CharField(help_text="A question, in any language.")
    conversation = serializers.UUIDField(
        required=False, allow_null=True, help_text="To go on with; without it one begins."
    )

    def validate_message(self, value: str) -> str:
        """Refuse what the chat would refuse, before anything is stored."""
        most = get_settings().chat.max_message_characters
        if len(value) > most:
            raise serializers.ValidationError(f"A question has {most} characters at most.")
        return value


class SourceField(serializers.Serializer[Any]):
    """A source that an answer names."""

    number = serializers.IntegerField()
    title = serializers.CharField()
    url = serializers.CharField(help_text='"" if it has no page.')
    text = serializers.CharField()


class Rows(serializers.Serializer[Any]):
    """What the database gave."""

    columns = serializers.ListField(child=serializers.CharField())
    labels = serializers.ListField(child=serializers.CharField())
    rows = serializers.ListField(child=serializers.ListField())
    total = serializers.IntegerField(allow_null=True)
    is_cut = serializers.BooleanField()


class Answer(serializers.Serializer[ChatAnswer]):
    """What came of one question."""

    conversation = serializers.UUIDField(source="conversation.pk")
    message_id = serializers.UUIDField(allow_null=True)
    text = serializers.CharField()
    citations = SourceField(many=True)
    rows = Rows(allow_null=True)
    found_by = serializers.CharField()
    suggestions = serializers.ListField(child=serializers.CharField())
    warnings = serializers.ListField(child=serializers.CharField())
    is_refused = serializers.BooleanField()
    is_offline = serializers.BooleanField()
    error = serializers.CharField(allow_null=True)
