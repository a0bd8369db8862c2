"""How questions, conversations, answers and what was found look in JSON."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from django_obc_ai.api.fields import Cell, Key, Moment, Number, Strict, Text, WholeNumber
from django_obc_ai.conf import get_settings
from django_obc_ai.models import ChatMessage
from django_obc_ai.services._fusion import MODES
from django_obc_ai.types.chat import ChatAnswer

_MOST_FOUND = 50
#: Whoever pages on looks for something else; each page is a search of all before it.
_MOST_PASSED = 1_000
_QUERY_LENGTH = 1_000


class Question(Strict):
    """A question, and the conversation that it goes on with."""

    message = Text(help_text="A question, in any language.")
    conversation = Key(
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
    text = serializers.CharField(help_text='The passage; "" where it was not kept.')

    def to_representation(self, instance: Any) -> dict[str, Any]:
        """Return a `Citation`, or what was stored of one."""
        if isinstance(instance, dict):
            instance = {"title": "", "url": "", "text": "", **instance}
        return super().to_representation(instance)


class Rows(serializers.Serializer[Any]):
    """What the database gave."""

    columns = serializers.ListField(child=serializers.CharField())
    labels = serializers.ListField(child=serializers.CharField())
    rows = serializers.ListField(child=serializers.ListField(child=Cell()))
    total = serializers.IntegerField(allow_null=True)
    is_cut = serializers.BooleanField()


class Answer(serializers.Serializer[ChatAnswer]):
    """What came of one question."""

    conversation = serializers.UUIDField(source="conversation.pk")
    message_id = serializers.UUIDField(allow_null=True)
    text = serializers.CharField()
    citations = SourceField(many=True)
    rows = Rows(allow_null=True)
    found_by = serializers.CharField(help_text='How the rows were found; "" without rows.')
    suggestions = serializers.ListField(child=serializers.CharField())
    warnings = serializers.ListField(child=serializers.CharField())
    is_refused = serializers.BooleanField()
    is_offline = serializers.BooleanField(help_text="No language model had a part in it.")
    error = serializers.CharField(allow_null=True, help_text="Category of a failure.")


class ConversationItem(serializers.Serializer[Any]):
    """A conversation."""

    id = serializers.UUIDField()
    title = serializers.CharField()
    created_at = Moment()
    updated_at = Moment()


class SaidMessage(serializers.Serializer[Any]):
    """One question or one answer."""

    id = serializers.UUIDField(source="key")
    role = serializers.ChoiceField(choices=ChatMessage.Role.values)
    text = serializers.CharField()
    citations = SourceField(many=True)
    is_refused = serializers.BooleanField()
    is_offline = serializers.BooleanField()
    error = serializers.CharField(help_text='Category of a failure, or "".')
    created_at = Moment()


class ConversationDetail(ConversationItem):
    """A conversation, and what was said in it."""

    messages = SaidMessage(many=True, help_text="In order; the newest ones where it is cut.")
    is_cut = serializers.BooleanField(help_text="Whether earlier messages were left out.")


class Before(Strict):
    """Which part of a conversation."""

    before = Key(required=False, help_text="Key of a message: only what was said before it.")


class SearchQuery(Strict):
    """What to search for."""

    query = Text(max_length=_QUERY_LENGTH)
    index = Text(required=False, max_length=100, help_text="Without it all are searched.")
    k = WholeNumber(
        required=False, default=10, min_value=1, max_value=_MOST_FOUND, help_text="Results wanted."
    )
    threshold = Number(
        required=False, allow_null=True, min_value=-1, max_value=1, help_text="Least similarity."
    )
    filters = serializers.DictField(
        required=False, help_text="Django lookups on fields that the index offers; needs index."
    )
    mode = serializers.ChoiceField(
        MODES,
        required=False,
        help_text="By vectors, by words or both; without it the index's own. Needs index.",
    )
    offset = WholeNumber(
        required=False,
        default=0,
        min_value=0,
        max_value=_MOST_PASSED,
        help_text="So many of the best are passed over. Needs index.",
    )

    def validate_filters(self, value: dict[str, Any]) -> dict[str, Any]:
        """Refuse what no database takes."""
        if _has_nul(value):
            raise serializers.ValidationError("A value holds a NUL character.")
        return value

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Let what belongs to one index go with it."""
        for name in ("filters", "mode", "offset"):
            if attrs.get(name) and "index" not in attrs:
                raise serializers.ValidationError({name: ["Give the index, too."]})
        return attrs


class Found(serializers.Serializer[Any]):
    """An object that was found."""

    index = serializers.CharField()
    key = serializers.CharField(help_text="Primary key.")
    title = serializers.CharField()
    url = serializers.CharField(help_text='"" if it has no page.')
    text = serializers.CharField(help_text="The passage that matched.")
    score = serializers.FloatField(
        help_text="Cosine similarity, higher is closer; by words, the share of them that it holds."
    )
    highlights = serializers.ListField(
        child=serializers.ListField(
            child=serializers.IntegerField(min_value=0), min_length=2, max_length=2
        ),
        help_text="Where words of the query begin and end in the text, in characters.",
    )


class SearchAnswer(serializers.Serializer[Any]):
    """What was found, best first."""

    results = Found(many=True)


def _has_nul(value: Any) -> bool:
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            left += (*each, *each.values())
        elif isinstance(each, list):
            left += each
        elif isinstance(each, str) and "\x00" in each:
            return True
    return False
