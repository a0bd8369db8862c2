"""Models that tests index and query: one per kind of primary key, and the usual relations.

The app has no migrations; the test database gets its tables directly.
"""

from __future__ import annotations

import uuid

from django.conf import settings
from django.db import models


class Tag(models.Model):
    name = models.CharField(max_length=50, unique=True)

    def __str__(self) -> str:
        return self.name


class Place(models.Model):
    """Something to search, with rows that not everyone may see."""

    name = models.CharField(max_length=200)
    province = models.CharField(max_length=100, blank=True)
    is_hidden = models.BooleanField(default=False)
    owner = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        db_constraint=False,  # tables without migrations come before the users' table
        related_name="places",
    )
    tags = models.ManyToManyField(Tag, blank=True, related_name="places")

    def __str__(self) -> str:
        return self.name


class Child(Place):
    """Multi-table inheritance: its primary key is the link to Place."""

    population = models.PositiveIntegerField(default=0)


class UUIDThing(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    title = models.CharField(max_length=200)

    def __str__(self) -> str:
        return self.title


class Slugged(models.Model):
    slug = models.CharField(max_length=50, primary_key=True)
    title = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return self.slug


class CompositeThing(models.Model):
    """A primary key of two columns (Django 5.2)."""

    pk = models.CompositePrimaryKey("region", "number")
    region = models.CharField(max_length=20)
    number = models.IntegerField()
    title = models.CharField(max_length=200, blank=True)

    def __str__(self) -> str:
        return f"{self.region}/{self.number}"


class Survey(models.Model):
    """Fields of every kind that can be asked about, some named like lookups, one a secret."""

    STATUSES = [("o", "Open"), ("d", "Deleted"), ("s", "System")]
    LEVELS = [(1, "Low"), (2, "High")]

    title = models.CharField(max_length=100)
    date = models.DateField(null=True)
    year = models.SmallIntegerField(default=0)
    count = models.IntegerField(default=0)
    length = models.BigIntegerField(default=0)
    budget = models.DecimalField(max_digits=8, decimal_places=2, null=True)
    share = models.FloatField(null=True)
    status = models.CharField(max_length=1, choices=STATUSES, default="o")
    level = models.IntegerField(choices=LEVELS, null=True)
    token = models.UUIDField(null=True)
    started_at = models.DateTimeField(null=True)
    data = models.JSONField(default=dict)
    answers_secret = models.TextField(default="")
    place = models.ForeignKey(
        Place, null=True, on_delete=models.SET_NULL, db_constraint=False, related_name="surveys"
    )
    by_slug = models.ForeignKey(
        Tag, null=True, to_field="name", on_delete=models.SET_NULL, db_constraint=False
    )

    def __str__(self) -> str:
        return self.title
