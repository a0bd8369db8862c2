"""Checks of what people come for: the admin, an answer, its operation and its cost."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any
from urllib.parse import urlencode

from deploy.verify.ai_work import suite
from deploy.verify.checks import Failed
from deploy.verify.context import Context
from deploy.verify.site import Answer

_OPERATIONS = "/admin/django_obc_ai/aioperation/"
_QUESTION = "How many provinces are there?"
#: A stream that takes so many seconds and begins only in its last tenth was held back.
_SLOW_SECONDS, _LATE_SHARE = 2.0, 0.9


@suite.check("admin", "Can an administrator see AI operations and the dashboard?",
             needs=("migrations", "web"))  # fmt: skip
def admin(context: Context) -> str:
    """Log in as a verifier, who is a superuser meanwhile, and look."""
    visitor = context.visitor(is_superuser=True)
    for path, sign in (
        ("/admin/", "/admin/logout/"),
        (_OPERATIONS, "AI operations"),
        (f"{_OPERATIONS}dashboard/", "ai-ranges"),
    ):
        answer = visitor.get(path)
        if answer.status != 200 or sign not in answer.text:
            raise Failed(f"{path} answers {answer.status}, and is not the page it should be")
    return "signed in; opened the list of AI operations and the dashboard"


@suite.check("chat-answer", "Is a message answered over HTTPS?", needs=("admin", "provider"))
def chat_answer(context: Context) -> str:
    """Send one whose answer can be counted in the database."""
    from communities.models import Province

    visitor = context.visitor(is_superuser=True)
    context.seen["usage"] = _usage(context)
    message = _question(context)
    answer = visitor.send("/api/chat/", {"message": message})
    found = _answered(answer, context)
    context.seen["answer"] = found
    told, true = _one_number(found["rows"]), Province.objects.count()
    if found["is_offline"] and told != true:
        raise Failed(
            f"{_QUESTION!r} is answered with {'no number' if told is None else told}, and the"
            f" database has {true}"
        )
    how = "from rules, without a model" if found["is_offline"] else "by the model"
    return f"{len(found['text'])} characters, {how}"


def _one_number(rows: dict[str, Any] | None) -> Any:
    """Return the only value of the only row, None if there is another number of them."""
    found = rows["rows"] if rows else []
    return found[0][0] if len(found) == 1 and len(found[0]) == 1 else None


def _question(context: Context) -> str:
    """Return the question; with a model it is one that no cache has an answer to."""
    is_offline = context.configured().google_api_key is None
    return _QUESTION if is_offline else f"{_QUESTION} (verification {context.token()})"


def _answered(answer: Answer, context: Context) -> dict[str, Any]:
    if answer.status != 200:
        raise Failed(f"/api/chat/ answers {answer.status}: {answer.text[:300]}")
    return _is_good(answer.json(), context)


def _is_good(found: Any, context: Context) -> dict[str, Any]:
    if found["error"]:
        what = "see the checks provider and budgets, and the log ai_assistant.log"
        raise Failed(f"the chat tells the failure {found['error']!r}: {what}")
    if found["is_refused"] or not found["text"].strip():
        raise Failed("the chat refuses a harmless question, or says nothing")
    if found["is_offline"] != (context.configured().google_api_key is None):
        raise Failed(
            f"the chat says is_offline = {found['is_offline']}, against GOOGLE_API_KEY in .env:"
            " restart web, streams and worker"
        )
    return dict(found)


@suite.check("chat-stream", "Does an answer come piece by piece?",
             needs=("admin", "provider", "streams"))  # fmt: skip
def chat_stream(context: Context) -> str:
    """Read a stream through nginx as it comes."""
    visitor = context.visitor(is_superuser=True)
    pieces = list(visitor.stream("/api/chat/stream/", {"message": _question(context)}))
    text = b"".join(piece for _, piece in pieces).decode(errors="replace")
    events = [_event(each) for each in text.split("\n\n") if each.startswith("event:")]
    names = [name for name, _ in events]
    if "error" in names or not names or names[0] != "conversation" or names[-1] != "answer":
        raise Failed(f"the stream of /api/chat/stream/ broke off: {', '.join(names) or 'empty'}")
    found = _is_good(events[-1][1], context)
    said = "".join(data["text"] for name, data in events if name == "text")
    if said.strip() != found["text"].strip():
        raise Failed("the pieces of a stream are not the answer at its end")
    first, last = pieces[0][0], pieces[-1][0]
    if last > _SLOW_SECONDS and first > _LATE_SHARE * last:
        raise Failed(
            f"a stream of {last:.1f} s began after {first:.1f} s: something before the site"
            " collects it; for /chat/ and /api/chat/stream/ nginx has proxy_buffering off"
        )
    return (
        f"{len(events)} events in {len(pieces)} pieces; the first after {first:.2f} s, the answer"
        f" after {last:.2f} s"
    )


def _event(block: str) -> tuple[str, Any]:
    head, _, data = block.partition("\ndata: ")
    return head.removeprefix("event: "), json.loads(data)


@suite.check("chat-operation", "Is there an operation for what the provider answered?",
             needs=("chat-answer", "index"))  # fmt: skip
def chat_operation(context: Context) -> str:
    """Find it in the database, in the log by the request's id, and in the admin."""
    from django_obc_ai.models import AIOperation

    request = f"obc-verify-{context.token()}"
    keys = _of_message(context)
    if not keys and context.configured().google_api_key is not None:
        raise Failed("the model's answer names no operation: see spool/ and ai_assistant.log")
    keys = keys or _of_search(context, request)
    found = list(AIOperation.objects.filter(pk__in=keys))
    if not found or len(found) != len(keys):
        raise Failed(
            f"of {len(keys)} calls {len(found)} are in the ledger: see spool/ and ai_assistant.log"
        )
    if failed := [each for each in found if not each.success]:
        raise Failed(f"the operation {failed[0].pk} failed: {failed[0].error_category}")
    visitor = context.visitor(is_superuser=True)
    for each in found:
        page = visitor.get(f"{_OPERATIONS}{each.pk}/change/")
        if page.status != 200 or str(each.pk) not in page.text:
            raise Failed(f"the admin answers {page.status} for the operation {each.pk}")
    context.seen["operations"] = found
    each = found[-1]
    tokens = sum(one.total_tokens for one in found)
    traced = _traced(context, request, {str(one.pk) for one in found})
    return f"{each.pk} of {each.model_used}: {len(found)} calls, {tokens} tokens{traced}"


def _of_message(context: Context) -> list[str]:
    """Return the operations of the chat's answer; the offline one needs none."""
    from django_obc_ai.models import ChatMessage

    key = context.seen["answer"]["message_id"]
    found = ChatMessage.objects.filter(key=key).values_list("operation_ids", flat=True).first()
    if found is None:
        raise Failed(f"the answer {key} is not in the database: see ai_assistant.log")
    return list(found)


def _of_search(context: Context, request: str) -> list[str]:
    """Ask about what a search found, which reaches the offline provider, too."""
    from django.utils import timezone

    from communities.models import Community
    from django_obc_ai.models import AIOperation

    visitor, began = context.visitor(is_superuser=True), timezone.now()
    name = Community.objects.values_list("name", flat=True).first()
    visitor.get(f"/search/?{urlencode({'q': name})}")
    fields = {
        "csrfmiddlewaretoken": visitor.cookies["csrftoken"].value,
        "q": name,
        "province": "",
        "question": f"Which of these has the most residents? ({context.token()})",
    }
    answer = visitor.ask(
        "POST", "/search/ask/", urlencode(fields).encode(), Origin=context.address.origin,
        Content_Type="application/x-www-form-urlencoded", X_Request_ID=request,
    )  # fmt: skip
    if answer.status != 200 or 'class="answer"' not in answer.text:
        raise Failed(f"/search/ask/ answers {answer.status}, without an answer")
    rows = AIOperation.objects.filter(user_id=context.person().user.pk, created_at__gte=began)
    keys = [str(key) for key in rows.filter(module="communities").values_list("pk", flat=True)]
    if not keys:
        raise Failed("an answer of /search/ask/ left no operation in the ledger: see spool/")
    return keys


def _traced(context: Context, request: str, keys: set[str]) -> str:
    """Compare with the log, where the web processes write to one."""
    for line in context.logs.since().get("web.log", "").splitlines():
        if request in line and line.startswith("{"):
            record = json.loads(line)
            if record.get("correlation_id") == request and record.get("operation_id"):
                if record["operation_id"] not in keys:
                    raise Failed(f"the log has another operation for the request {request}")
                return f"; in web.log under its request's id {request}"
    return ""


@suite.check("chat-cost", "Is its cost booked, to the nano-dollar?", needs=("chat-operation",))
def chat_cost(context: Context) -> str:
    """Compute it from tokens and prices, and compare ledger, admin and usage."""
    from django.utils import timezone

    from django_obc_ai.gateway import prices
    from django_obc_ai.models import AIOperation

    operations = context.seen["operations"]
    for each in operations:
        model = each.model_used or each.model_requested
        price = prices.find_price(model, each.created_at)
        if price is None or not each.cost_known:
            if context.configured().google_api_key is None and each.cost_usd == 0:
                continue
            raise Failed(f"{model} has no price: give it one in OBC_AI['PRICES']")
        cost = prices.cost_of(price, each.usage)
        if each.attempts == 1 and not (each.cached or each.coalesced) and cost != each.cost_usd:
            raise Failed(
                f"the operation {each.pk} cost ${cost:f}, and ${each.cost_usd:f} is booked"
            )
    before, after = context.seen["usage"], _usage(context)
    user = context.person().user
    rows = AIOperation.objects.filter(user_id=user.pk, created_at__gte=before["at"])
    booked = sum(rows.values_list("cost_usd", flat=True), Decimal(0))
    told = Decimal(after["cost_usd"]) - Decimal(before["cost_usd"])
    calls = after["calls"] - before["calls"]
    if told != booked or calls != len(rows):
        raise Failed(
            f"/api/usage/ counts {calls} calls for ${told:f}, and the ledger {len(rows)} for"
            f" ${booked:f}"
        )
    cost = sum((each.cost_usd for each in operations), Decimal(0))
    if not cost and context.configured().google_api_key is None:
        return "$0: the offline provider is free, and said to be"
    day = f"{timezone.localdate():%Y-%m-%d}"
    return f"${cost:f}; this verification's {calls} calls cost ${booked:f} on {day}"


def _usage(context: Context) -> dict[str, Any]:
    from django.utils import timezone

    at = timezone.now()
    answer = context.visitor(is_superuser=True).get("/api/usage/")
    if answer.status != 200:
        raise Failed(f"/api/usage/ answers {answer.status}: {answer.text[:200]}")
    return {**answer.json()["total"], "at": at}
