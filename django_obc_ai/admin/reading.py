"""Pages that show what people said: who opens one is noted in the admin's own log."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from django.contrib import admin
from django.http import HttpRequest, HttpResponse

if TYPE_CHECKING:
    Base = admin.ModelAdmin[Any]  # generic in the stubs only
else:
    Base = admin.ModelAdmin


class NotesReaders(Base):
    """Mixed into an admin whose detail page shows texts to people with a permission.

    A page is shown only after its reading was noted: without a log there is no reading.
    """

    #: The permission without which the page shows no text, and nothing is noted.
    read_permission: ClassVar[str]

    def may_read(self, request: HttpRequest) -> bool:
        """Return whether this person is shown texts."""
        return request.user.has_perm(self.read_permission)

    def render_change_form(
        self,
        request: HttpRequest,
        context: dict[str, Any],
        add: bool = False,
        change: bool = False,
        form_url: str = "",
        obj: Any = None,
    ) -> HttpResponse:
        """Note who reads, then show the page."""
        if obj is not None and self.may_read(request):
            self.log_change(request, obj, "Read.")
        return super().render_change_form(request, context, add, change, form_url, obj)
