"""Regions, provinces, municipalities and communities, keyed by their PSGC codes.

The Philippine Standard Geographic Code gives every place a ten-digit code whose leading
digits name the places it lies in. The code is the primary key: it is stable, public and
what other systems exchange.
"""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Count, Q, Sum
from django.urls import reverse


class Place(models.Model):
    """What places of every level have in common."""

    code = models.CharField("PSGC code", max_length=10, primary_key=True)
    name = models.CharField(max_length=100)
    population = models.PositiveIntegerField(
        null=True, blank=True, help_text="Residents counted in the census of 2024."
    )
    latitude = models.FloatField(help_text="Degrees north, WGS 84.")
    longitude = models.FloatField(help_text="Degrees east, WGS 84.")

    class Meta:
        abstract = True
        ordering: ClassVar[list[str]] = ["name", "code"]
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.CheckConstraint(
                condition=Q(latitude__range=(-90, 90), longitude__range=(-180, 180)),
                name="%(app_label)s_%(class)s_position",
            )
        ]

    def __str__(self) -> str:
        return self.name


class Region(Place):
    """One of the 18 regions."""

    @property
    def short_name(self) -> str:
        """Return what the official name has in brackets, else all of it."""
        _, _, bracketed = self.name.rstrip(")").partition("(")
        return bracketed or self.name


class ProvinceQuerySet(models.QuerySet["Province"]):
    """Queries of provinces."""

    def with_totals(self) -> ProvinceQuerySet:
        """Add ``municipality_count``, ``community_count`` and ``resident_count``, by name."""
        return self.annotate(
            municipality_count=Count("municipalities", distinct=True),
            community_count=Count("municipalities__communities"),
            resident_count=Sum("municipalities__communities__population", default=0),
        ).order_by("name", "code")  # grouping drops the model's own order


class Province(Place):
    """A province, or what stands in its place above municipalities.

    Highly urbanised cities answer to no province, and neither do the City of Isabela, the
    National Capital Region and the Special Geographic Area of the Bangsamoro. Each of
    them has a row of its own here, so that every municipality has a parent.
    """

    class Level(models.TextChoices):
        """What kind of unit it is."""

        PROVINCE = "Prov", "Province"
        INDEPENDENT_CITY = "HUCGroup", "Independent city"
        CAPITAL_REGION = "PseudoProvince", "Capital region"
        SPECIAL = "SpecialGroup", "Special area"

    region = models.ForeignKey(Region, on_delete=models.CASCADE, related_name="provinces")
    level = models.CharField(max_length=14, choices=Level.choices, default=Level.PROVINCE)

    objects = ProvinceQuerySet.as_manager()


class Municipality(Place):
    """A municipality, a city, or a district of Manila."""

    class Level(models.TextChoices):
        """What kind of unit it is."""

        MUNICIPALITY = "Mun", "Municipality"
        CITY = "City", "City"
        DISTRICT = "SubMun", "City district"

    province = models.ForeignKey(Province, on_delete=models.CASCADE, related_name="municipalities")
    level = models.CharField(max_length=6, choices=Level.choices, default=Level.MUNICIPALITY)

    class Meta(Place.Meta):
        verbose_name_plural = "municipalities"


class CommunityQuerySet(models.QuerySet["Community"]):
    """Queries of communities."""

    def with_places(self) -> CommunityQuerySet:
        """Fetch municipality, province and region in the same query."""
        return self.select_related("municipality__province__region")

    def on_map(self) -> CommunityQuerySet:
        """Keep those whose position can be trusted on a map.

        The source has none of its own for the Special Geographic Area, for one; what it
        gives there lies some 100 km off.
        """
        return self.filter(is_position_verified=True)


class Community(Place):
    """A barangay, the smallest unit of government."""

    class Setting(models.TextChoices):
        """How the statistics authority classes it."""

        URBAN = "U", "Urban"
        RURAL = "R", "Rural"
        UNCLASSIFIED = "-", "Not classified"

    municipality = models.ForeignKey(
        Municipality, on_delete=models.CASCADE, related_name="communities"
    )
    setting = models.CharField(max_length=1, choices=Setting.choices, default=Setting.UNCLASSIFIED)
    is_town_centre = models.BooleanField(
        default=False, help_text="Part of the poblacion, the centre of its municipality."
    )
    is_position_verified = models.BooleanField(
        default=True, help_text="False if the source only guesses; such positions can be far off."
    )
    former_names = models.CharField(max_length=100, blank=True)

    objects = CommunityQuerySet.as_manager()

    class Meta(Place.Meta):
        verbose_name_plural = "communities"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["name"], name="communities_community_name")
        ]

    def __str__(self) -> str:
        return f"{self.name}, {self.municipality.name}"

    def get_absolute_url(self) -> str:
        """Return the address of its page."""
        return reverse("community", args=[self.code])

    def describe(self) -> str:
        """Return one English sentence that holds all its facts.

        Answers quote it, so it stands alone: no pronoun refers to another sentence.
        """
        province = self.municipality.province
        kind = {"U": "an urban barangay", "R": "a rural barangay"}.get(self.setting, "a barangay")
        centre = " in the town centre" if self.is_town_centre else ""
        former = f" (formerly {self.former_names})" if self.former_names else ""
        places = [self.municipality.name, province.name]
        if province.region.name != province.name:  # the capital region is its own province
            places.append(province.region.short_name)
        count = "no known number of" if self.population is None else f"{self.population:,}"
        return (
            f"{self.name}{former} is {kind}{centre} of {', '.join(places)},"
            f" with {count} residents in the census of 2024."
        )
