"""The admin of providers: which are asked, which rest; pausing one, and resuming it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import DELETION
from django.contrib.admin.utils import unquote
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils import timezone

from django_obc_ai.admin import audit
from django_obc_ai.exceptions import ConfigurationError, CoordinatorError
from django_obc_ai.models import ProviderPause

if TYPE_CHECKING:
    ModelAdmin = admin.ModelAdmin[ProviderPause]  # generic in the stubs only
    ModelForm = forms.ModelForm[ProviderPause]
else:
    ModelAdmin, ModelForm = admin.ModelAdmin, forms.ModelForm

_LIST = "django_obc_ai_providerpause_changelist"


class PauseForm(ModelForm):
    """Which provider, why, and until when."""

    class Meta:
        model = ProviderPause
        fields = ("alias", "reason", "until")
        widgets = {"reason": forms.Textarea(attrs={"rows": 3, "maxlength": 300})}

    def clean(self) -> Any:
        """Refuse a provider that the settings no longer have."""
        from django_obc_ai.backends.providers import providers

        alias = self.instance.pk
        if alias and alias not in providers:
            raise forms.ValidationError(
                f"OBC_AI['PROVIDERS'] has no {alias!r} any more. Resume it, which deletes this."
            )
        return super().clean()

    def clean_until(self) -> Any:
        """Refuse an end in the past."""
        until = self.cleaned_data["until"]
        if until is not None and until <= timezone.now():
            raise forms.ValidationError("That is over already; choose a time to come, or none.")
        return until


class PauseAddForm(PauseForm):
    """The same for a provider that is not paused yet."""

    alias = forms.ChoiceField(label="Provider")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer what is configured and not paused."""
        from django_obc_ai.backends.providers import providers

        super().__init__(*args, **kwargs)
        taken = set(ProviderPause.objects.values_list("pk", flat=True))
        free = [alias for alias in providers if alias not in taken]
        field: Any = self.fields["alias"]
        field.choices = [(alias, alias) for alias in free]


@admin.register(ProviderPause)
class ProviderPauseAdmin(ModelAdmin):
    """Look at the configured providers; a stored pause is added, changed or deleted."""

    delete_confirmation_template = "admin/django_obc_ai/resume.html"

    def get_model_perms(self, request: HttpRequest) -> dict[str, bool]:
        """Leave "Add" out of the menus: nobody adds a provider here."""
        return {**super().get_model_perms(request), "add": False}

    def get_urls(self) -> list[Any]:
        """Add the page that reopens a provider."""
        view = self.admin_site.admin_view(self.reopen_view)
        name = "django_obc_ai_providerpause_reopen"
        return [path("<path:alias>/reopen/", view, name=name), *super().get_urls()]

    def get_form(
        self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any
    ) -> Any:
        """Return the form; which provider it is about does not change."""
        kwargs["form"] = PauseAddForm if obj is None else PauseForm
        return super().get_form(request, obj, change, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return who and since when, too, of a pause that is there."""
        return () if obj is None else ("alias", "paused_by", "since")

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """Return what can be written, and of a pause that is there, its story."""
        return ["alias", "reason", "until", *(() if obj is None else ("paused_by", "since"))]

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show each configured provider and its state."""
        from django_obc_ai.admin import _provider_states as states

        if not self.has_view_permission(request):
            raise PermissionDenied
        request.current_app = self.admin_site.name  # for links
        context = {
            **self.admin_site.each_context(request),
            "title": "AI providers",
            "opts": self.opts,
            "providers": states.rows(),
            "latest": states.LATEST,
            "may_pause": self.has_add_permission(request),
            "may_change": self.has_change_permission(request),
            "may_resume": self.has_delete_permission(request),
            "history": audit.latest(ProviderPause),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "admin/django_obc_ai/providers.html", context)

    def reopen_view(self, request: HttpRequest, alias: str) -> HttpResponse:
        """Ask whether that is meant; reopen the provider on POST."""
        from django_obc_ai.admin._provider_states import facts
        from django_obc_ai.backends.providers import providers

        if not (self.has_view_permission(request) and self.has_delete_permission(request)):
            raise PermissionDenied
        alias = unquote(alias)
        if alias not in providers:
            raise Http404(f"There is no provider {alias!r}.")
        if request.method == "POST":
            return self._reopen(request, alias)
        request.current_app = self.admin_site.name  # for links
        context = {
            **self.admin_site.each_context(request),
            "title": f"Reopen {alias}?",
            "opts": self.opts,
            "facts": facts(alias),
            "button": "Reopen",
            "back": reverse(f"{self.admin_site.name}:{_LIST}"),
        }
        return TemplateResponse(request, "admin/django_obc_ai/confirm.html", context)

    def _reopen(self, request: HttpRequest, alias: str) -> HttpResponse:
        from django_obc_ai.services.limits import reopen_provider

        try:
            reopen_provider(alias)
        except (CoordinatorError, ConfigurationError) as error:
            text = f"The provider {alias} could not be reopened: {error}"
            audit.note(request, ProviderPause, alias, "Tried to reopen; it failed.", key=alias)
            return self._done(request, text, messages.ERROR)
        audit.note(request, ProviderPause, alias, "Reopened.", key=alias)
        return self._done(request, f"The provider {alias} is asked again, by few calls at first.")

    def add_view(
        self, request: HttpRequest, form_url: str = "", extra_context: Any = None
    ) -> HttpResponse:
        """Call it what it does."""
        context = {"title": "Pause a provider", **(extra_context or {})}
        return super().add_view(request, form_url, context)

    def delete_view(
        self, request: HttpRequest, object_id: str, extra_context: Any = None
    ) -> HttpResponse:
        """See add_view()."""
        context = {"title": "Resume a provider", **(extra_context or {})}
        return super().delete_view(request, object_id, context)

    def render_change_form(
        self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Leave out the buttons that make no sense here."""
        context |= {"show_save_and_add_another": False, "show_save_and_continue": False}
        return super().render_change_form(request, context, *args, **kwargs)

    def save_model(self, request: HttpRequest, obj: Any, form: Any, change: bool) -> None:
        """Pause the provider, or go on with other words."""
        from django_obc_ai.services.pauses import pause_provider

        made = pause_provider(obj.alias, reason=obj.reason, user=request.user, until=obj.until)
        obj.paused_by, obj.since = made.paused_by, made.since
        obj._state.adding = False

    def delete_model(self, request: HttpRequest, obj: ProviderPause) -> None:
        """Resume the provider."""
        from django_obc_ai.services.pauses import resume_provider

        resume_provider(obj.alias)

    def log_addition(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """Write down why, and until when."""
        return super().log_addition(request, obj, f"Paused{_end(obj)}: {obj.reason}")

    def log_change(self, request: HttpRequest, obj: Any, message: Any) -> Any:
        """See log_addition()."""
        return super().log_change(request, obj, f"Paused anew{_end(obj)}: {obj.reason}")

    def log_deletions(self, request: HttpRequest, queryset: Iterable[Any]) -> Any:
        """Write down that it was resumed."""
        for each in queryset:
            audit.note(
                request, ProviderPause, each.alias, "Resumed.", key=each.alias, flag=DELETION
            )

    def response_add(self, request: HttpRequest, obj: Any, post_url_continue: Any = None) -> Any:
        """Say what happened, on the list."""
        return self._done(
            request, f"The provider {obj} is paused{_end(obj)}: new calls are refused."
        )

    def response_change(self, request: HttpRequest, obj: Any) -> Any:
        """See response_add()."""
        return self.response_add(request, obj)

    def response_delete(self, request: HttpRequest, obj_display: str, obj_id: Any) -> Any:
        """See response_add()."""
        return self._done(request, f"The provider {obj_display} is resumed: it is asked again.")

    def _done(
        self, request: HttpRequest, text: str, level: int = messages.SUCCESS
    ) -> HttpResponseRedirect:
        self.message_user(request, text, level)
        return HttpResponseRedirect(reverse(f"{self.admin_site.name}:{_LIST}"))


def _end(pause: ProviderPause) -> str:
    return "" if pause.until is None else f" until {_local(pause.until):%Y-%m-%d %H:%M %Z}".rstrip()


def _local(moment: Any) -> Any:
    return timezone.localtime(moment) if timezone.is_aware(moment) else moment
