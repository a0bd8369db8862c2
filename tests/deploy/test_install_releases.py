"""Releases, packages and what is removed of them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

CONSTRAINTS = "django==9.9 ; python_version < '3'\ndjango==1.0\n"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Something that looks like a clone, with what belongs to no release."""
    folder = tmp_path / "clone"
    for name, text in {
        "example_project/manage.py": "print()",
        "example_project/scripts/go.sh": "#!/bin/sh",
        "example_project/deploy/.env.example": "SECRET_KEY=<x>",
        "django_obc_ai/var/__init__.py": "",
        "django_obc_ai/__init__.py": "",
        "example_project/var/secret_key": "x",
        "example_project/.env": "SECRET_KEY=x",
        "example_project/key.pem": "x",
        "example_project/db.sqlite3-wal": "x",
        "example_project/__pycache__/a.pyc": "x",
        "django_obc_ai/.mypy_cache/a": "x",
        "tests/a.py": "",
        ".git/config": "x",
    }.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    (folder / "example_project/scripts/go.sh").chmod(0o755)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    folder = tmp_path / "site"
    folder.mkdir()
    return folder


def test_a_release_holds_the_code_and_nothing_else(
    install: SimpleNamespace, home: Path, source: Path
) -> None:
    release, is_new = install.releases.provide(home, source)
    assert is_new
    assert install.releases.NAME.fullmatch(release.name)
    found = {str(path.relative_to(release)) for path in release.rglob("*") if path.is_file()}
    assert found == {
        "django_obc_ai/__init__.py", "django_obc_ai/var/__init__.py", "example_project/manage.py",
        "example_project/scripts/go.sh", "example_project/deploy/.env.example",
    }  # fmt: skip
    assert os.access(release / "example_project/scripts/go.sh", os.X_OK)
    assert not os.access(release / "example_project/manage.py", os.X_OK)


def test_the_same_code_is_the_same_release(
    install: SimpleNamespace, home: Path, source: Path
) -> None:
    release, _ = install.releases.provide(home, source)
    (source / "example_project/var/more").write_text("data")
    (release / "example_project/__pycache__").mkdir()
    (release / "example_project/__pycache__/manage.pyc").write_text("compiled")
    assert install.releases.provide(home, source) == (release, False)
    # From itself, too: deploy_ai.sh of a release.
    assert install.releases.provide(home, release) == (release, False)
    (source / "django_obc_ai/__init__.py").write_text("VERSION = 2")
    other, is_new = install.releases.provide(home, source)
    assert is_new
    assert other.name[-7:] != release.name[-7:]


def test_a_release_that_was_changed_is_not_taken_for_the_code(
    install: SimpleNamespace, home: Path, source: Path
) -> None:
    release, _ = install.releases.provide(home, source)
    (release / "example_project/manage.py").write_text("edited here")
    again, is_new = install.releases.provide(home, source)
    assert is_new
    assert again != release
    assert (again / "example_project/manage.py").read_text() == "print()"


def test_a_half_copied_release_is_removed_and_never_taken(
    install: SimpleNamespace, home: Path, source: Path
) -> None:
    half = home / "releases/.making-1/example_project"
    half.mkdir(parents=True)
    release, _ = install.releases.provide(home, source)
    assert install.releases.listed(home) == [release]
    assert not half.exists()


def test_code_that_lacks_the_package_is_refused(
    install: SimpleNamespace, home: Path, source: Path
) -> None:
    (source / "django_obc_ai").rename(source / "elsewhere")
    with pytest.raises(install.problems.Problem, match="holds no django_obc_ai"):
        install.releases.provide(home, source)


def releases(home: Path, *days: int) -> list[str]:
    """Make releases; return their names."""
    names = [f"202601{day:02d}T000000-{day:07x}" for day in days]
    for name in names:
        (home / "releases" / name / "example_project").mkdir(parents=True)
        (home / "releases" / name / "example_project/manage.py").touch()
    return names


def test_a_link_leads_somewhere_at_any_moment(install: SimpleNamespace, home: Path) -> None:
    one, two = releases(home, 1, 2)
    install.releases.lead(home / "current", f"releases/{one}")
    seen, stop = set(), threading.Event()

    def look() -> None:
        while not stop.is_set():
            found = install.releases.current(home)
            seen.add(found and found.name)

    looking = threading.Thread(target=look)
    looking.start()
    for _ in range(200):
        assert install.releases.lead(home / "current", f"releases/{two}")
        assert install.releases.lead(home / "current", f"releases/{one}")
    stop.set()
    looking.join()
    assert seen <= {one, two}
    assert not install.releases.lead(home / "current", f"releases/{one}")
    assert sorted(each.name for each in home.iterdir()) == ["current", "releases"]


def serve(install: SimpleNamespace, home: Path, *names: str) -> None:
    """Let releases have served, one after the other."""
    for name in names:
        install.releases.lead(home / "current", f"releases/{name}")
        install.releases.has_served(home, name)


def test_old_releases_go_but_not_the_current_one_and_the_one_before(
    install: SimpleNamespace, home: Path
) -> None:
    names = releases(home, 1, 2, 3, 4, 5, 6)
    (home / "releases/by-hand").mkdir()
    (home / "static").mkdir()
    for name in names:
        (home / f"static/staticfiles-{name}.json").touch()
    serve(install, home, *names[:4])
    install.releases.lead(home / "current", f"releases/{names[2]}")  # by hand
    assert install.releases.prune(home, 1) == [names[0], names[4], names[5]]
    left = names[1:4]
    assert [each.name for each in install.releases.listed(home)] == [*left, "by-hand"]
    listed = {each.name for each in (home / "static").iterdir()}
    assert listed == {f"staticfiles-{name}.json" for name in left}
    assert install.releases.prune(home, 1) == []


def test_a_release_that_never_served_takes_nobodys_place(
    install: SimpleNamespace, home: Path
) -> None:
    one, failed, three = releases(home, 1, 2, 3)
    serve(install, home, one, three)
    assert install.releases.before(home) == one
    assert install.releases.prune(home, 2) == [failed]
    assert install.releases.before(home) == one


def test_the_one_before_is_what_served_before(install: SimpleNamespace, home: Path) -> None:
    one, two, three = releases(home, 1, 2, 3)
    install.releases.lead(home / "current", f"releases/{two}")
    assert install.releases.before(home) == one  # nobody has written what served
    serve(install, home, two, three, one)  # an older one, deployed again
    assert install.releases.before(home) == three
    install.releases.lead(home / "current", f"releases/{three}")
    install.releases.has_served(home, three, went_back=True)
    assert install.releases.served(home) == [two, three]
    assert install.releases.before(home) == two


def test_code_that_does_not_know_what_is_applied_is_refused(
    install: SimpleNamespace, home: Path
) -> None:
    one, two, three = releases(home, 1, 2, 3)  # the third without a migration of the second's
    serve(install, home, one, two)
    options = SimpleNamespace(home=home, skips_database=False)

    class Step(install.filling.Filling):  # type: ignore[misc, name-defined]
        def ask_database(self, *arguments: str) -> dict[str, object]:
            return {"waiting": [], "unknown": ["communities.0099_visits"], "has_data": True}

    step = Step(options)
    for name, advice in ((three, r"rollback\.sh .*/site takes"), (one, rf"/site {one} takes")):
        step.release = home / "releases" / name
        with pytest.raises(install.problems.Refused, match=advice):
            step.back_up()
    step.release = home / "releases" / two
    step.back_up()


def environment(folder: Path) -> Path:
    """Make an environment that runs this Python and has its packages."""
    (folder / "bin").mkdir(parents=True)
    python = folder / "bin/python"
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    return folder


def test_packages_that_nobody_uses_go(install: SimpleNamespace, home: Path) -> None:
    (release,) = releases(home, 1)
    names = ["3.11-" + each * 12 for each in "abc"]
    for name in names:
        environment(home / "venvs" / name)
    (home / "venvs/by-hand").mkdir()
    install.releases.use_packages(home / "releases" / release, home / "venvs" / names[0], home)
    running = home / "venvs" / names[1] / "bin/python"
    script = "import sys; print(flush=True); sys.stdin.read()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    # As supervisord is started: its command line names the environment.
    with subprocess.Popen([sys.executable, "-c", script, str(running)], **pipes) as process:
        process.stdout.readline()
        assert install.packages.prune(home) == [names[2]]
        process.stdin.close()
    assert install.packages.prune(home) == [names[1]]
    assert {each.name for each in (home / "venvs").iterdir()} == {names[0], "by-hand"}


def test_packages_are_known_by_what_is_to_be_installed(
    install: SimpleNamespace, tmp_path: Path
) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text(CONSTRAINTS)
    first = install.packages.name_of(path)
    assert install.packages.NAME.fullmatch(first)
    assert first.startswith(f"{sys.version_info[0]}.{sys.version_info[1]}-")
    path.write_text(CONSTRAINTS + "# more")
    assert install.packages.name_of(path) != first


def test_packages_are_there_whole_or_not_at_all(
    install: SimpleNamespace, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text("no-such-package==1.0 --hash=sha256:" + "0" * 64 + "\n")
    for name in [each for each in os.environ if each.startswith("PIP_")]:
        monkeypatch.delenv(name)
    # No index, on purpose.
    for name, value in {"NO_INDEX": "1", "CONFIG_FILE": os.devnull}.items():
        monkeypatch.setenv(f"PIP_{name}", value)
    left = home / "venvs/.making-1/bin"
    left.mkdir(parents=True)
    environ = install.commands.environment(os.environ)
    with pytest.raises(install.problems.Problem, match="pip install failed with code 1") as caught:
        install.packages.provide(home, path, env=environ, log=tmp_path / "log")
    assert "no-such-package" in str(caught.value)
    assert "Is a package index reachable?" in str(caught.value)
    assert not left.exists()
    assert [each.name for each in (home / "venvs").iterdir() if each.name[0] != "."] == []


def test_an_environment_gets_its_name_when_it_is_whole(
    install: SimpleNamespace, home: Path
) -> None:
    scratch = environment(home / "venvs/.making-1")
    program = scratch / "bin/celery"
    program.write_text(f"#!{scratch}/bin/python\nprint('here')\n")
    program.chmod(0o755)
    venv = home / "venvs/3.11-aaaaaaaaaaaa"
    (venv / "bin").mkdir(parents=True)  # of a Python that is gone
    install.packages._rename(scratch, venv)
    assert [each.name for each in (home / "venvs").iterdir()] == [venv.name]
    done = subprocess.run([venv / "bin/celery"], capture_output=True, text=True)
    assert done.stdout == "here\n"


def test_an_environment_that_is_given_is_used_or_refused(
    install: SimpleNamespace, home: Path, tmp_path: Path
) -> None:
    path = tmp_path / "constraints.txt"
    path.write_text(CONSTRAINTS)
    with pytest.raises(install.problems.Problem, match="is no environment"):
        install.packages.given(home, path)
    bare = tmp_path / "bare"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", bare], check=True)
    with pytest.raises(install.problems.Problem, match=r"lacks axes celery .* uvicorn\."):
        install.packages.given(bare, path)
    (release,) = releases(home, 1)
    assert install.packages.servers(bare)["gunicorn"].startswith("python3.")
    install.releases.use_packages(home / "releases" / release, bare, home)
    assert (home / "releases" / release / "venv").readlink() == bare


def test_files_in_conf_come_with_a_release_and_go_with_it(
    install: SimpleNamespace, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = releases(home, 1, 2)
    serve(install, home, one)
    for folder in ("conf", "conf.new"):
        (home / folder).mkdir()
    (home / "conf/nginx.conf").write_text("of release 1")
    (home / "conf/metrics.token").write_text("secret")
    seen: list[tuple[str, str]] = []

    class Fails(install.starting.Starting):  # type: ignore[misc, name-defined]
        def serving(self) -> dict[str, str]:
            return {"release": one}

        def take_up(self, release: Path, was: object) -> None:
            seen.append((release.name, (home / "conf/nginx.conf").read_text()))
            if fails and release.name == two:
                raise install.problems.Problem("It does not answer.")

    monkeypatch.setattr(install.steps, "Starting", Fails)
    options = SimpleNamespace(home=home, starts=True)
    step = install.steps.Installation(options)
    step.release = home / "releases" / two
    values = {"autostart_nginx": "true"}
    step.decision = SimpleNamespace(changed={"hosts": "a.example.org"}, values=values, settings={})
    fails = True
    with pytest.raises(install.problems.Problem, match=f"So {one} serves again"):
        step.start()
    assert [name for name, _ in seen] == [two, one]
    assert "server_name" in seen[0][1] or "include" in seen[0][1]
    assert seen[1][1] == (home / "conf/nginx.conf").read_text() == "of release 1"
    fails = False
    step.start()
    assert (home / "conf/nginx.conf").read_text() == seen[0][1]
    assert (home / "conf/metrics.token").read_text() == "secret"
    assert {each.name for each in home.glob("conf*")} == {"conf"}
