"""Bodies of refused requests, in the shapes that the real service uses."""

from __future__ import annotations

from typing import Any

from tests.servers.gemini import tokens
from tests.servers.gemini.replies import QUOTA_PER_DAY, Reply
from tests.servers.gemini.wire import ApiError

STATUSES = {
    400: ("INVALID_ARGUMENT", "Request contains an invalid argument."),
    401: (
        "UNAUTHENTICATED",
        "Request had invalid authentication credentials. Expected OAuth 2 access token.",
    ),
    402: ("RESOURCE_EXHAUSTED", "Your prepayment credits are depleted."),
    403: ("PERMISSION_DENIED", "Your project has been denied access. Please contact support."),
    404: ("NOT_FOUND", "Requested entity was not found."),
    408: ("DEADLINE_EXCEEDED", "The request timed out before it could be read."),
    429: ("RESOURCE_EXHAUSTED", "Resource has been exhausted (e.g. check quota)."),
    499: ("CANCELLED", "The operation was cancelled."),
    500: ("INTERNAL", "An internal error has occurred. Please retry or report it."),
    501: ("UNIMPLEMENTED", "Operation is not implemented, or supported, or enabled."),
    502: ("UNAVAILABLE", "Bad gateway."),
    503: ("UNAVAILABLE", "The model is overloaded. Please try again later."),
    504: ("DEADLINE_EXCEEDED", "Deadline expired before operation could complete."),
}
HTML = (
    "<!DOCTYPE html>\n<html lang=en>\n  <title>Error {status} (Server Error)!!1</title>\n"
    "  <p><b>{status}.</b> <ins>That’s an error.</ins>\n"  # noqa: RUF001 - as the service has it
    "  <p>The server encountered a temporary error and could not complete your request.\n</html>\n"
)
TYPES = "type.googleapis.com/google.rpc."
BAD_KEY_MESSAGE = "API key not valid. Please pass a valid API key."


def html_page(status: int) -> bytes:
    return HTML.replace("{status}", str(status)).encode()


def refusal(error: ApiError) -> Reply:
    """The reply for a request that the server itself refuses."""
    return Reply(
        name=f"refused {error.status}",
        status=error.status,
        error_message=error.message,
        reason=error.reason,
    )


def error_object(reply: Reply, model: str) -> dict[str, Any]:
    """The body ``{"error": …}`` of a reply. A stream that breaks off without a status has 503."""
    code = 503 if reply.status == 200 else reply.status
    name, message = STATUSES.get(code, ("UNKNOWN", f"Error {code}."))
    if reply.reason == "API_KEY_INVALID":
        message = BAD_KEY_MESSAGE
    elif reply.quota:
        message = _quota_message(reply)
    error: dict[str, Any] = {
        "code": code,
        "message": reply.error_message or message,
        "status": reply.error_status or name,
    }
    details = _details(reply, message, model)
    return {"error": {**error, "details": details} if details else error}


def _quota_message(reply: Reply) -> str:
    text = (
        "You exceeded your current quota, please check your plan and billing details. For more"
        " information on this error, head to: https://ai.google.dev/gemini-api/docs/rate-limits.\n"
        "* Quota exceeded for metric:"
        " generativelanguage.googleapis.com/generate_content_free_tier_requests, limit:"
        f" {_quota_value(reply)}"
    )
    return f"{text}\nPlease retry in {reply.retry_delay}." if reply.retry_delay else text


def _quota_value(reply: Reply) -> str:
    return "250" if reply.quota == QUOTA_PER_DAY else "10"


def _details(reply: Reply, message: str, model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    if reply.reason:
        domain, service = "googleapis.com", "generativelanguage.googleapis.com"
        info = {"reason": reply.reason, "domain": domain, "metadata": {"service": service}}
        found.append({"@type": f"{TYPES}ErrorInfo", **info})
    if reply.reason == "API_KEY_INVALID":
        text = {"locale": "en-US", "message": message}
        found.append({"@type": f"{TYPES}LocalizedMessage", **text})
    if reply.quota:
        link = {
            "description": "Learn more about Gemini API quotas",
            "url": "https://ai.google.dev/gemini-api/docs/rate-limits",
        }
        found.append({"@type": f"{TYPES}Help", "links": [link]})
        metric = "generativelanguage.googleapis.com/generate_content_free_tier_requests"
        violation = {
            "quotaMetric": metric,
            "quotaId": reply.quota,
            "quotaDimensions": {"location": "global", "model": model},
            "quotaValue": _quota_value(reply),
        }
        found.append({"@type": f"{TYPES}QuotaFailure", "violations": [violation]})
    if reply.retry_delay:
        found.append({"@type": f"{TYPES}RetryInfo", "retryDelay": reply.retry_delay})
    return found


def error_body(reply: Reply, *, model: str, is_array_stream: bool) -> tuple[bytes, str]:
    """Return the body of a refusal and its content type."""
    if reply.error_shape == "html":
        return html_page(reply.status), "text/html; charset=UTF-8"
    body: Any = error_object(reply, model)
    if reply.error_shape == "array" or (reply.error_shape == "auto" and is_array_stream):
        body = [body]
    return tokens.compact(body).encode(), "application/json; charset=UTF-8"


def model_not_found(model: str, version: str, method: str) -> ApiError:
    return ApiError(
        404,
        f"models/{model} is not found for API version {version}, or is not supported for {method}."
        " Call ListModels to see the list of available models and their supported methods.",
    )
