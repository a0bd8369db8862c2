"""Visit the deployed site with Django's test clients and print what came back, as JSON.

Started by test_settings.py in a process of its own: the real settings, a real Redis, a
database that was migrated, and what nginx adds to each request.
"""

from __future__ import annotations

import json
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any

import django

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "example_project"))

django.setup()

from asgiref.sync import async_to_sync  # noqa: E402
from axes.models import AccessAttempt  # noqa: E402
from django.conf import settings  # noqa: E402
from django.contrib.auth import get_user_model  # noqa: E402
from django.db.models import F  # noqa: E402
from django.test import AsyncClient, Client, override_settings  # noqa: E402

import deploy  # noqa: E402

HOST, LOGIN = "atlas.example.org", "/admin/login/"
PASSWORD, WRONG = "a-Long-One-4242", "not-it"
told: dict[str, Any] = {"from": str(Path(deploy.__file__).parent)}


def through_nginx(address: str) -> dict[str, str]:
    """What nginx adds: the address, whatever the client wrote there."""
    return {"X-Forwarded-For": f"198.51.100.99, {address}", "X-Forwarded-Proto": "https"}


def behind_nginx(address: str, **options: Any) -> Client:
    """A client of the site at an address."""
    return Client(headers={"Host": HOST, **through_nginx(address)}, **options)


def post_json(client: Client, path: str, data: dict[str, str], **headers: str) -> Any:
    return client.post(path, data, content_type="application/json", headers=headers)


def cookie(response: Any, name: str) -> dict[str, Any]:
    return {key: value for key, value in response.cookies[name].items() if value}


def log_in(client: Any, name: str, password: str) -> int:
    return int(client.post(LOGIN, {"username": name, "password": password}).status_code)


def visit_pages() -> None:
    plain = Client(headers={"Host": HOST}).get("/health/live/")
    told["plain"] = [plain.status_code, plain["Location"]]
    client = behind_nginx("203.0.113.1")
    told["wrong_host"] = client.get("/", headers={"Host": "evil.example"}).status_code
    told["missing"] = client.get("/none/").content.decode()
    page = client.get(LOGIN)
    told["headers"] = dict(page.headers)
    told["page"] = page.content.decode()
    told["csrf_cookie"] = cookie(page, "csrftoken")
    told["live"] = client.get("/health/live/").status_code
    told["metrics"] = [
        client.get("/metrics").status_code,
        client.get("/metrics", headers={"Authorization": "Bearer " + "m" * 24}).status_code,
    ]


def visit_csrf() -> None:
    client = behind_nginx("203.0.113.2", enforce_csrf_checks=True)
    client.get(LOGIN)
    token = client.cookies["csrftoken"].value
    form = {"username": "ana", "password": PASSWORD, "csrfmiddlewaretoken": token}
    for name, origin in (("foreign", "https://evil.example"), ("own", f"https://{HOST}")):
        answer = client.post(LOGIN, form, headers={"Origin": origin})
        told[f"csrf_{name}"] = answer.status_code
    told["session_cookie"] = cookie(answer, "sessionid")


def visit_lockout() -> None:
    client, elsewhere = behind_nginx("203.0.113.3"), behind_nginx("203.0.113.4")
    told["failures"] = [log_in(client, "ben", WRONG) for _ in range(5)]
    told["right_while_locked"] = log_in(client, "ben", PASSWORD)
    told["other_name"] = log_in(behind_nginx("203.0.113.3"), "ana", PASSWORD)
    told["other_address"] = log_in(elsewhere, "ben", PASSWORD)
    told["counted_by"] = sorted(set(AccessAttempt.objects.values_list("ip_address", flat=True)))
    for minutes in (28, 3):  # a clock would take as long
        AccessAttempt.objects.update(attempt_time=F("attempt_time") - timedelta(minutes=minutes))
        told[f"after_{minutes}_more"] = log_in(behind_nginx("203.0.113.3"), "ben", PASSWORD)
    network = [behind_nginx(f"2001:db8:1:2::{number}") for number in range(1, 6)]
    told["ipv6"] = [log_in(each, "ben", WRONG) for each in network]


async def fail_with_asgi() -> list[int]:
    client, headers = AsyncClient(), through_nginx("203.0.113.5")
    answers = []
    for password in [WRONG] * 5 + [PASSWORD]:
        form = {"username": "ben", "password": password}
        answers.append((await client.post(LOGIN, form, headers=headers)).status_code)
    return answers


def visit_many_names() -> None:
    """Ten failures an hour in place of a hundred, since each takes as long as a password does."""
    throttles = {"anon": "10/hour", "user": "1000/hour", "burst": None}
    few = settings.OBC_AI | {"WEB": settings.OBC_AI["WEB"] | {"throttles": throttles}}
    with override_settings(OBC_AI=few):
        client = behind_nginx("203.0.113.9")
        told["many_names"] = [log_in(client, f"name{number}", WRONG) for number in range(12)]
        told["right_after_many"] = log_in(client, "ana", PASSWORD)
        told["right_elsewhere"] = log_in(behind_nginx("203.0.113.10"), "ana", PASSWORD)


def visit_tokens() -> None:
    client = behind_nginx("203.0.113.6")
    wrong = {"username": "cai", "password": WRONG}
    right = {"username": "cai", "password": PASSWORD}
    told["no_token"] = client.get("/api/usage/").status_code
    told["wrong_password"] = post_json(client, "/api/token/", wrong).status_code
    given = post_json(client, "/api/token/", right)
    told["token"] = sorted(given.json())
    bearer = {"Authorization": f"Bearer {given.json()['access']}"}
    told["with_token"] = client.get("/api/usage/", headers=bearer).status_code
    asked = post_json(client, "/api/chat/", {"message": "How many barangays?"}, **bearer)
    told["chat"] = [asked.status_code, asked.json().get("is_offline")]
    told["chat_alone"] = post_json(client, "/api/chat/", {"message": "Hello?"}).status_code
    renewed = post_json(client, "/api/token/refresh/", {"refresh": given.json()["refresh"]})
    told["renewed"] = sorted(renewed.json())
    told["forged"] = client.get(
        "/api/usage/", headers={"Authorization": bearer["Authorization"][:-4] + "AAAA"}
    ).status_code
    told["session"] = [log_in(client, "cai", PASSWORD), client.get("/api/usage/").status_code]
    user = get_user_model().objects.get(username="cai")
    user.set_password(PASSWORD + "2")
    user.save()
    alone = behind_nginx("203.0.113.7")
    told["after_new_password"] = alone.get("/api/usage/", headers=bearer).status_code
    told["token_failures"] = [
        post_json(alone, "/api/token/", wrong).status_code for _ in range(6)
    ]  # fmt: skip


def visit_throttles() -> None:
    client = behind_nginx("203.0.113.8")
    told["burst"] = [client.get("/api/usage/").status_code for _ in range(61)]
    forged = behind_nginx("203.0.113.8")
    forged.defaults["HTTP_X_FORWARDED_FOR"] = "192.0.2.77, 203.0.113.8"
    told["other_first_entry"] = forged.get("/api/usage/").status_code


if __name__ == "__main__":
    for name in ("ana", "ben", "cai"):
        get_user_model().objects.create_superuser(name, password=PASSWORD)
    visit_pages()
    visit_csrf()
    visit_lockout()
    told["asgi"] = async_to_sync(fail_with_asgi)()
    visit_many_names()
    visit_tokens()
    visit_throttles()
    print(json.dumps(told))
