"""The runner that hands tasks to Celery, by name."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar
from urllib.parse import quote

from django.core.checks import CheckMessage
from django.utils.module_loading import import_string

from django_obc_ai.backends.task_runners.base import BaseTaskRunner, run_at_once
from django_obc_ai.exceptions import ConfigurationError, TaskRunnerError

#: Celery's names of the package's tasks are their own with this before them.
PREFIX = "django_obc_ai."
#: What kombu waits for, in seconds, where a project says nothing: see its transports.
_VISIBILITY_SECONDS = {"redis": 3600, "sqs": 1800}
#: No message waits longer at a worker that keeps it for its time: RabbitMQ ends the connection of
#: one that has not confirmed a message for 30 minutes (``consumer_timeout``).
_MOST_DELAY_SECONDS = 600.0
_HIGHEST = 9  # of the priorities that all of kombu's transports know
_RETRY = {"max_retries": 1, "interval_start": 0, "interval_step": 0.1, "interval_max": 0.1}


class CeleryRunner(BaseTaskRunner):
    """Send tasks through the project's Celery app; its workers run them.

    Which queue they go to is Celery's ``task_routes``; they are all called ``django_obc_ai.…``.
    A broker that is down is asked twice, each time for `timeout_seconds` at most, whatever the
    app's own settings of retries are, and then the caller is told.
    """

    extra: ClassVar[str] = "celery"
    sdk_module: ClassVar[str] = "celery"

    def __init__(self, *, app: str | None = None, timeout_seconds: float = 2.0) -> None:
        """Keep the options.

        Args:
            app: Dotted path of the project's Celery app, such as ``"mysite.celery.app"``. None:
                the one that the project made its current app, as Celery's guide for Django does.
            timeout_seconds: How long to wait for the broker, to connect and for each answer.

        Raises:
            ValueError: `timeout_seconds` is no number above 0.
        """
        if type(timeout_seconds) not in (int, float) or not timeout_seconds > 0:
            raise ValueError("timeout_seconds is no number above 0")
        self.app_path = app
        self.timeout_seconds = float(timeout_seconds)
        self._lock = threading.Lock()
        self._pool: Any = None  # Any: Celery and kombu have no types
        self._pid = 0

    @property
    def app(self) -> Any:
        """The Celery app.

        Raises:
            ConfigurationError: The option `app` names none.
        """
        celery = self.import_sdk()
        if self.app_path is None:
            return celery.current_app
        try:
            found = import_string(self.app_path)
        except ImportError as error:
            raise ConfigurationError(
                f"CeleryRunner: app {self.app_path!r} cannot be imported: {error}.",
                hint="Give the dotted path of the project's Celery app: 'mysite.celery.app'.",
                check_id="E003",
            ) from error
        if not isinstance(found, celery.Celery):
            raise ConfigurationError(
                f"CeleryRunner: app {self.app_path!r} is no Celery app.",
                hint="Give the dotted path of the project's Celery app: 'mysite.celery.app'.",
                check_id="E003",
            )
        return found

    @property
    def is_immediate(self) -> bool:
        """Is the app told to run tasks at once, as in tests? send_task() would not heed it."""
        return bool(self.app.conf.task_always_eager)

    @property
    def supports_delay(self) -> bool:
        """A task can wait, unless it runs at once."""
        return not self.is_immediate

    @property
    def supports_priority(self) -> bool:
        """Redis always keeps to priorities; RabbitMQ does in queues with ``x-max-priority``."""
        return not self.is_immediate

    @property
    def visibility_seconds(self) -> float | None:
        """After how long the broker takes a task for lost and hands it out again.

        None where it does not by a clock, as RabbitMQ, which sees the connection end.
        """
        conf = self.app.conf
        kind = _kind(conf.broker_write_url or conf.broker_url or "")
        if kind not in _VISIBILITY_SECONDS:
            return None
        return float(
            conf.broker_transport_options.get("visibility_timeout", _VISIBILITY_SECONDS[kind])
        )

    def _send(
        self, name: str, arguments: dict[str, Any], *, delay_seconds: float, priority: int
    ) -> None:
        """See BaseTaskRunner.enqueue()."""
        app = self.app
        if app.conf.task_always_eager:
            run_at_once(name, arguments)
            return
        delay_seconds = min(delay_seconds, _MOST_DELAY_SECONDS)
        visible = self.visibility_seconds
        if visible is not None:
            # A worker keeps delayed tasks to itself; others would get them again meanwhile.
            delay_seconds = min(delay_seconds, visible / 2)
        with self._told(), self._producers(app).acquire(block=True, timeout=10) as producer:
            app.send_task(
                PREFIX + name,
                kwargs=arguments,
                producer=producer,
                serializer="json",
                ignore_result=True,
                add_to_parent=False,
                countdown=delay_seconds or None,
                priority=_priority(priority, producer.connection),
                retry=True,
                retry_policy=_RETRY,
            )

    def ping(self) -> None:
        """See BaseTaskRunner.ping()."""
        app = self.app
        if not app.conf.task_always_eager:
            with self._told(), self._connection(app) as connection:
                connection.ensure_connection(**_RETRY)

    def waiting(self) -> int | None:
        """Return how many messages wait in the queue that jobs are sent to.

        Those of the project's own tasks that go to the same queue are among them. None where the
        transport cannot count, or nobody has made the queue yet; Redis knows no queue but one in
        which something waits.
        """
        app = self.app
        if app.conf.task_always_eager:
            return None
        with self._told(), self._connection(app) as connection:
            queue = app.amqp.router.route({}, PREFIX + "generate_text")["queue"]
            try:
                connection.ensure_connection(**_RETRY)
                found = queue.bind(connection.channel()).queue_declare(passive=True)
            except (NotImplementedError, *connection.channel_errors) as error:
                is_missing = str(getattr(error, "reply_code", "")) == "404"
                is_redis = connection.transport.driver_type == "redis"
                return 0 if is_missing and is_redis else None
            return int(found.message_count)

    def check(self, setting: str) -> list[CheckMessage]:
        """Import the app, so that a wrong path is reported."""
        self.app  # noqa: B018 - raises
        return []

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            pool, self._pool = self._pool, None
        if pool is not None and self._pid == os.getpid():
            pool.force_close_all()
            pool.connections.force_close_all()

    def _producers(self, app: Any) -> Any:
        """The open connections of this process, of which each is used by one thread at a time."""
        with self._lock:
            if self._pool is None or self._pid != os.getpid():  # a fork brought the parent's along
                pools = self.import_sdk("kombu.pools")
                limit = app.conf.broker_pool_limit or 1
                connections = self._connection(app).Pool(limit=limit)
                self._pool = pools.ProducerPool(
                    connections, limit=limit, Producer=app.amqp.Producer
                )
                self._pid = os.getpid()
            return self._pool

    def _connection(self, app: Any) -> Any:
        """A connection with our patience; nothing is connected yet."""
        seconds = self.timeout_seconds
        conf = app.conf
        options: dict[str, Any] = {}
        url = conf.broker_write_url or conf.broker_url or ""
        kind = _kind(url)
        if kind == "redis":
            options = {"socket_timeout": seconds, "socket_connect_timeout": seconds}
            if _scheme(url) == "sentinel":
                # Which redis-py would ask ten times, with pauses.
                retry = self.import_sdk("redis.retry").Retry
                pause = self.import_sdk("redis.backoff").NoBackoff
                given = conf.broker_transport_options.get("sentinel_kwargs") or {}
                patience = {**options, "retry": retry(pause(), 0)}
                options["sentinel_kwargs"] = {**given, **patience}
        elif kind == "amqp":
            # Without a confirmation, what is sent to a server that just died counts as sent.
            options = {"read_timeout": seconds, "write_timeout": seconds, "confirm_publish": True}
        return app.connection_for_write(connect_timeout=seconds, transport_options=options)

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Make errors of the broker ours, without the passwords that they may name."""
        try:
            yield
        except ConfigurationError:
            raise
        except Exception as error:  # noqa: BLE001 - kombu's transports raise what their SDKs do
            text = type(error).__name__
            if not isinstance(error, ValueError):  # which quotes pieces of an unreadable URL
                text = f"{text}: {error}"
            for secret in _secrets(self.app):
                text = text.replace(secret, "…")
            raise TaskRunnerError(
                f"Celery's broker cannot be reached, or refuses: {text}"
            ) from None  # the traceback would show the message as it was written


def _scheme(url: str | list[str]) -> str:
    first = (url if isinstance(url, str) else next(iter(url), "")).partition(";")[0]
    return first.partition("://")[0].partition("+")[0] if "://" in first else "amqp"


def _kind(url: str | list[str]) -> str:
    """Name the family of transports of a broker's URL: "redis", "amqp", "sqs" or another."""
    scheme = _scheme(url)
    if scheme in ("redis", "rediss", "valkey", "valkeys", "sentinel"):
        return "redis"
    return "amqp" if scheme in ("amqp", "amqps", "pyamqp") else scheme


def _priority(priority: int, connection: Any) -> int | None:
    """Translate: 0 is what the project's settings give; Redis's higher numbers are later ones."""
    if not priority:
        return None
    is_redis = connection.transport.driver_type == "redis"
    return min(_HIGHEST, max(0, -priority if is_redis else priority))


def _secrets(app: Any) -> list[str]:
    """What must not be shown: the passwords in the broker's URLs and whole URLs, longest first."""
    found: set[str] = set()
    for key in ("broker_url", "broker_write_url", "broker_password"):
        value = app.conf.get(key) or ""
        for each in value.split(";") if isinstance(value, str) else value:
            found.add(each)
            login = each.rpartition("@")[0].partition("://")[2]
            password = login.partition(":")[2]
            found |= {password, quote(password, safe="")}
    return sorted(found - {""}, key=len, reverse=True)
