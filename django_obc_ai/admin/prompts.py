"""The admin of prompts: an edit is another draft, and one version of each is active."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest

from django_obc_ai.admin.people import name_of, users_are_near
from django_obc_ai.chat.prompts import PROMPTS, find_fault, get_prompt
from django_obc_ai.models import PromptTemplate
from django_obc_ai.services.prompts import activate_prompt, draft_prompt, retire_prompt

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[PromptTemplate]  # generic in the stubs only
    ModelForm = forms.ModelForm[PromptTemplate]
else:
    ModelAdmin = admin.ModelAdmin
    ModelForm = forms.ModelForm


class PromptForm(ModelForm):
    """The text of a version, checked as far as that can be done without a call."""

    name = forms.ChoiceField(choices=[(name, name) for name in PROMPTS])

    class Meta:
        model = PromptTemplate
        fields = ("name", "text")

    def clean(self) -> dict[str, Any]:
        """Refuse a template that cannot be rendered or leaves out what it must use."""
        cleaned: dict[str, Any] = super().clean() or self.cleaned_data
        name = cleaned.get("name") or self.instance.name
        fault = find_fault(name, cleaned.get("text", "")) if name else ""
        if fault:
            self.add_error("text", fault)
        return cleaned


@admin.register(PromptTemplate)
class PromptTemplateAdmin(ModelAdmin):
    """Write versions, activate one, look at all that were."""

    form = PromptForm
    list_display = (
        "name", "version", "status", "created_at", "author", "activated_at", "activator",
    )  # fmt: skip
    list_filter = ("name", "status")
    actions = ("activate", "use_files")
    show_full_result_count = False

    @admin.display(description="Written by")
    def author(self, prompt: PromptTemplate) -> str:
        """Return who wrote it."""
        return name_of(prompt, "created_by")

    @admin.display(description="Activated by")
    def activator(self, prompt: PromptTemplate) -> str:
        """Return who made it active."""
        return name_of(prompt, "activated_by")

    def get_queryset(self, request: HttpRequest) -> QuerySet[PromptTemplate]:
        """Return versions from the database they live in."""
        rows = PromptTemplate.objects.order_by("name", "-version")
        return rows.select_related("created_by", "activated_by") if users_are_near() else rows

    def get_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return what is written, and of a version that is there, its story."""
        story = ["version", "status", "created_at", "author", "activated_at", "activator"]
        return ["name", "text", *(story if obj is not None else [])]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[Any]:
        """Return the story, and the name of a version that is there."""
        fields = self.get_fields(request, obj)
        return [] if obj is None else [each for each in fields if each != "text"]

    def get_changeform_initial_data(self, request: HttpRequest) -> dict[str, Any]:
        """Begin with the text that is in use."""
        name = request.GET.get("name", next(iter(PROMPTS)))
        return {"name": name, "text": get_prompt(name).text} if name in PROMPTS else {}

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Store the text as another version; the one that was opened stays as it is."""
        made = draft_prompt(obj.name, obj.text, user=request.user)
        obj.__dict__.update(made.__dict__)

    @admin.action(description="Activate the chosen version", permissions=["change"])
    def activate(self, request: HttpRequest, queryset: QuerySet[PromptTemplate]) -> None:
        """Use the chosen versions from now on, one of a name."""
        chosen = list(queryset)
        if len({each.name for each in chosen}) < len(chosen):
            self.message_user(request, "Choose one version of a prompt.", messages.ERROR)
            return
        for prompt in chosen:
            try:
                activate_prompt(prompt, user=request.user)
            except ValueError as error:
                self.message_user(request, f"{prompt}: {error}", messages.ERROR)
                continue
            self.log_change(request, prompt, "Activated.")
            self.message_user(request, f"Active: {prompt}.")

    @admin.action(description="Use the files of the chosen prompts", permissions=["change"])
    def use_files(self, request: HttpRequest, queryset: QuerySet[PromptTemplate]) -> None:
        """Go back to the files; whichever version is active is archived."""
        for prompt in queryset.filter(status=PromptTemplate.Status.ACTIVE):
            retire_prompt(prompt.name)
            self.log_change(request, prompt, "Archived: the file is used again.")
            self.message_user(request, f"The file of {prompt.name} is used again.")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse: what was in use stays on record."""
        return False
