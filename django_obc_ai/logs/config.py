"""A ready ``LOGGING``; it reads no setting and loads no Django, so that settings can call it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

_MEBIBYTE = 1024 * 1024
_HERE = "django_obc_ai.logs"
#: What the SDKs log below warnings are requests: addresses, and in some the prompt itself.
SDK_LOGGERS = (
    "google", "google_genai", "grpc", "httpcore", "httpcore2", "httpx", "httpx2", "openai",
    "urllib3",
)  # fmt: skip


def logging_config(
    folder: str | Path | None = "logs",
    *,
    level: str = "INFO",
    calls_level: str = "INFO",
    django_level: str = "INFO",
    json_to_stdout: bool = True,
    max_bytes: int = 10 * _MEBIBYTE,
    backup_count: int = 5,
) -> dict[str, Any]:
    """Return a new ``LOGGING`` dictionary, to be used as it is or changed.

    The records of this package go to ``ai_assistant.log`` and Django's to ``django.log``, both
    rotated and safe with any number of processes; all records, those of the project included,
    go to standard output as JSON, one line each. Every record has its correlation id.

    Args:
        folder: Where the files lie; made with the first record. None writes none.
        level: Of the logger ``django_obc_ai``.
        calls_level: Of ``django_obc_ai.calls``: "INFO" is a line for each call that was paid
            for, "DEBUG" also for those that the cache answered, "WARNING" for failures alone.
        django_level: Of the logger ``django``, and of all others.
        json_to_stdout: Whether there is anything on standard output.
        max_bytes: A file of this size is rotated.
        backup_count: Files kept of each besides.
    """
    handlers: dict[str, dict[str, Any]] = {}
    files: dict[str, list[str]] = {"django_obc_ai": [], "django": []}
    if folder is not None:
        for logger, name in (("django_obc_ai", "ai_assistant"), ("django", "django")):
            files[logger] = [f"obc_ai_{name}_file"]
            handlers[f"obc_ai_{name}_file"] = {
                "class": f"{_HERE}.handlers.SharedRotatingFileHandler",
                "filename": str(Path(folder) / f"{name}.log"),
                "max_bytes": max_bytes,
                "backup_count": backup_count,
                "formatter": "obc_ai_text",
                "filters": ["obc_ai_correlation"],
            }
    if json_to_stdout:
        handlers["obc_ai_stdout"] = {
            "class": "logging.StreamHandler",
            "stream": "ext://sys.stdout",
            "formatter": "obc_ai_json",
            "filters": ["obc_ai_correlation"],
        }
    config: dict[str, Any] = {
        "version": 1,
        "disable_existing_loggers": False,
        "filters": {"obc_ai_correlation": {"()": f"{_HERE}.correlation.CorrelationFilter"}},
        "formatters": {
            "obc_ai_json": {"()": f"{_HERE}.formatters.JsonFormatter"},
            "obc_ai_text": {"()": f"{_HERE}.formatters.TextFormatter"},
        },
        "handlers": handlers,
        "loggers": {
            "django_obc_ai": {"level": level, "handlers": files["django_obc_ai"]},
            "django_obc_ai.calls": {"level": calls_level},
            "django": {"level": django_level, "handlers": files["django"]},
            **{name: {"level": "WARNING"} for name in SDK_LOGGERS},
        },
    }
    if json_to_stdout:
        config["root"] = {"level": django_level, "handlers": ["obc_ai_stdout"]}
    return config
