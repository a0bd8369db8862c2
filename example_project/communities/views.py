"""The pages: a start page, search, an answer, one community."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, render
from django.urls import reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST, require_safe

from communities import atlas, finding
from communities.forms import AskForm, SearchForm
from communities.models import Community, Province
from communities.usage import is_asking_free, read_todays_usage
from django_obc_ai.exceptions import ObcAIError
from django_obc_ai.web.throttles import seconds_to_wait


@require_safe
def home(request: HttpRequest) -> HttpResponse:
    """Show what the site holds, where it lies, and what was spent today."""
    provinces = list(
        Province.objects.with_totals().filter(community_count__gt=0).select_related("region")
    )
    drawn = atlas.draw_all()
    tones = {layer.group: layer.tone for layer in drawn.layers} if drawn else {}
    context = {
        "form": SearchForm(),
        "rows": [(province, tones.get(province.code, 0)) for province in provinces],
        "regions": list({province.region for province in provinces}),
        "most_residents": max((province.resident_count for province in provinces), default=0),
        "totals": {
            "communities": sum(province.community_count for province in provinces),
            "municipalities": sum(province.municipality_count for province in provinces),
            "residents": sum(province.resident_count for province in provinces),
        },
        "usage": read_todays_usage(),
        "map": drawn,
    }
    return render(request, "communities/home.html", context)


@require_safe
def search(request: HttpRequest) -> HttpResponse:
    """Show the communities nearest to a query."""
    if "q" not in request.GET:
        return _search_page(request, form=SearchForm())
    form = SearchForm(request.GET)
    if not form.is_valid():
        return _search_page(request, form=form)
    return _search_page(request, form=form, **_find(request, form.cleaned_data))


@require_POST
def ask(request: HttpRequest) -> HttpResponse:
    """Answer a question about the results of a search, below the search form.

    It takes a POST although nothing of the site changes: an answer can cost money, and
    links that crawlers and prefetching browsers follow must not. For the same reason it counts
    by the throttles that the chat and the REST API count by.
    """
    form = AskForm(request.POST)
    search_form = SearchForm(request.POST)
    if not search_form.is_valid():
        return _search_page(request, form=search_form)
    if not (request.user.is_authenticated or is_asking_free()):
        chosen = {name: request.POST.get(name, "") for name in ("q", "province")}
        return redirect_to_login(f"{reverse('search')}?{urlencode(chosen)}")
    if wait := seconds_to_wait(request):
        told = f"That was too often. Please try again in {wait} seconds."
        headers = {"Retry-After": str(wait)}
        return HttpResponse(told, status=429, headers=headers, content_type="text/plain")
    found = _find(request, search_form.cleaned_data)
    answer = None
    if form.is_valid() and found["results"]:
        answer = finding.ask(form.cleaned_data["question"], found["results"], user=request.user)
    return _search_page(request, form=search_form, ask_form=form, answer=answer, **found)


@require_safe
def community(request: HttpRequest, code: str) -> HttpResponse:
    """Show one community and where it lies."""
    shown = get_object_or_404(Community.objects.with_places(), pk=code)
    drawn = atlas.draw_provinces_of([shown])
    context = {
        "community": shown,
        "siblings": shown.municipality.communities.exclude(pk=shown.pk),
        "map": drawn,
        "highlighted": shown.municipality_id,
        "marks": atlas.mark(drawn, [shown]),
    }
    return render(request, "communities/community.html", context)


def _find(request: HttpRequest, wanted: dict[str, Any]) -> dict[str, Any]:
    """Return the results, or the error that stood in their way, for the template."""
    try:
        results = finding.find(wanted["q"], user=request.user, province=wanted["province"])
    except ObcAIError as error:
        return {"results": [], "error": error}
    return {"results": results, "error": None}


def _search_page(
    request: HttpRequest,
    *,
    form: SearchForm,
    ask_form: AskForm | None = None,
    **context: Any,  # Any: template context
) -> HttpResponse:
    results = context.setdefault("results", [])
    if results and ask_form is None:
        ask_form = AskForm(
            initial={
                "q": form.cleaned_data["q"],
                "province": form.cleaned_data["province"],
                "question": "",
            }
        )
    found = [result.object for result in results]
    drawn = atlas.draw_provinces_of(found)
    context |= {
        "form": form,
        "ask_form": ask_form,
        "map": drawn,
        "marks": atlas.mark(drawn, found),
        "is_lexical": finding.is_lexical(),
    }
    status = 503 if context.get("error") else 200
    return render(request, "communities/search.html", context, status=status)
