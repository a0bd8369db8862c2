"""The pages on deploying otherwise than by script: they agree with the kit, and are followed.

Those on an existing site, on tenants and on upgrading are followed by test_howtos.py.
"""

from __future__ import annotations

import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import get_commands
from django.test import override_settings

from django_obc_ai import conf
from django_obc_ai.checks.settings import check_settings
from tests.deploy.conftest import migrated
from tests.deploy.manifests import pod
from tests.docs.markdown import DOCS, Block, blocks, links, names, section, table_rows
from tests.docs.test_guarantees import figures_of
from tests.docs.test_howto_deploy import EXAMPLE, HOME, Shell, home, needs_site, write_settings
from tests.servers.valkey import RedisServer
from tests.subprocesses import ROOT

__all__ = ["home", "migrated"]
HOWTO = DOCS / "howto"
SCRIPT, HAND, DOCKER, KUBERNETES, BUSY, STREAM, CHOICE = (
    HOWTO / f"{name}.md"
    for name in (
        "deploy-a-site", "deploy-by-hand", "deploy-with-docker", "deploy-on-kubernetes",
        "deploy-for-high-traffic", "stream-under-asgi", "choose-a-deployment",
    )
)  # fmt: skip
DEPLOY = EXAMPLE / "deploy"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yml").read_text())["services"]
_RESULT = re.compile(r"\[([\w-]+)\]\(\.\./acceptance/([\w-]+)\.md\)")


def code(page: Path, *languages: str) -> str:
    """Return the text of a page's blocks, with continued lines made one."""
    found = "\n".join(each.text for each in blocks(page) if each.language in languages)
    return re.sub(r"\\\n\s*", "", found)


# --- figures -------------------------------------------------------------------------------------
@pytest.mark.parametrize("page", [BUSY, STREAM, CHOICE, KUBERNETES], ids=lambda path: path.stem)
def test_measured_figures_stand_in_the_results_that_they_name(page: Path) -> None:
    compared = 0
    for *cells, last in table_rows(page.read_text()):
        if found := _RESULT.fullmatch(last):
            assert found[1] == found[2]
            measured = figures_of((DOCS / "acceptance" / f"{found[2]}.md").read_text())
            assert figures_of(cells[-1]) and figures_of(cells[-1]) <= measured, cells
            compared += 1
        else:
            assert not re.search(r"\d m?s\b", " ".join([*cells, last])), f"not measured: {cells}"
    assert compared >= 5


def test_steps_by_hand_take_what_the_scripts_took() -> None:
    steps_of = table_rows((DOCS / "acceptance/deploy_kit.md").read_text())
    told = {row[0]: row[1] for row in steps_of if len(row) == 2}
    headings = set(re.findall(r"^## (.*)$", HAND.read_text(), re.MULTILINE))
    rows = table_rows(section(HAND, "How long it takes"))
    assert len(rows) == 5
    for part, steps, seconds in rows:
        assert part in headings
        assert [told[step] for step in steps.split(", ")] == seconds.split(", "), part


def test_figures_in_the_text_are_those_of_their_results() -> None:
    kit = figures_of((DOCS / "acceptance/deploy_kit.md").read_text())
    assert {"20", "360", "732"} <= kit
    upgrade = (HOWTO / "upgrade.md").read_text()
    assert all(each in upgrade for each in ("20 s", "360 answers", "732 answers"))
    load = (DOCS / "acceptance/deploy_load.md").read_text()
    assert "301 ms" in load and "603 ms" in load and "301 ms" in STREAM.read_text()


def test_each_way_of_the_choice_is_a_page_or_a_proof_that_is_there() -> None:
    targets = {target for _, target in links(CHOICE)}
    ways = {path.name for path in HOWTO.glob("deploy-*.md")}
    assert len(ways) == 6 and ways <= targets
    for page in (HAND, DOCKER, KUBERNETES, BUSY, STREAM, CHOICE):
        for name in re.findall(r"tests/acceptance/run\.sh (\w+)", page.read_text()):
            assert (ROOT / "tests/acceptance" / f"{name}.py").is_file(), name
        for name in re.findall(r"`(tests/[\w/]+\.py)`", page.read_text()):
            assert (ROOT / name).is_file(), name


# --- by hand -------------------------------------------------------------------------------------
def follow(shell: Shell, block: Block) -> None:
    """Run the commands of a block, each of them in one line."""
    text = re.sub(r"\\\n\s*", "", block.text)
    shell.run(Block(language="console", text=text, line=block.line))


@needs_site
@pytest.mark.skipif(shutil.which("openssl") is None, reason="there is no openssl")
def test_the_page_by_hand_does_what_it_says(home: Path, redis_server: RedisServer) -> None:
    shutil.rmtree(home)  # all of it is made by the page
    home.mkdir()
    shell, done = Shell(home), 0
    (settings,) = [each.text for each in blocks(SCRIPT) if each.language == "ini"]
    settings = re.sub("^(DATABASE_URL|GOOGLE_API_KEY)=.*\n", "", settings, flags=re.MULTILINE)
    settings = settings.replace("redis://localhost:6379/0", redis_server.url)
    assert redis_server.url in settings
    for block in blocks(HAND):
        if "venv venvs/1" in block.text:
            (home / "venvs/1").symlink_to(sys.prefix)
        elif block.language == "sh":
            (home / "run/next.sh").write_text(block.text.replace(HOME, str(home)))
        elif block.language == "console":
            if "deploy.env" in block.text:
                write_settings(home, settings)
            follow(shell, block)
            done += 1
    assert done >= 9
    assert (home / "current").readlink() == Path("releases/1")  # gone back
    preparing = (DEPLOY / "install/preparing.py").read_text()
    folders = re.search(r"FOLDERS = \{(.*?)\}", preparing, re.DOTALL)
    assert folders is not None
    for name, mode in re.findall(r'"(\w+)": (0o\d+)', folders[1]):
        assert (home / name).stat().st_mode & 0o777 == int(mode, 8), name
    assert {"supervisord.conf", "nginx.conf"} <= {each.name for each in (home / "conf").iterdir()}
    assert (home / "static/staticfiles-2.json").is_file()


def test_the_page_by_hand_installs_as_script_and_image_do() -> None:
    options = "--require-hashes --only-binary :all:"
    assert options in code(HAND, "text") and options in (DEPLOY / "Dockerfile").read_text()
    assert (
        '"--require-hashes", "--only-binary", ":all:"'
        in (DEPLOY / "install/packages.py").read_text()
    )


def test_programs_that_are_told_something_are_there() -> None:
    conf_in = (DEPLOY / "supervisord.conf.in").read_text()
    programs = set(re.findall(r"^\[program:(\w+)\]", conf_in, re.MULTILINE))
    told = re.findall(r"supervisorctl -c \S+ (?:signal HUP|restart) (.*)", code(HAND, "text"))
    assert [set(each.split()) <= programs for each in told] == [True, True]
    for name in re.findall(r"scripts/(\w+\.sh)", code(HAND, "text", "console")):
        assert (EXAMPLE / "scripts" / name).is_file(), name


# --- Docker --------------------------------------------------------------------------------------
def test_services_and_volumes_are_those_of_compose() -> None:
    rows = {row[0].strip("`"): row for row in table_rows(section(DOCKER, "Start it"))}
    assert set(rows) == set(COMPOSE)
    volumes = set(yaml.safe_load((DEPLOY / "compose.yml").read_text())["volumes"])
    for name, row in rows.items():
        assert set(names(row[2])) <= volumes
        mounted = {each.partition(":")[0] for each in COMPOSE[name].get("volumes", [])}
        assert set(names(row[2])) <= mounted, name
    commands = code(DOCKER, "text", "sh")
    for service in re.findall(r"docker compose (?:exec -T|run --rm) (\w+)", commands):
        assert service in COMPOSE
    for command in re.findall(r"example_project/manage\.py (\w+)", commands):
        assert command in {*get_commands(), "load_places"}, command
    for variable in ("OBC_SITE_ENV", "OBC_SITE_POSTGRES_ENV", "OBC_SITE_TLS"):
        assert variable in DOCKER.read_text() and variable in (DEPLOY / "compose.yml").read_text()


def test_files_of_docker_are_those_that_compose_describes() -> None:
    described = (DEPLOY / "compose.yml").read_text().partition("\nname:")[0]
    for block in blocks(DOCKER):
        if block.language == "ini":
            for line in block.text.splitlines():
                assert f"#   {line}\n" in described, line


def test_the_cron_job_of_docker_is_a_script(tmp_path: Path) -> None:
    (script,) = [each.text for each in blocks(DOCKER) if each.language == "sh"]
    folder, backups = tmp_path / "code/example_project/deploy", tmp_path / "backups"
    for each in (folder, backups, tmp_path / "bin"):
        each.mkdir(parents=True)
    (tmp_path / "bin/docker").write_text('#!/bin/sh\n[ "$PWD" != / ] && echo dumped\n')
    (tmp_path / "bin/docker").chmod(0o755)
    script = script.replace("/srv/site", str(tmp_path)).replace("/srv/backups", str(backups))
    own = {"PATH": f"{tmp_path}/bin:/usr/bin:/bin"}
    subprocess.run(["sh", "-c", script], env=own, check=True, cwd="/")
    (made,) = backups.iterdir()
    assert re.fullmatch(r"site-\d{4}-\d\d-\d\d\.dump", made.name)
    assert made.read_text() == "dumped\n" and made.stat().st_mode & 0o777 == 0o600


# --- Kubernetes ----------------------------------------------------------------------------------
def test_files_of_the_page_are_those_of_the_folder() -> None:
    rows = table_rows(section(KUBERNETES, "What runs"))
    files = {path.name for path in (DEPLOY / "kubernetes").iterdir()}
    assert {row[0].strip("`") for row in rows} == files - {"kustomization.yaml"}


def test_memory_that_the_page_tells_is_what_containers_ask_for() -> None:
    told = {
        names(row[0])[0]: re.findall(r"(\d+) Mi", row[0])
        for row in table_rows(section(KUBERNETES, "How many"))
    }
    every = [each for name in ("site", "worker", "beat") for each in pod(name).spec["containers"]]
    asked = {each["name"]: each["resources"]["requests"]["memory"] for each in every}
    assert {name: f"{found[0]}Mi" for name, found in told.items()} == asked


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_a_kustomization_of_ones_own_changes_the_host_everywhere(tmp_path: Path) -> None:
    (block,) = [each.text for each in blocks(KUBERNETES) if each.language == "yaml"]
    (tmp_path / "kustomization.yaml").write_text(block)
    (tmp_path / "code/example_project").mkdir(parents=True)
    shutil.copytree(DEPLOY / "kubernetes", tmp_path / "code/example_project/deploy/kubernetes")
    command = ["kubectl", "kustomize", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "atlas.example.org" not in done.stdout
    assert done.stdout.count("ai.example.org") >= 5
    images = set(re.findall(r"image: (\S+)", done.stdout))
    assert "registry.example.org/obc-site:1" in images and "obc-site:1" not in images


# --- traffic and streams -------------------------------------------------------------------------
def test_the_busy_settings_are_ones_that_the_package_takes(tmp_path: Path) -> None:
    (block,) = [each.text for each in blocks(BUSY) if each.language == "python"]
    (tmp_path / "busy.py").write_text(block)
    found = runpy.run_path(str(tmp_path / "busy.py"))
    with override_settings(OBC_AI=found["OBC_AI"]):
        settings = conf.get_settings()
        assert settings.log.rows == "batched"
        assert {each.id for each in check_settings()} <= {"django_obc_ai.W008"}
    known = names(section(BUSY, "7. Watch it"))
    alerts = (DOCS / "monitoring/alerts.yml").read_text()
    for name in known:
        assert not name.startswith("Obc") or f"alert: {name}\n" in alerts


def test_the_kits_column_is_the_kit() -> None:
    settings = (DEPLOY / "settings.py").read_text()
    rows = {row[0]: row[1] for row in table_rows(section(BUSY, "What the kit has"))}
    for row, word in (
        ("Redis for costs, limits, cache", "RedisCostStore"),
        ("Celery, beat", "CeleryRunner"),
        ("rows in batches", '"batched"'),
        ("pgvector", "Pgvector"),
        ("fallback to another model", '"FALLBACKS"'),
        ("streams under ASGI with a pool, pages under gunicorn's threads", '"pool"'),
    ):
        assert rows[row].startswith("yes" if word in settings else "no"), row


def test_values_and_locations_of_streams_are_those_of_the_kit() -> None:
    (block,) = [each.text for each in blocks(STREAM) if each.language == "nginx"]
    kit = (DEPLOY / "nginx-site.conf.in").read_text()
    for line in (
        "location /chat/ {",
        "proxy_buffering off;",
        "proxy_http_version 1.1;",
        "gzip off;",
    ):
        assert line in block and line in kit
    pool = re.search(r"^POOL = (\d+)", (DEPLOY / "env.py").read_text(), re.MULTILINE)
    assert pool is not None and f'"max_size": {pool[1]}' in code(STREAM, "python")
    streams = (DEPLOY / "streams.py").read_text()
    assert 'lifespan="off"' in streams and "--lifespan off" in code(STREAM, "text")
