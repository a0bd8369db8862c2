"""schemathesis against the served schema, as several people; a part of api.py.

Everybody has conversations, jobs and hidden places, each with a text that nobody else may see. Half
of the requests that take a key ask for other people's (see `_api_schema_hooks.py`), and in the end
everybody asks for each thing of everybody else.
"""

from __future__ import annotations

import datetime
import http.client
import importlib.metadata
import importlib.util
import io
import json
import os
import re
import subprocess
import sys
import uuid
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.acceptance._api_report import Report
from tests.acceptance._streams_site import NO_THROTTLES, ApiSite
from tests.acceptance._traffic import ROOT

OFFLINE = "django_obc_ai.backends.providers.offline.OfflineProvider"
CSRF = "c" * 32
_SECONDS = 400  # of one person; far more than it takes
_EXAMPLES, _FEW = 60, 6


@dataclass
class Person:
    """Somebody who uses the API, and what is theirs alone.

    Attributes:
        headers: That let them in.
        canaries: Texts in what is theirs.
        conversations: Their keys.
        jobs: Likewise.
    """

    name: str
    headers: dict[str, str] = field(default_factory=dict)
    canaries: list[str] = field(default_factory=list)
    conversations: list[str] = field(default_factory=list)
    jobs: list[str] = field(default_factory=list)


@dataclass(kw_only=True)
class Sent:
    """What one person sent.

    Attributes:
        to_others: Requests for what is somebody else's.
        with_own: Answers that showed the person's own texts.
    """

    requests: int
    to_others: int
    with_own: int
    statuses: list[int]
    faults: list[str]


class Site(ApiSite):
    """The site, with sessions and with tokens."""

    def settings(self) -> dict[str, Any]:
        """See `ApiSite`."""
        ways = ("SessionAuthentication", "TokenAuthentication")
        classes = [f"rest_framework.authentication.{each}" for each in ways]
        framework = {"DEFAULT_AUTHENTICATION_CLASSES": classes}
        return {**super().settings(), "REST_FRAMEWORK": framework}


#: What a schema cannot say: which filters an index has, and that days are in order; that health is
#: told by its status, also that of a machine which is too busy to answer in time.
_CONFIGURATION = """
[[operations]]
include-operation-id = ["search", "read_usage"]

[operations.checks]
positive_data_acceptance.expected-statuses = ["2xx", "400", "401", "403", "404"]

[[operations]]
include-operation-id = ["read_health", "probe_readiness"]

[operations.checks]
not_a_server_error.expected-statuses = ["2xx", "3xx", "4xx", "503"]
positive_data_acceptance.expected-statuses = ["2xx", "401", "403", "404", "503"]
"""


def visible_to(queryset: Any, user: Any) -> Any:
    """Show hidden places to their owner alone, also in the chat."""
    from tests.testapp.ai_indexes import PlaceIndex

    return PlaceIndex().visible_to(queryset, user)


def install() -> None:
    """Bring schemathesis, which no other test needs, into this environment."""
    if importlib.util.find_spec("schemathesis") is None:
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        subprocess.run([*pip, "--group", "schemathesis"], check=True, cwd=ROOT)
        importlib.invalidate_caches()


def prove(*, is_small: bool, folder: str, report: Report) -> None:
    """Let everybody send what the schema allows, and what it does not."""
    install()
    place = {
        "fields": {"name": "Its name.", "province": "Where it is."},
        "needs_permission": False,
        "visible_to": f"{__name__}.visible_to",
    }
    with ExitStack() as stack:
        site = Site(
            stack,
            folder,
            apps=("rest_framework.authtoken",),
            PROVIDERS={"default": {"BACKEND": OFFLINE}},
            CHAT={"models": {"testapp.Place": place}},
        )
        people = _fill()
        victims, before = list(people), _untouched(people)
        count = _FEW if is_small else _EXAMPLES
        rows = []
        for scope, names in ((None, ("anonymous",)), ("public", ("anonymous", *_NAMES))):
            site.configure(WEB={"throttles": NO_THROTTLES, "anonymous_scope": scope})
            with site.served() as port:
                for name in names:
                    person = next((p for p in people if p.name == name), Person(name))
                    told = f"{name}, scope {scope!r}" if name == "anonymous" else name
                    sent = _run(port, person, victims, count=count, folder=folder)
                    rows.append((told, sent))
                    others = [each for each in people if each.name != name]
                    for fault in (*sent.faults, *_knock(port, person, others)):
                        report.fault(f"{told}: {fault}")
                    is_seeing = bool(sent.with_own) == bool(person.canaries)
                    report.expect(is_seeing, f"{told}: own texts were seen {sent.with_own} times")
        report.expect(before == _untouched(people), "Something of another user was changed.")
    version = importlib.metadata.version("schemathesis")
    report.line(f"schemathesis {version}, all checks, {count} examples an operation:")
    report.line("")
    report.line("| As | Requests | For what is others' | That showed own texts | Statuses |")
    report.line("| --- | ---: | ---: | ---: | --- |")
    for told, sent in rows:
        statuses = ", ".join(map(str, sent.statuses))
        counts = f"{sent.requests:,} | {sent.to_others:,} | {sent.with_own:,}"
        report.line(f"| {told} | {counts} | {statuses} |")


_NAMES = ("session", "token", "staff")


def _fill() -> list[Person]:
    """Make the people; one of them, and somebody who did not log in, only own things."""
    from django.contrib.auth import get_user_model
    from django.contrib.auth.models import Permission
    from django.core.management import call_command
    from django.test import Client
    from rest_framework.authtoken.models import Token

    people = []
    for name in (*_NAMES, "victim"):
        user = get_user_model().objects.create_user(name)
        person = Person(name)
        if name != "victim":
            user.user_permissions.add(Permission.objects.get(codename="add_job"))
        if name == "staff":
            user.is_staff = True
            user.save()
            user.user_permissions.add(Permission.objects.get(codename="view_dashboard"))
        if name == "token":
            person.headers = {"Authorization": f"Token {Token.objects.create(user=user).key}"}
        elif name != "victim":
            client = Client()
            client.force_login(user)
            session = client.cookies["sessionid"].value
            cookies = f"sessionid={session}; csrftoken={CSRF}"
            person.headers = {"Cookie": cookies, "X-CSRFToken": CSRF}
        _plant(person, user)
        people.append(person)
    unknown = Person("nobody")
    _plant(unknown, None)
    call_command("ai_index", verbosity=0, stdout=io.StringIO())
    return [*people, unknown]


def _plant(person: Person, user: Any) -> None:
    """Give somebody what nobody else may see."""
    from django.utils import timezone

    from django_obc_ai.models import AIOperation, ChatMessage, Conversation, Job
    from django_obc_ai.services.text import TextService
    from tests.testapp.models import Place

    def canary() -> str:
        person.canaries.append(f"canary{uuid.uuid4().hex}")
        return person.canaries[-1]

    now = timezone.now()
    for _ in range(3):
        conversation = Conversation.objects.create(user=user, title=canary())
        for role in ("user", "assistant"):
            ChatMessage.objects.create(conversation=conversation, role=role, text=canary())
        later = now + datetime.timedelta(days=1)  # so that nobody answers it meanwhile
        queued = Job.objects.create(user=user, request={"prompt": canary()}, due_at=later)
        ended = Job.objects.get(pk=TextService().submit("Whose land?", user=user).id)
        ended.result["text"] = canary()
        ended.save()
        person.conversations.append(str(conversation.pk))
        person.jobs += [str(queued.pk), str(ended.pk)]
        Place.objects.create(name=canary(), province="Lanao", is_hidden=True, owner=user)
        AIOperation.objects.create(user=user, scope="north", success=True, module=canary())
    Place.objects.create(name=f"Marawi {person.name}", province="Lanao")


def _untouched(people: list[Person]) -> list[Any]:
    """Return what belongs to people who send nothing."""
    from django_obc_ai.models import ChatMessage, Conversation, Job

    quiet = [each for each in people if each.name in ("victim", "nobody")]
    keys = [key for each in quiet for key in each.conversations]
    mine = Conversation.objects.filter(pk__in=keys).order_by("pk")
    said = ChatMessage.objects.filter(conversation__in=keys).order_by("pk")
    jobs = Job.objects.filter(pk__in=[key for each in quiet for key in each.jobs]).order_by("pk")
    return [list(mine.values()), list(said.values()), list(jobs.values("pk", "status", "result"))]


def _knock(port: int, person: Person, others: list[Person]) -> Iterator[str]:
    """Ask for everything that is somebody else's, one by one; yield what was answered."""
    for other in others:
        asked = [(method, f"conversations/{key}/") for key in other.conversations
                 for method in ("GET", "DELETE")]  # fmt: skip
        asked += [("GET", f"jobs/{key}/") for key in other.jobs]
        asked += [("POST", f"jobs/{key}/cancel/") for key in other.jobs]
        for method, path in asked:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connection.request(method, f"/ai/api/{path}", headers=person.headers)
            status = connection.getresponse().status
            connection.close()
            if status not in (403, 404):
                yield f"{method} {path} of {other.name} answered {status}"


def _run(port: int, person: Person, victims: list[Person], *, count: int, folder: str) -> Sent:
    """Run schemathesis as one person."""
    others = [each for each in victims if each.name != person.name]
    facts = Path(folder, "schemathesis.json")
    calls = Path(folder, "calls.txt")
    calls.write_text("")  # a line for each
    told = {
        "canaries": [text for each in others for text in each.canaries],
        "others": {
            kind: [key for each in others for key in getattr(each, kind)]
            for kind in ("conversations", "jobs")
        },
        "own": {"conversations": person.conversations, "jobs": person.jobs},
        "own_canaries": person.canaries,
        "calls": str(calls),
    }
    facts.write_text(json.dumps(told))
    Path(folder, "schemathesis.toml").write_text(_CONFIGURATION)
    command = [
        sys.executable, "-m", "schemathesis.cli", "run",
        f"http://127.0.0.1:{port}/ai/api/schema/",
        "--checks", "all", "--max-examples", str(count), "--seed", "20261129",
        "--phases", "examples,coverage,fuzzing,stateful", "--continue-on-failure",
        "--output-truncate", "true", "--no-color", "--generation-database", "none",
    ]  # fmt: skip
    if person.name == "token":
        # It spoils the session's cookie and leaves the token, which rightly lets it in.
        command += ["--exclude-checks", "ignored_auth"]
    for name, value in person.headers.items():
        command += ["--header", f"{name}: {value}"]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path]),
        "SCHEMATHESIS_HOOKS": "tests.acceptance._api_schema_hooks",
        "OBC_AI_SCHEMATHESIS": str(facts),
    }
    found = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, timeout=_SECONDS
    )
    out = found.stdout + found.stderr
    Path(folder, f"schemathesis-{person.name}.txt").write_text(out)
    failures = []
    if found.returncode:
        failures = re.findall(r"^(?:_+ (.+?) _+|- (.+))$", out, re.MULTILINE)
        failures = [" ".join(filter(None, each)) for each in failures] or [out[-2_000:]]
    notes = [json.loads(line) for line in calls.read_text().splitlines()]
    leaks = Counter(each["where"] for each in notes if each["leaks"])
    failures += [f"{where} showed texts of others {n} times" for where, n in leaks.items()]
    return Sent(
        requests=len(notes),
        to_others=sum(each["asks_for_others"] for each in notes),
        with_own=sum(each["shows_own"] for each in notes),
        statuses=sorted({each["status"] for each in notes}),
        faults=failures,
    )
