"""Figures of an index in words, for the command and for the admin."""

from __future__ import annotations

import datetime

from django.template.defaultfilters import filesizeformat
from django.utils import timezone

from django_obc_ai.services.index_stats import BuildStats, GenerationStats, IndexStats


def facts_of(stats: IndexStats) -> list[tuple[str, str]]:
    """Return (what, how much) of an index, in the order in which one asks."""
    serving, store = stats.serving, stats.store
    state = "not built"
    if stats.fault:
        state = f"broken: {stats.fault}"
    elif serving is not None:
        state = "current" if stats.is_current else "built with other settings"
    facts = [("State", state), ("Rows", f"{stats.rows:,}")]
    if serving is not None:
        facts += _held(serving)
    waiting = f"{stats.waiting:,}"
    if stats.waiting:
        waiting += f", the oldest for {in_words(stats.lag_seconds)}"
    facts += [("Changes that wait", waiting), ("Failures", f"{stats.failures:,}")]
    if serving is not None:
        facts += [
            ("Generation", str(serving.id)),
            ("Last rebuild", f"{_at(serving.created_at)} to {_at(serving.updated_at)}"),
            ("Embedder", f"{stats.embedder}: {serving.embedder}"),
            ("Dimension", f"{serving.dimension:,}"),
        ]
        if serving.fitted_count:
            facts.append(("Learned from", f"{serving.fitted_count:,} objects"))
    facts.append(("Vector store", f"{store.alias}: {store.backend or 'not usable'}"))
    if store.disk_bytes is not None:
        facts.append(("On disk", _size(store.disk_bytes)))
    if stats.words_bytes is not None:
        facts.append(("Words on disk", _size(stats.words_bytes)))
    held = "nothing yet" if store.held_version is None else f"version {store.held_version:,}"
    facts.append(("Held here", f"{held}; the index is at {stats.version:,}"))
    facts.append(("Approximate index", store.approximate or "none"))
    recall = "exact search" if stats.recall is None else f"recall@10 {stats.recall:.3f}"
    facts.append(("Searched", recall))
    facts += [("Build under way", build_in_words(each)) for each in stats.builds]
    return facts


def _held(serving: GenerationStats) -> list[tuple[str, str]]:
    def told(name: str, text: str) -> str:
        return f"about {text}" if name in serving.estimated else text

    return [
        ("Objects indexed", told("objects", f"{serving.objects:,}")),
        ("Chunks", told("chunks", f"{serving.chunks:,}")),
        ("Vectors", told("vector_bytes", _size(serving.vector_bytes))),
        ("Texts", told("text_bytes", _size(serving.text_bytes))),
    ]


def build_in_words(build: BuildStats) -> str:
    """Return how far a build is, and how long the rest takes."""
    objects = f"{build.generation.objects:,}"
    if "objects" in build.generation.estimated:
        objects = f"about {objects}"
    text = f"{objects} objects, {build.share:.0%}, begun {_at(build.generation.created_at)}"
    if not build.is_running:
        return f"{text}; nobody works on it, the next run continues"
    if build.seconds_left is None:
        return text
    return f"{text}; about {in_words(build.seconds_left)} left at its pace so far"


def in_words(seconds: float) -> str:
    """Return a time as somebody would say it, to two units."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes} min"
    return f"{hours // 24} days {hours % 24} h"


def _at(moment: datetime.datetime) -> str:
    local = timezone.localtime(moment) if timezone.is_aware(moment) else moment
    return f"{local:%Y-%m-%d %H:%M}"


def _size(count: int) -> str:
    return str(filesizeformat(count)).replace("\xa0", " ")
