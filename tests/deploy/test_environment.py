"""What `deploy.env` takes and refuses; it needs no package."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.site import SECRET, example, run

#: Values that may not come back in a message: each holds this.
CANARY = "canary7531"
FAULTS = [
    ({"SECRET_KEY": ""}, "SECRET_KEY: not set"),
    ({"SECRET_KEY": None}, "SECRET_KEY: not set"),
    ({"SECRET_KEY": CANARY + "Zt4"}, "SECRET_KEY: has fewer than 50 characters"),
    ({"SECRET_KEY": "canary7531" * 6}, "SECRET_KEY: repeats a few characters"),
    ({"SECRET_KEY": f"django-insecure-{CANARY}{SECRET}"}, "SECRET_KEY: still holds a placeholder"),
    ({"SECRET_KEY": f"<{CANARY}-generated-50-char-key>"}, "SECRET_KEY: still holds a placeholder"),
    ({"SECRET_KEY": f"change-me-{CANARY}{SECRET}"}, "SECRET_KEY: still holds a placeholder"),
    ({"DEBUG": "1"}, "DEBUG: asks for debugging, which deploy.settings refuses"),
    ({"DEBUG": "True"}, "DEBUG: asks for debugging"),
    ({"DEBUG": CANARY}, "DEBUG: asks for debugging"),
    ({"OBC_SITE_DEBUG": "1"}, "OBC_SITE_DEBUG: asks for debugging"),
    ({"ALLOWED_HOSTS": None}, "ALLOWED_HOSTS: not set"),
    ({"ALLOWED_HOSTS": " , "}, "ALLOWED_HOSTS: not set"),
    ({"ALLOWED_HOSTS": "*"}, 'ALLOWED_HOSTS: holds "*"'),
    ({"ALLOWED_HOSTS": "*.example.org"}, 'ALLOWED_HOSTS: holds "*"'),
    ({"ALLOWED_HOSTS": f"https://{CANARY}.org"}, "ALLOWED_HOSTS: holds what is no name of a host"),
    ({"ALLOWED_HOSTS": f"{CANARY}.org:443"}, "ALLOWED_HOSTS: holds what is no name of a host"),
    ({"CSRF_TRUSTED_ORIGINS": None}, "CSRF_TRUSTED_ORIGINS: not set"),
    ({"CSRF_TRUSTED_ORIGINS": f"{CANARY}.org"}, "does not begin with https://"),
    ({"CSRF_TRUSTED_ORIGINS": f"http://{CANARY}.org"}, "does not begin with https://"),
    ({"CSRF_TRUSTED_ORIGINS": f"https://{CANARY}.org/chat"}, "more than https:// and a host"),
    ({"CSRF_TRUSTED_ORIGINS": "https://*"}, "more than https:// and a host"),
    ({"CSRF_TRUSTED_ORIGINS": "https://[half"}, "CSRF_TRUSTED_ORIGINS: holds an origin"),
    ({"CSRF_TRUSTED_ORIGINS": "https://evil.org@a.org"}, "CSRF_TRUSTED_ORIGINS: holds an origin"),
    ({"DATABASE_URL": f"mysql://u:{CANARY}@h/n"}, "DATABASE_URL: is no address that begins with"),
    ({"DATABASE_URL": f"postgres://u:{CANARY}#@h/n"}, "DATABASE_URL: is no address"),
    ({"DATABASE_URL": f"postgres://u:{CANARY}@h:x/n"}, "DATABASE_URL: is no address"),
    ({"DATABASE_URL": f"postgres://u:{CANARY}@h"}, "DATABASE_URL: names no database"),
    ({"DATABASE_URL": "postgres://u:<password>@h/n"}, "DATABASE_URL: still holds a placeholder"),
    ({"DATABASE_URL": f"sqlite:///{CANARY}"}, "DATABASE_URL: names no absolute path"),
    ({"DATABASE_URL": "sqlite://:memory:"}, "DATABASE_URL: "),
    ({"REDIS_URL": None}, "REDIS_URL: not set"),
    ({"REDIS_URL": f"amqp://u:{CANARY}@h"}, "REDIS_URL: is no address that begins with redis://"),
    ({"REDIS_URL": f"redis://:{CANARY}@h:x/0"}, "REDIS_URL: is no address"),
    ({"REDIS_URL": f"redis://h/{CANARY}"}, "REDIS_URL: ends with what is no number"),
    ({"OBC_SITE_CACHE_URL": f"http://{CANARY}"}, "OBC_SITE_CACHE_URL: is no address"),
    ({"GOOGLE_API_KEY": "your-key"}, "GOOGLE_API_KEY: still holds a placeholder"),
    ({"GOOGLE_API_KEY": f"'{CANARY}"}, "GOOGLE_API_KEY: holds white space or a quotation mark"),
    ({"OBC_SITE_DAY_BUDGET": CANARY}, "OBC_SITE_DAY_BUDGET: is no amount above 0"),
    ({"OBC_SITE_DAY_BUDGET": "0"}, "OBC_SITE_DAY_BUDGET: is no amount above 0"),
    ({"OBC_SITE_MONTH_BUDGET": "nan"}, "OBC_SITE_MONTH_BUDGET: is no amount above 0"),
    ({"OBC_SITE_MONTH_BUDGET": "-1"}, "OBC_SITE_MONTH_BUDGET: is no amount above 0"),
    ({"OBC_SITE_PER_MINUTE": CANARY}, "OBC_SITE_PER_MINUTE: is no whole number"),
    ({"OBC_SITE_PER_DAY": "0"}, "OBC_SITE_PER_DAY: is 0, which would let nothing through"),
    ({"OBC_SITE_ALERT_EMAILS": CANARY}, "OBC_SITE_ALERT_EMAILS: holds what is no address"),
    ({"OBC_SITE_HSTS_SECONDS": "-1"}, "OBC_SITE_HSTS_SECONDS: is no whole number"),
    ({"OBC_SITE_HSTS_PRELOAD": CANARY}, "OBC_SITE_HSTS_PRELOAD: is neither 1 nor 0"),
    ({"OBC_SITE_PROXIES": "one"}, "OBC_SITE_PROXIES: is no whole number"),
    ({"OBC_SITE_METRICS_TOKEN": "short"}, "OBC_SITE_METRICS_TOKEN: has fewer than 16"),
]


@pytest.mark.parametrize(("changes", "text"), FAULTS)
def test_a_fault_is_named_and_its_value_is_not(
    tmp_path: Path, changes: dict[str, str | None], text: str
) -> None:
    done = run("-m", "deploy.env", variables=example(tmp_path, **changes))
    assert done.returncode == 1
    assert text in done.stderr
    assert "1 fault in its variables" in done.stderr
    assert CANARY not in done.stderr + done.stdout
    assert "Traceback" not in done.stderr


def test_all_faults_are_told_at_once(tmp_path: Path) -> None:
    done = run("-m", "deploy.env", variables={"OBC_SITE_VAR": str(tmp_path), "DEBUG": "1"})
    assert "5 faults" in done.stderr
    for name in ("SECRET_KEY", "ALLOWED_HOSTS", "CSRF_TRUSTED_ORIGINS", "REDIS_URL", "DEBUG"):
        assert f"\n  {name}: " in done.stderr


def test_the_example_itself_is_refused_until_it_is_filled_in(tmp_path: Path) -> None:
    text = (Path(__file__).parents[2] / "example_project/deploy/.env.example").read_text()
    (tmp_path / ".env").write_text(text)
    (tmp_path / ".env").chmod(0o600)
    done = run("-m", "deploy.env", variables={"OBC_SITE_VAR": str(tmp_path)})
    assert done.returncode == 1
    assert "SECRET_KEY: still holds a placeholder" in done.stderr
    assert "DATABASE_URL: still holds a placeholder" in done.stderr
    assert "2 faults" in done.stderr


def test_what_is_configured_is_told_without_secrets(tmp_path: Path) -> None:
    variables = example(
        tmp_path,
        DATABASE_URL=f"postgres://u:{CANARY}@h/n",
        GOOGLE_API_KEY=f"AQ.{CANARY}",
        REDIS_URL=f"redis://:{CANARY}@h:6379/3",
    )
    done = run("-m", "deploy.env", variables=variables)
    assert done.returncode == 0, done.stderr
    assert "database: PostgreSQL" in done.stdout
    assert "answers: Gemini, $5.00 a day and $100.00 a month at most" in done.stdout
    assert CANARY not in done.stdout


def test_without_a_key_the_offline_provider_is_named(tmp_path: Path) -> None:
    done = run("-m", "deploy.env", variables=example(tmp_path))
    assert "answers: offline provider" in done.stdout
    assert "database: SQLite" in done.stdout


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("REDIS_URL=redis://h:6379/0", "redis://h:6379/0"),
        ("REDIS_URL='redis://h:6379/0'", "redis://h:6379/0"),
        ('REDIS_URL="redis://h:6379/0"', "redis://h:6379/0"),
        ("REDIS_URL=redis://:a$b#c=d@h", "redis://:a$b#c=d@h"),
        ("# REDIS_URL=redis://h", None),
        ("\nREDIS_URL=redis://first\nREDIS_URL=redis://h", "redis://h"),
    ],
)
def test_the_file_is_read_as_it_stands(tmp_path: Path, line: str, value: str | None) -> None:
    (tmp_path / ".env").write_text(line + "\n")
    (tmp_path / ".env").chmod(0o600)
    code = (
        "import pathlib, sys; from deploy.dotenv import read_file;"
        "found, faults = read_file(pathlib.Path(sys.argv[1]));"
        "assert not faults; print(found.get('REDIS_URL'))"
    )
    done = run("-c", code, tmp_path / ".env", variables={})
    assert done.stdout.strip() == str(value), done.stderr
    told = run("-m", "deploy.dotenv", "REDIS_URL", variables={"OBC_SITE_VAR": str(tmp_path)})
    assert told.stdout == f"{value or ''}\n"


def test_the_process_comes_before_the_file(tmp_path: Path) -> None:
    lines = [f"{name}={value}" for name, value in example(tmp_path).items()]
    (tmp_path / ".env").write_text("\n".join(lines))
    (tmp_path / ".env").chmod(0o600)
    assert run("-m", "deploy.env", variables={"OBC_SITE_VAR": str(tmp_path)}).returncode == 0
    variables = {"OBC_SITE_VAR": str(tmp_path), "ALLOWED_HOSTS": "other.example.org"}
    assert "hosts: other.example.org" in run("-m", "deploy.env", variables=variables).stdout


@pytest.mark.parametrize("line", ["export A=1", "no value", "lower=1", "A =1"])
def test_a_line_that_is_none_is_named_by_number_alone(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"# one\n{line} {CANARY}\n")
    (tmp_path / ".env").chmod(0o600)
    done = run("-m", "deploy.env", variables=example(tmp_path))
    assert ".env: line 2 is not NAME=value" in done.stderr
    assert CANARY not in done.stderr


def test_a_file_that_others_can_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("# nothing\n")
    (tmp_path / ".env").chmod(0o640)
    done = run("-m", "deploy.env", variables=example(tmp_path))
    assert done.returncode == 1
    assert "chmod 600" in done.stderr


def test_an_installation_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("-m", "deploy.env", variables=example(tmp_path / "file" / "home"))
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert str(tmp_path / "file" / "home") in done.stderr
