"""Questions to the example's offline chat, with rows that the ORM finds in another way.

Started by test_chat_questions.py in a process of its own; prints one outcome for each question.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "example_project"))
os.environ["DJANGO_SETTINGS_MODULE"] = "obc_site.settings"

import django

django.setup()

from django.db.models import Avg, Count, Sum  # noqa: E402

from communities.models import Community, Municipality, Province, Region  # noqa: E402
from django_obc_ai.services.chat import ChatService  # noqa: E402

C, M, P = Community.objects, Municipality.objects, Province.objects
PROVINCE = "municipality__province__name"


def names(rows: Any) -> set[str]:
    return set(rows.values_list("name", flat=True))


def top(rows: Any, n: int, *, least: bool = False) -> list[str]:
    known = rows.exclude(population=None)
    return list(
        known.order_by("population" if least else "-population", "name").values_list(
            "name", flat=True
        )[:n]
    )


def by(path: str) -> set[tuple[str, int]]:
    return set(C.values_list(path).annotate(n=Count("pk")).order_by())


#: (language, question, what it is, expected): a number; a set of names; a list of names in order; a
#: set of (name, number); a number of one row; None where nothing may be answered as right.
QUESTIONS: list[tuple[str, str, str, Any]] = [
    ("en", "How many communities are there?", "count", C.count()),
    ("en", "How many barangays are in Basilan?", "count",
     C.filter(**{PROVINCE: "Basilan"}).count()),
    ("en", "How many provinces are there?", "count", P.count()),
    ("en", "How many municipalities are in Lanao del Sur?", "count",
     M.filter(province__name="Lanao del Sur").count()),
    ("en", "How many rural barangays are there in Tawi-Tawi?", "count",
     C.filter(setting="R", **{PROVINCE: "Tawi-Tawi"}).count()),
    ("en", "Number of urban communities", "count", C.filter(setting="U").count()),
    ("en", "How many cities are there?", "count", M.filter(level="City").count()),
    ("en", "How many barangays are in the municipality of Upi?", "count",
     C.filter(municipality__name="Upi").count()),
    ("en", "How many barangays have more than 5,000 residents?", "count",
     C.filter(population__gt=5000).count()),
    ("en", "How many urban barangays are not in Basilan?", "count",
     C.filter(setting="U").exclude(**{PROVINCE: "Basilan"}).count()),
    ("en", "How many barangays are in Basilan and Tawi-Tawi?", "count",
     C.filter(**{f"{PROVINCE}__in": ["Basilan", "Tawi-Tawi"]}).count()),
    ("en", "How many towns are in BARMM?", "count", M.count()),
    ("en", "How many communities are in the town centre in Lanao del Sur?", "count",
     C.filter(is_town_centre=True, **{PROVINCE: "Lanao del Sur"}).count()),
    ("en", "How many communities have at least 10,000 people?", "count",
     C.filter(population__gte=10000).count()),
    ("en", "List municipalities in Basilan", "names", names(M.filter(province__name="Basilan"))),
    ("en", "List barangays of Parang", "names", names(C.filter(municipality__name="Parang"))),
    ("en", "Show the communities in Datu Piang", "names",
     names(C.filter(municipality__name="Datu Piang"))),
    ("en", "List all provinces", "names", names(P.all())),
    ("en", "Which municipalities are in Tawi-Tawi?", "names",
     names(M.filter(province__name="Tawi-Tawi"))),
    ("en", "List communities with population between 10000 and 12000", "names",
     names(C.filter(population__range=(10000, 12000)))),
    ("en", "Show me the urban barangays of Bongao", "names",
     names(C.filter(municipality__name="Bongao", setting="U"))),
    ("en", "Top 5 municipalities by population", "order", top(M.all(), 5)),
    ("en", "top 10 largest barangays in Upi", "order", top(C.filter(municipality__name="Upi"), 10)),
    ("en", "What is the most populous barangay in Marawi?", "order",
     top(C.filter(municipality__name="City of Marawi"), 1)),
    ("en", "Which municipality has the smallest population?", "order", top(M.all(), 1, least=True)),
    ("en", "Three largest provinces", "order", top(P.all(), 3)),
    ("en", "Communities per province", "groups", by(PROVINCE)),
    ("en", "Number of barangays by municipality", "groups", by("municipality__name")),
    ("en", "Which province has the most barangays?", "groups",
     {max(by(PROVINCE), key=lambda pair: pair[1])}),
    ("en", "What is the population of Upi?", "fact", M.get(name="Upi").population),
    ("en", "Population of Lanao del Sur", "fact", P.get(name="Lanao del Sur").population),
    ("en", "How many people live in Tawi-Tawi?", "fact", P.get(name="Tawi-Tawi").population),
    ("en", "Total population of the barangays in Basilan", "count",
     C.filter(**{PROVINCE: "Basilan"}).aggregate(n=Sum("population"))["n"]),
    ("en", "Average population of barangays in Marawi City", "count",
     C.filter(municipality__name="City of Marawi").aggregate(n=Avg("population"))["n"]),
    ("tl", "Ilang barangay ang nasa Lanao del Sur?", "count",
     C.filter(**{PROVINCE: "Lanao del Sur"}).count()),
    ("tl", "Ilan ang mga bayan sa BARMM?", "count", M.count()),
    ("tl", "Ilan ang mga lalawigan?", "count", P.count()),
    ("tl", "Ilang rural na barangay ang nasa Basilan?", "count",
     C.filter(setting="R", **{PROVINCE: "Basilan"}).count()),
    ("tl", "Ilan ang barangay na may higit sa 9,000 residente?", "count",
     C.filter(population__gt=9000).count()),
    ("tl", "Ilang barangay ang wala sa Basilan?", "count",
     C.exclude(**{PROVINCE: "Basilan"}).count()),
    ("tl", "Ilista ang mga bayan sa Tawi-Tawi", "names",
     names(M.filter(province__name="Tawi-Tawi"))),
    ("tl", "Ipakita ang mga barangay ng Upi", "names", names(C.filter(municipality__name="Upi"))),
    ("tl", "Ano ang mga lalawigan?", "names", names(P.all())),
    ("tl", "Listahan ng mga barangay sa Datu Piang", "names",
     names(C.filter(municipality__name="Datu Piang"))),
    ("tl", "limang pinakamataong bayan", "order", top(M.all(), 5)),
    ("tl", "Pinakamaliit na bayan ayon sa populasyon", "order", top(M.all(), 1, least=True)),
    ("tl", "3 pinakamalaking barangay sa Bongao", "order",
     top(C.filter(municipality__name="Bongao"), 3)),
    ("tl", "Alin ang pinakamataong lalawigan?", "order", top(P.all(), 1)),
    ("tl", "Bilang ng barangay bawat lalawigan", "groups", by(PROVINCE)),
    ("tl", "Ilang barangay kada bayan?", "groups", by("municipality__name")),
    ("tl", "Aling lalawigan ang may pinakamaraming barangay?", "groups",
     {max(by(PROVINCE), key=lambda pair: pair[1])}),
    ("tl", "Ano ang populasyon ng Upi?", "fact", M.get(name="Upi").population),
    ("tl", "Ilan ang populasyon ng Sultan Kudarat?", "fact",
     M.get(name="Sultan Kudarat").population),
    ("tl", "Kabuuang populasyon ng mga barangay sa Basilan", "count",
     C.filter(**{PROVINCE: "Basilan"}).aggregate(n=Sum("population"))["n"]),
    *(
        (language, question, "none", None)
        for language, question in (
            ("en", "How many coastal communities are there?"),
            ("en", "How many barangays are in Sulu?"),
            ("en", "What is the capital of France?"),
            ("en", "How many schools are in Upi?"),
            ("en", "Top 5 municipalities by rainfall"),
            ("en", "How many barangays had a flood in 2023?"),
            ("en", "Which barangay has the best fishing?"),
            ("en", "Average age of residents in Upi"),
            ("en", "Delete all communities"),
            ("tl", "Ilang barangay ang nasa Sulu?"),
            ("tl", "Ilang paaralan ang nasa Upi?"),
            ("tl", "Burahin ang lahat ng barangay"),
            ("tl", "Sino ang kapitan ng barangay sa Bongao?"),
        )
    ),
]  # fmt: skip


#: Written after the planner, and not used to change it.
LATER: list[tuple[str, str, str, Any]] = [
    ("en", "How many barangays does Lamitan have?", "count",
     C.filter(municipality__name="City of Lamitan").count()),
    ("en", "Count the municipalities of Maguindanao del Sur", "count",
     M.filter(province__name="Maguindanao del Sur").count()),
    ("en", "What is the number of rural communities in Maguindanao del Norte?", "count",
     C.filter(setting="R", **{PROVINCE: "Maguindanao del Norte"}).count()),
    ("en", "How many communities in Tawi-Tawi have fewer than 500 inhabitants?", "count",
     C.filter(population__lt=500, **{PROVINCE: "Tawi-Tawi"}).count()),
    ("en", "How many regions are there?", "count", Region.objects.count()),
    ("en", "how many barangays are there in sultan kudarat", "count",
     C.filter(municipality__name="Sultan Kudarat").count()),
    ("en", "What barangays are in Turtle Islands?", "names",
     names(C.filter(municipality__name="Turtle Islands"))),
    ("en", "Give me the names of the towns in Basilan", "names",
     names(M.filter(province__name="Basilan"))),
    ("en", "Which communities in Bongao are rural?", "names",
     names(C.filter(municipality__name="Bongao", setting="R"))),
    ("en", "List municipalities with more than 100,000 people", "names",
     names(M.filter(population__gt=100_000))),
    ("en", "What are the ten most populous communities?", "order", top(C.all(), 10)),
    ("en", "Smallest barangay in Mapun", "order",
     top(C.filter(municipality__name="Mapun"), 1, least=True)),
    ("en", "Which province has the highest population?", "order", top(P.all(), 1)),
    ("en", "Bottom 3 municipalities by residents", "order", top(M.all(), 3, least=True)),
    ("en", "How are the communities distributed by province?", "groups", by(PROVINCE)),
    ("en", "Which municipality has the most communities?", "groups",
     {max(by("municipality__name"), key=lambda pair: pair[1])}),
    ("en", "How many people live in Parang?", "fact", M.get(name="Parang").population),
    ("en", "What is the population of Cotabato City?", "fact",
     M.get(name="City of Cotabato").population),
    ("en", "What is the combined population of barangays in Jolo?", "none", None),
    ("en", "How many hospitals are in Marawi?", "none", None),
    ("en", "Which barangays joined in 1998?", "none", None),
    ("en", "How many barangays are neither urban nor rural?", "none", None),
    ("tl", "Gaano karami ang mga barangay sa Sultan Kudarat?", "count",
     C.filter(municipality__name="Sultan Kudarat").count()),
    ("tl", "Ilan po ang mga bayan ng Maguindanao del Sur?", "count",
     M.filter(province__name="Maguindanao del Sur").count()),
    ("tl", "Ilang urban na barangay ang nasa Tawi-Tawi?", "count",
     C.filter(setting="U", **{PROVINCE: "Tawi-Tawi"}).count()),
    ("tl", "Ilang barangay ang may mas mababa sa 300 na tao?", "count",
     C.filter(population__lt=300).count()),
    ("tl", "Ano-ano ang mga barangay sa Turtle Islands?", "names",
     names(C.filter(municipality__name="Turtle Islands"))),
    ("tl", "Isa-isahin ang mga bayan sa Basilan", "names",
     names(M.filter(province__name="Basilan"))),
    ("tl", "Sampung pinakamataong barangay", "order", top(C.all(), 10)),
    ("tl", "Ano ang pinakamaliit na bayan sa Tawi-Tawi?", "order",
     top(M.filter(province__name="Tawi-Tawi"), 1, least=True)),
    ("tl", "Ilan ang barangay sa bawat lalawigan?", "groups", by(PROVINCE)),
    ("tl", "Ilan ang nakatira sa Parang?", "fact", M.get(name="Parang").population),
    ("tl", "Ilang ospital ang nasa Marawi?", "none", None),
    ("tl", "Ilang barangay ang nasa Cebu?", "none", None),
]  # fmt: skip


def is_right(kind: str, expected: Any, result: Any) -> bool:
    rows = result.rows
    if kind == "count":
        value = rows[0][0] if len(rows) == 1 else None
        return value is not None and abs(value - expected) < 1e-6
    if kind == "fact":
        return len(rows) == 1 and rows[0][-1] == expected
    if kind == "groups":
        wanted = sorted(expected, key=lambda pair: -pair[1])[:100]
        return sorted(row[-1] for row in rows) == sorted(n for _, n in wanted) and (
            len(expected) > 100 or {(row[0], row[-1]) for row in rows} == expected
        )
    found = [row[0] for row in rows]
    return found == expected if kind == "order" else set(found) == expected


def main() -> None:
    assert Region.objects.exists()
    outcomes = []
    sets = [*(("first", *each) for each in QUESTIONS), *(("second", *each) for each in LATER)]
    for which, language, question, kind, expected in sets:
        answer = ChatService().send(question, user=None)
        is_answered = answer.rows is not None and not answer.is_refused
        right = is_answered and kind != "none" and is_right(kind, expected, answer.rows)
        outcome = "right" if right else "wrong" if is_answered else "not understood"
        outcomes.append((language, question, kind, outcome, answer.text, which))
    print(json.dumps(outcomes))


if __name__ == "__main__":
    main()
