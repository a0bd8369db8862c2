"""What is asked of a site: search and chat, in code and over HTTP. Runs in the site's own shell.

It is given what to ask as JSON in a variable, and prints what came back as JSON.
"""

from __future__ import annotations

import json
import os
from functools import reduce

from django.apps import apps
from django.contrib.auth import get_user_model
from django.test import Client

from django_obc_ai.indexes.registry import get_index
from django_obc_ai.models import Chunk
from django_obc_ai.services.chat import ChatService
from django_obc_ai.services.search import SimilaritySearchService

given = json.loads(os.environ["ASKED"])
path = given["title"]


def titles_of(results):
    return [reduce(getattr, path.split("__"), each.object) for each in results]


def found_without_rule():
    index = get_index(given["index"])
    index.visible_to = lambda queryset, user: queryset
    try:
        return titles_of(search(given["index"], given["query"], user=None, k=50))
    finally:
        del index.visible_to


def page_after(client, message):
    asked = client.post("/chat/", {"message": message})
    assert asked.status_code == 302, asked.status_code
    return client.get(asked.url).content.decode()


rows = apps.get_model(given["model"])._base_manager.all()
people = get_user_model().objects
if "user" in given:
    user = people.get(username=given["user"])
else:
    user = people.create_user(username="reader", email="reader@example.org", password="six paces")
search = SimilaritySearchService().search
hidden = {key: title for key, title in rows.values_list("pk", path) if title in given["hidden"]}
chunks = Chunk.objects.filter(object_key__in=[str(key) for key in hidden])
answer = ChatService().send(given["question"], user=user)
client = Client(headers={"host": "localhost"})
refused = client.get("/chat/")
client.force_login(user, backend="django.contrib.auth.backends.ModelBackend")
counted = rows.filter(**given["counted"])
if "not_counted" in given:
    counted = counted.exclude(**given["not_counted"])
print(
    json.dumps(
        {
            "found": titles_of(search(given["index"], given["query"], user=user, k=50)),
            "found_by_nobody": titles_of(search(given["index"], given["query"], user=None, k=50)),
            "found_without_rule": found_without_rule(),
            "hidden": sorted(hidden.values()),
            "hidden_indexed": chunks.values("object_key").distinct().count(),
            "answer": answer.text,
            "answer_rows": [list(each) for each in answer.rows.rows] if answer.rows else None,
            "answered_by_rules": answer.is_offline,
            "counted": counted.count(),
            "rows": rows.count(),
            "without_login": refused.status_code,
            "page_of_question": page_after(client, given["question"]),
            "page_of_search": page_after(client, f"Find {given['query']}"),
        }
    )
)
