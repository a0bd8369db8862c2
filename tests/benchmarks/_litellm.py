"""LiteLLM beside us, in an environment of its own, because its pins would change ours."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]


@cache
def environment() -> tuple[Path | None, str]:
    """Return a Python that has LiteLLM, and its version; None and why there is none."""
    folder = ROOT / ".venv-tests" / "litellm"
    python = folder / "bin" / "python"
    ask = "import importlib.metadata as m; print(m.version('litellm'))"
    commands = [
        ["bash", str(ROOT / "tests" / "make_venv.sh"), sys.executable, str(folder)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
         "--group", "bench-litellm"],
        [str(python), "-c", ask],
    ]  # fmt: skip
    done = None
    for command in commands:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)
        if done.returncode:
            return None, (done.stderr.strip().splitlines() or ["no reason given"])[-1]
    assert done is not None
    return python, done.stdout.strip()


class Speaker:
    """A process that answers lines of JSON."""

    def __init__(self, command: list[str], stack: ExitStack) -> None:
        self.process = stack.enter_context(
            subprocess.Popen(
                command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
            )
        )
        stack.callback(self.process.kill)

    def tell(self, do: str, **order: Any) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **order}) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        """Return the next answer.

        Raises:
            SystemExit: The process has ended.
        """
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if not line:
            raise SystemExit(f"A process ended: {self.process.args!r}")
        return json.loads(line)

    def ask(self, do: str, **order: Any) -> Any:
        self.tell(do, **order)
        return self.hear()


def start(python: Path, stack: ExitStack) -> Speaker:
    """Start LiteLLM and return when it is imported."""
    speaker = Speaker([str(python), str(Path(__file__).with_name("_litellm_worker.py"))], stack)
    speaker.hear()
    return speaker


def ask_as_one(processes: int = 4, callers: int = 16) -> list[str]:
    """Ask LiteLLM the same from all at once, with its cache on Redis; say what happened."""
    from tests.servers.chat_completions import GOOD_KEY, Reply, run_chat_completions
    from tests.servers.valkey import run_redis

    python, version = environment()
    if python is None:
        return [f"LiteLLM could not be installed: {version}"]
    with ExitStack() as stack:
        redis = stack.enter_context(run_redis())
        server = stack.enter_context(run_chat_completions())
        speakers = [start(python, stack) for _ in range(processes)]
        counts = []
        for number in range(5):
            before = len(server.journal)
            server.script(*[Reply("One answer.", delay_seconds=0.5)] * (processes * callers))
            at = time.monotonic() + (3.0 if number == 0 else 0.4)
            for each in speakers:
                each.tell(
                    "once", url=server.url, key=GOOD_KEY, redis_port=redis.port, at=at,
                    prompt=f"What is number {number}?", callers=callers,
                )  # fmt: skip
            answers = [text for each in speakers for text in each.hear()]
            if answers != ["One answer."] * (processes * callers):
                raise SystemExit(f"LiteLLM answered {answers[:2]}, {len(answers)} times.")
            counts.append(len(server.journal) - before)
    calls = ", ".join(map(str, counts))
    return [
        (
            f"LiteLLM {version}, `completion(caching=True)` with its cache on Redis, {processes}"
            f" processes of {callers} threads, a server that takes half a second: {calls} paid"
            f" calls for {processes * callers} equal questions, in five rounds."
        )
    ]
