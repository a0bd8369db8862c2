"""The kit's files are filled, or it is said why not."""

from __future__ import annotations

import runpy
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.deploy.rendered import DEPLOY, HOSTS, PORTS, RENDER, filled, render, text


@pytest.fixture(scope="module")
def home() -> Iterator[Path]:
    with filled() as found:
        yield found


def test_every_file_is_filled_and_holds_no_placeholder(home: Path) -> None:
    sources = [path for path in DEPLOY.rglob("*.in") if path.name != "requirements.in"]
    assert len(sources) >= 11
    for source in sources:
        filled = text(home, str(source.relative_to(DEPLOY)).removesuffix(".in"))
        assert "@{" not in filled
        assert "@@" not in filled


def test_a_second_run_changes_nothing(home: Path) -> None:
    paths = [path for path in (home / "conf").rglob("*") if path.is_file()]
    before = {path: path.stat().st_mtime_ns for path in paths}
    assert render(home, *HOSTS, *PORTS).returncode == 0
    assert {path: path.stat().st_mtime_ns for path in paths} == before


def test_folders_for_sockets_and_logs_are_closed_to_others(home: Path) -> None:
    for name in ("run", "log"):
        assert (home / name).stat().st_mode & 0o007 == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--set", "usr=a"], "Did you mean 'user'?"),
        (["--set", "qqqqqq=a"], "There are: home"),
        (["--set", "user"], "write --set user=VALUE"),
        (["--https-port", "0"], "https_port is '0', which is no port"),
        (["--http-port", "80a"], "http_port is '80a', which is no port"),
        (["--set", "public_port=x"], "public_port is 'x', which is no port"),
        (["--set", "web_threads=none"], "web_threads is 'none': give a whole number"),
        (["--set", "ipv6=no"], "ipv6 is 'no': give true, false or auto"),
        (["--host", "a b"], "'a b' is no host name"),
        (["--host", "a.org;return"], "is no host name"),
        (["--set", 'certificate=/a"b'], "means something to nginx"),
        (["--set", "static=/a;b"], "means something to nginx"),
        (["none.conf.in"], "There is no none.conf.in. There are: apache-site.conf.in"),
    ],
)
def test_wrong_values_are_refused_and_nothing_is_written(
    arguments: list[str], told: str, tmp_path: Path
) -> None:
    done = render("/tmp/obc-none", "--out", str(tmp_path / "out"), *arguments)
    assert done.returncode == 2
    assert told in done.stderr
    assert done.stderr.startswith("render.py: ")
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/obc-none").exists()


@pytest.mark.parametrize("sign", ['"', "'", "$", "%", ";", "{", "#", "\\", "\n"])
def test_a_folder_whose_name_means_something_is_refused(sign: str, tmp_path: Path) -> None:
    done = render(f"/tmp/a{sign}b", "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "choose another path or name" in done.stderr


def test_a_path_too_long_for_sockets_is_refused(tmp_path: Path) -> None:
    done = render("/tmp/" + "x" * 90, "--out", str(tmp_path / "out"))
    assert done.returncode == 2
    assert "bytes too long for sockets" in done.stderr


@pytest.mark.parametrize(
    ("source", "told"),
    [("a @{nobody} b", "asks for nobody"), ("mail@example.org or @ alone", "write @@ for an @")],
)
def test_a_file_that_asks_for_what_nobody_knows_is_refused(
    source: str, told: str, tmp_path: Path
) -> None:
    module = runpy.run_path(str(RENDER))
    module["render"].__globals__["HERE"] = tmp_path
    (tmp_path / "x.in").write_text(source)
    with pytest.raises(module["CannotRender"], match=told):
        module["render"]("x.in", module["values"]("/tmp/site", ["a.org"]))


def test_names_and_values_are_listed() -> None:
    done = render("/tmp/site", "--list", "--set", "web_threads=3")
    assert "web_threads=3\n" in done.stdout
    assert not Path("/tmp/site").exists()
