"""What deploy_ai.sh decides, and the .env that it makes."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.deploy.site import SECRET

#: Values that may not come back in a message: each holds this.
CANARY = "canary7531"
GIVEN = {"REDIS_URL": "redis://localhost:6379/0", "DATABASE_URL": "postgres://u:p@db.example/site"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def decide(install: SimpleNamespace, home: Path, environ: dict[str, str], **options: Any) -> Any:
    chosen = install.decisions.Options(home=home, source=home, **options)
    return install.decisions.decide(chosen, environ)


def made(install: SimpleNamespace, home: Path, environ: dict[str, str], **options: Any) -> Any:
    """Decide, and write what an installation writes."""
    found = decide(install, home, environ, **options)
    import deploy.render as render

    render.keep(home, found.changed)
    if found.is_new:
        install.env_file.write(home / ".env", found.settings)
    return found


def test_a_new_file_is_for_its_owner_alone_and_whole(install: SimpleNamespace, home: Path) -> None:
    before = os.umask(0)
    try:
        made(install, home, GIVEN)
    finally:
        os.umask(before)
    path = home / ".env"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    from deploy import env

    found = env.load({"OBC_SITE_VAR": str(home)})
    assert len(found.secret_key) >= 50
    assert found.allowed_hosts == ["localhost", "127.0.0.1"]
    assert found.csrf_trusted_origins == ["https://localhost:8443", "https://127.0.0.1:8443"]
    assert found.hsts_seconds == 3600
    assert found.metrics_token is not None
    assert [each.name for each in home.glob(".env*")] == [".env"]


def test_each_installation_has_keys_of_its_own(install: SimpleNamespace, home: Path) -> None:
    one, two = (decide(install, home, GIVEN).settings for _ in range(2))
    for name in ("SECRET_KEY", "OBC_SITE_METRICS_TOKEN"):
        assert one[name] != two[name]


def test_what_the_environment_has_is_taken(install: SimpleNamespace, home: Path) -> None:
    environ = {
        **GIVEN, "SECRET_KEY": SECRET, "ALLOWED_HOSTS": "a.example.org,b.example.org",
        "GOOGLE_API_KEY": "AQ.made-for-this-test", "OBC_SITE_DAY_BUDGET": "2.50",
        "OBC_SITE_EMBEDDER": "hashing", "UNRELATED": CANARY, "OBC_SITE_METRICS_TOKEN": " ",
    }  # fmt: skip
    found = decide(install, home, environ, changed={"https_port": "443"})
    for name, value in environ.items():
        if name not in ("UNRELATED", "OBC_SITE_METRICS_TOKEN"):
            assert found.settings[name] == value
    assert found.settings["CSRF_TRUSTED_ORIGINS"] == "https://a.example.org,https://b.example.org"
    assert found.settings["OBC_SITE_METRICS_TOKEN"].strip()  # an empty one is none
    assert "UNRELATED" not in found.settings
    assert found.values["hosts"] == "a.example.org b.example.org"
    assert "Gemini" in found.answers()


def test_faults_of_the_environment_are_told_before_anything_is_written(
    install: SimpleNamespace, home: Path
) -> None:
    environ = {**GIVEN, "SECRET_KEY": CANARY, "DEBUG": "1"}
    with pytest.raises(install.problems.Problem) as caught:
        decide(install, home, environ)
    assert "SECRET_KEY: has fewer than 50" in str(caught.value)
    assert "DEBUG: asks for debugging" in str(caught.value)
    assert CANARY not in str(caught.value)
    assert list(home.iterdir()) == []
    with pytest.raises(install.problems.Problem, match=r"GOOGLE_API_KEY .* line break"):
        decide(install, home, {**GIVEN, "GOOGLE_API_KEY": f"{CANARY}\nDEBUG=1"})


def test_a_second_run_leaves_the_file_and_the_values(install: SimpleNamespace, home: Path) -> None:
    made(install, home, GIVEN, changed={"https_port": "9443", "web_workers": "3"})
    before = {path: path.read_bytes() for path in home.iterdir()}
    again = made(install, home, {"SECRET_KEY": SECRET, "DATABASE_URL": "sqlite:////elsewhere"})
    assert not again.is_new
    assert {path: path.read_bytes() for path in home.iterdir()} == before
    assert (again.values["https_port"], again.values["web_workers"]) == ("9443", "3")
    # What counts is said, and what does not.
    assert sum("is not that of .env" in note for note in again.notes) == 2
    assert SECRET not in str(again.notes)


def test_a_file_that_appears_meanwhile_is_not_overwritten(
    install: SimpleNamespace, home: Path
) -> None:
    (home / ".env").write_text("SECRET_KEY=theirs\n")
    with pytest.raises(install.problems.Problem, match="somebody else meanwhile"):
        install.env_file.write(home / ".env", {"SECRET_KEY": "ours"})
    assert (home / ".env").read_text() == "SECRET_KEY=theirs\n"
    assert [each.name for each in home.iterdir()] == [".env"]


def test_a_file_that_others_can_read_is_refused(install: SimpleNamespace, home: Path) -> None:
    made(install, home, GIVEN)
    (home / ".env").chmod(0o644)
    with pytest.raises(install.problems.Problem, match=r"others can read .*chmod 600"):
        decide(install, home, {})


def programs(folder: Path, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    """Let these be the only programs there are."""
    folder.mkdir(exist_ok=True)
    for name in names:
        path = folder / name
        path.write_text("#!/bin/sh\necho 'postgres (PostgreSQL) 15.4'\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("deploy.install.machine._SBIN", ())
    monkeypatch.setenv("OBC_SITE_PG_BIN", str(folder))


def test_a_trial_gets_servers_of_its_own_on_the_loopback_address(
    install: SimpleNamespace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, "redis-server", "initdb", "postgres")
    first = made(install, home, {})
    assert (first.runs_postgres, first.runs_redis) == (True, True)
    assert "OFFLINE PROVIDER" in first.answers()
    port = first.values["postgres_port"]
    assert first.settings["DATABASE_URL"].endswith(f"@127.0.0.1:{port}/obc_site")
    assert f"@127.0.0.1:{first.values['redis_port']}/0" in first.settings["REDIS_URL"]
    assert first.values["address"] == "127.0.0.1"
    # Killed before it made .env, the next run takes the same ports.
    (home / ".env").unlink()
    again = made(install, home, {})
    assert again.is_new
    assert again.values["postgres_port"] == port
    # .env leads elsewhere now: they are not run any more.
    text = (home / ".env").read_text().replace(f"127.0.0.1:{port}", "db.example.org:5432")
    (home / ".env").write_text(text)
    moved = made(install, home, {})
    assert (moved.runs_postgres, moved.runs_redis) == (False, True)
    assert any("DATABASE_URL leads elsewhere" in note for note in moved.notes)


def test_without_postgresql_the_database_is_a_file(
    install: SimpleNamespace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, "valkey-server")
    found = decide(install, home, {})
    assert not found.runs_postgres
    assert "DATABASE_URL" not in found.settings
    assert found.database() == "SQLite, a file"
    assert found.values["redis"].endswith("valkey-server")
    assert any("apt-get install postgresql" in note for note in found.notes)


def test_all_that_is_missing_is_told_at_once(
    install: SimpleNamespace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch)
    lacking = install.machine.missing({}, needs_nginx=True)
    assert [package for _, package in lacking] == ["nginx", "openssl", "redis-server"]
    lacking = install.machine.missing(GIVEN, needs_nginx=False)
    assert [package for _, package in lacking] == ["openssl"]


def test_a_postgresql_that_made_the_data_has_to_be_there(
    install: SimpleNamespace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs(tmp_path / "bin", monkeypatch, "initdb", "postgres")
    (home / "postgres").mkdir()
    (home / "postgres/PG_VERSION").write_text("15\n")
    assert install.services.postgres_program(home) == str(tmp_path / "bin/postgres")
    (home / "postgres/PG_VERSION").write_text("13\n")
    with pytest.raises(install.problems.Problem, match=r"made by PostgreSQL 13.*postgresql-13"):
        install.services.postgres_program(home)


def test_another_name_has_to_be_allowed(install: SimpleNamespace, home: Path) -> None:
    made(install, home, GIVEN)
    with pytest.raises(install.problems.Problem) as caught:
        decide(install, home, {}, hosts="ai.example.org")
    assert "ALLOWED_HOSTS=localhost,127.0.0.1,ai.example.org" in str(caught.value)
    text = (home / ".env").read_text()
    (home / ".env").write_text(text.replace("ALLOWED_HOSTS=", "ALLOWED_HOSTS=ai.example.org,"))
    found = made(install, home, {}, hosts="ai.example.org")
    assert found.values["hosts"] == "ai.example.org"
    assert found.values["address"] == ""  # others are to reach it now


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"skips_database": True}, "--skip-database needs a DATABASE_URL"),
        ({"changed": {"web_wokers": "1"}}, "Did you mean 'web_workers'"),
        ({"changed": {"https_port": "x"}}, "which is no port"),
        ({"hosts": "a b"}, "is no host name"),
    ],
)
def test_wrong_options_are_refused(
    install: SimpleNamespace, home: Path, options: dict[str, Any], told: str
) -> None:
    with pytest.raises(install.decisions.Misused, match=told) as caught:
        decide(install, home, {"REDIS_URL": GIVEN["REDIS_URL"]}, **options)
    assert caught.value.code == 2


def test_redis_of_a_trial_keeps_what_it_is_told(install: SimpleNamespace, home: Path) -> None:
    url = f"redis://:{CANARY}@127.0.0.1:16399/0"
    assert install.services.make_redis(home, url, "16399")
    path = home / "redis/redis.conf"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    lines = path.read_text().splitlines()
    for line in ("bind 127.0.0.1", "appendonly yes", "maxmemory-policy noeviction"):
        assert line in lines
    assert f'requirepass "{CANARY}"' in lines
    assert not install.services.make_redis(home, url, "16399")
    assert install.services.make_redis(home, url.replace(CANARY, "another"), "16399")
