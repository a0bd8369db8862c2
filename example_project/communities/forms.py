"""The forms of the search page."""

from __future__ import annotations

from typing import Any

from django import forms

from communities.models import Province


class SearchForm(forms.Form):
    """What to look for, and where."""

    q = forms.CharField(
        label="Look for",
        max_length=200,
        widget=forms.TextInput(attrs={"type": "search", "autocomplete": "off"}),
    )
    province = forms.ModelChoiceField(
        label="Province",
        queryset=Province.objects.none(),
        required=False,
        empty_label="All provinces",
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Offer the provinces that are loaded."""
        super().__init__(*args, **kwargs)
        self.fields["province"].queryset = Province.objects.all()


class AskForm(SearchForm):
    """A question about the results of a search, which it repeats in hidden fields."""

    q = forms.CharField(max_length=200, widget=forms.HiddenInput)
    question = forms.CharField(
        label="Ask about these communities",
        max_length=500,
        widget=forms.TextInput(attrs={"autocomplete": "off"}),
    )

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Hide the province, which was chosen in the search."""
        super().__init__(*args, auto_id="ask_%s", **kwargs)
        self.fields["province"].widget = forms.HiddenInput()
