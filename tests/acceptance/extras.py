"""Install each extra alone into an empty environment, and use what it is for.

For every extra: a fresh virtual environment, the built wheel with that one extra, nothing else.
There a new project is made; `manage.py check` and `migrate` pass, and the backend is imported and
does something real: providers answer from loopback servers that speak their protocols, Redis and
Celery work with a real server and a real worker. No second extra is there, but what the first
brings along itself, and for `chunking` the grammar that its page tells to install.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import tomllib
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from tests.acceptance._extras_uses import USES

ROOT = Path(__file__).resolve().parent.parent.parent
SMALL = ("redis", "openai", "prometheus", "chat")
WORKERS = 2
_SETTINGS = """
INSTALLED_APPS += ["django_obc_ai"]
from uses import settings_of
globals().update(settings_of(EXTRA))
ALLOWED_HOSTS = ["localhost"]
try:
    import rest_framework
except ModuleNotFoundError:
    pass
else:
    INSTALLED_APPS += ["rest_framework"]
"""
_URLS = """
if EXTRA == "drf":
    from django.urls import include
    urlpatterns += [path("ai/api/", include("django_obc_ai.api.urls"))]
if EXTRA == "django-health-check":
    from health_check.views import HealthCheckView
    checks = [("django_obc_ai.health.AIHealthCheck", {})]
    urlpatterns += [path("health/", HealthCheckView.as_view(checks=checks))]
"""
_CELERY = """
import os
from celery import Celery
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
app = Celery("mysite")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
_COUNT = "import importlib.metadata as m; print(len(list(m.distributions())))"


@dataclass(frozen=True)
class Outcome:
    """What became of one extra; `fault` is "" if everything worked."""

    extra: str
    count: int = 0
    done: str = ""
    fault: str = ""


class Trial:
    """One environment and one project."""

    def __init__(self, extra: str, folder: Path, wheel: Path, given: dict[str, str]) -> None:
        self.extra, self.folder, self._wheel = extra, folder, wheel
        self._python = folder / "venv" / "bin" / "python"
        # Nothing of the environment that this runs in, and no cache of another's bytecode.
        kept = {
            n: v for n, v in os.environ.items() if not n.startswith(("PYTHON", "DJANGO", "OBC_"))
        }
        self._environment = {**kept, "OBC_AI_EXTRAS": json.dumps(given), "PYTHONPATH": str(folder)}

    def run(self) -> Outcome:
        try:
            self._install()
            self._make_project()
            self._python_does("manage.py", "check")
            self._python_does("manage.py", "migrate", "--verbosity", "0")
            done = self._python_does("uses.py", self.extra).splitlines()[-1]
            count = int(self._python_does("-c", _COUNT))
        except subprocess.CalledProcessError as error:
            told = (error.stdout or "").strip().splitlines()[-12:]
            return Outcome(self.extra, fault="\n".join(told) or str(error))
        except subprocess.TimeoutExpired as error:
            return Outcome(self.extra, fault=f"no end after {error.timeout} s")
        return Outcome(self.extra, count, done)

    def _install(self) -> None:
        base = getattr(sys, "_base_executable", sys.executable)
        self._do(base, "-m", "venv", "--without-pip", str(self.folder / "venv"))
        install = [sys.executable, "-m", "pip", "--python", str(self._python)]
        install += [
            "--disable-pip-version-check",
            "install",
            "--quiet",
            "--no-warn-script-location",
        ]
        self._do(*install, f"{self._wheel}[{self.extra}]", *USES[self.extra][2])
        self._do(sys.executable, "-m", "pip", "--python", str(self._python), "check")

    def _make_project(self) -> None:
        self._python_does("-m", "django", "startproject", "mysite", ".")
        site, head = self.folder / "mysite", f"\nEXTRA = {self.extra!r}\n"
        uses = Path(__file__).with_name("_extras_uses.py").read_text()
        (self.folder / "uses.py").write_text(uses)
        for name, text in (("settings.py", _SETTINGS), ("urls.py", _URLS)):
            with (site / name).open("a") as stream:
                stream.write(head + text)
        if self.extra in ("celery", "all"):
            (site / "celery.py").write_text(_CELERY)
            (site / "__init__.py").write_text("from mysite.celery import app as celery_app\n")

    def _python_does(self, *arguments: str) -> str:
        return self._do(str(self._python), *arguments)

    def _do(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=900,
            check=True,
        )
        return done.stdout


def build_wheel(folder: Path) -> Path:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--quiet",
        "--no-deps",
        "--wheel-dir",
        str(folder),
    ]
    subprocess.run([*command, str(ROOT)], check=True)
    (found,) = folder.glob("*.whl")
    return found


def serve(stack: ExitStack, folder: Path) -> dict[str, str]:
    """Start what the extras talk to."""
    from tests.backends import onnx_models
    from tests.servers.chat_completions import run_chat_completions
    from tests.servers.gemini import run_gemini
    from tests.servers.valkey import run_redis

    gemini = stack.enter_context(run_gemini())
    completions = stack.enter_context(run_chat_completions())
    model = onnx_models.save(folder / "model", onnx_models.make_weights())
    return {
        "gemini": gemini.url,
        "gemini key": gemini.key,
        "openai": completions.url,
        "openai key": completions.key,
        "redis": stack.enter_context(run_redis()).url,
        "onnx": str(model),
    }


def report(outcomes: list[Outcome]) -> str:
    lines = [
        "# Each extra alone",
        "",
        (__doc__ or "").strip(),
        "",
        f"Python {platform.python_version()}. Command: `./tests/acceptance/run.sh extras`",
        "",
        "| Extra | distributions in the environment | what was done |",
        "|---|---|---|",
        *(f"| `{o.extra}` | {o.count or ''} | {o.done or 'FAILED'} |" for o in outcomes),
        "",
        f"extras: {len(outcomes)}, failed: {sum(bool(each.fault) for each in outcomes)}",
        "",
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    if set(USES) != set(declared["optional-dependencies"]):
        raise SystemExit("The extras of pyproject.toml are not those that are tried here.")
    wanted = SMALL if options.small else tuple(USES)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        wheel = build_wheel(Path(folder) / "wheel")
        (Path(folder) / "model").mkdir()
        given = serve(stack, Path(folder))
        trials = []
        for extra in wanted:
            (Path(folder) / extra).mkdir()
            trials.append(Trial(extra, Path(folder) / extra, wheel, given))
        with ThreadPoolExecutor(WORKERS) as pool:
            outcomes = list(pool.map(_told, trials))
    Path(options.out).write_text(report(outcomes), encoding="utf-8")
    if any(each.fault for each in outcomes):
        raise SystemExit("An extra alone does not work.")


def _told(trial: Trial) -> Outcome:
    outcome = trial.run()
    print(f"{trial.extra}: {outcome.fault or outcome.done}", flush=True)
    return outcome


if __name__ == "__main__":
    main()
