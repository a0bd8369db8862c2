"""Image, compose file and health check."""

from __future__ import annotations

import fnmatch
import re
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.rendered import DEPLOY, filled
from tests.subprocesses import ROOT

sys.path.insert(0, str(DEPLOY.parent))

from deploy.install import releases


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with filled() as found:
        yield found


def test_a_health_check_names_what_does_not_answer(home: Path) -> None:
    command = [sys.executable, str(DEPLOY / "live.py"), "streams", "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert f"streams does not answer at {home}/run/streams.sock" in done.stderr


def test_a_health_check_asks_by_a_name_of_the_site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_host = runpy.run_path(str(DEPLOY / "live.py"))["own_host"]
    monkeypatch.delenv("ALLOWED_HOSTS", raising=False)
    assert own_host(tmp_path) == "localhost"
    (tmp_path / ".env").write_text('DEBUG=0\nALLOWED_HOSTS=".a.example.org,b"\n')
    assert own_host(tmp_path) == "a.example.org"
    monkeypatch.setenv("ALLOWED_HOSTS", "c.example.org")
    assert own_host(tmp_path) == "c.example.org"


def compose() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())
    return found


def test_compose_has_every_service_with_a_health_check() -> None:
    services = compose()["services"]
    expected = {"postgres", "redis", "prepare", "web", "streams", "worker", "beat", "nginx"}
    assert expected <= set(services)
    for name in expected - {"web"}:  # web has the image's own
        assert "healthcheck" in services[name], name
    assert "pgvector" in services["postgres"]["image"]


def test_compose_holds_no_secret_and_opens_the_proxy_alone() -> None:
    services = compose()["services"]
    for name, service in services.items():
        assert "environment" not in service, name
        if name not in ("nginx", "prometheus"):
            assert "ports" not in service, name
    for name in ("web", "streams", "worker", "beat"):
        assert services[name]["read_only"] is True
        assert services[name]["cap_drop"] == ["ALL"]
        assert services[name]["env_file"] == ["${OBC_SITE_ENV:-.env}"]


def test_compose_keeps_data_in_volumes_that_are_named() -> None:
    found = compose()
    used = {
        volume.partition(":")[0]
        for service in found["services"].values()
        for volume in service.get("volumes", [])
        if not volume.startswith((".", "$"))
    }
    assert used == set(found["volumes"])
    assert {"inside", "outside"} == set(found["networks"])
    assert found["networks"]["inside"] == {"internal": True}


def test_whoever_renders_templates_has_the_list_of_static_files() -> None:
    for name, service in compose()["services"].items():
        if service["image"] == "obc-site:latest":
            kept = [each for each in service["volumes"] if each.startswith("static:")]
            mode = "" if name == "prepare" else ":ro"
            assert kept == [f"static:/srv/site/static{mode}"], name


def test_the_image_is_built_in_stages_and_runs_as_nobody_special() -> None:
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    stages = [line for line in lines if line.startswith("FROM ")]
    assert len(stages) == 2
    assert all("-slim" in stage for stage in stages)
    last = lines[lines.index(stages[1]) :]
    assert "USER 10001:10001" in last
    assert any(line.startswith("HEALTHCHECK") for line in last)
    assert not any(re.search(r"(SECRET|KEY|PASSWORD|TOKEN)\w*=", line) for line in lines)


# --- what the image is built from ----------------------------------------------------------------
#: A name of each kind that a release leaves out: see `_LEFT_OUT`.
LEFT_OUT = (
    "__pycache__", ".mypy_cache", ".git", ".hypothesis", ".coverage.1", "node_modules", "a.pyc",
    ".env", "key.pem", "db.sqlite3-wal", "metrics.token", "postgres.env", "a.py~", ".a.py.swp",
)  # fmt: skip


def reaches_image(path: str) -> bool:
    """Whether Docker copies a file: the last line that fits it, or a folder around it, decides."""
    parts, found = path.split("/"), True
    for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        pattern = line.removeprefix("!")
        start = r"(?:.*/)?" if pattern.startswith("**/") else ""
        rest = fnmatch.translate(pattern.removeprefix("**/")).replace(".*", "[^/]*")
        around = ["/".join(parts[:number]) for number in range(1, len(parts) + 1)]
        if any(re.match(start + rest, each) for each in around):
            found = line.startswith("!")
    return found


@pytest.mark.parametrize("folder", ["example_project/deploy", "django_obc_ai/backends"])
def test_no_secret_and_nothing_that_a_release_leaves_out_reaches_the_image(folder: str) -> None:
    for name in (*LEFT_OUT, ".env.production", "tls.key"):
        assert not reaches_image(f"{folder}/{name}"), name
    assert not reaches_image("example_project/deploy/tls/anything")
    assert not reaches_image(".git/config")
    for left_out in releases._LEFT_OUT.pattern.split("|"):
        assert any(re.fullmatch(left_out, name) for name in LEFT_OUT), f"no name for {left_out}"


def test_the_release_reaches_the_image() -> None:
    listed = [str(path.relative_to(ROOT)) for path in releases.files(ROOT)]
    lacking = [path for path in listed if not reaches_image(path)]
    assert [path for path in lacking if not path.endswith(".env.example")] == []
    assert reaches_image("pyproject.toml")
