"""Fill the *.in files of the kit: folder, names, ports.

    python example_project/deploy/render.py --home DIR [option ...] [FILE ...]

Without files all are filled, into DIR/conf. Placeholders are @{name}, and @@ is an @. A name that
a file asks for and nobody gives is refused, and so is one that no file knows. DIR/render.conf, one
NAME=VALUE a line, holds values that stay; --keep writes those of --set there, too.

Exit codes: 0 all is written, 2 something was wrong and nothing is.
"""

from __future__ import annotations

import argparse
import difflib
import getpass
import grp
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from string import Template

HERE = Path(__file__).absolute().parent
#: A path in run/, with what supervisord appends while it makes it.
_LONGEST_SOCKET = "run/supervisor.sock.1234567"
#: Bytes that the kernel takes as the path of a socket.
_SOCKET_BYTES = 107
#: Each of these ends or begins something in one of the formats.
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f\"'\\$%;{}#<>`]")
#: Values that are whole numbers, 1 or above.
_COUNTS = (
    "web_workers", "web_threads", "stream_workers", "worker_processes", "longest_answer",
    "requests_per_second", "burst", "connections", "largest_body", "keep_backups_days",
)  # fmt: skip
#: There if the kernel speaks IPv6, whether or not it has an address.
_IF_INET6 = Path("/proc/net/if_inet6")
_CLOCK = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")
#: Names of a site that only its own machine can reach.
HOSTS = ("localhost", "127.0.0.1")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?")


class CannotRender(Exception):
    """What was wrong, where, and what to do."""


class ConfigTemplate(Template):
    """Placeholders that none of the formats uses for itself."""

    delimiter = "@"


def templates() -> list[str]:
    """Return the names of all files to fill, relative to this folder."""
    return sorted(str(path.relative_to(HERE)) for path in HERE.rglob("*.in") if path.suffix == ".in"
                  and path.name != "requirements.in")  # fmt: skip


def values(
    home: str, names: Sequence[str] = HOSTS, changed: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Return what the files can ask for.

    Args:
        home: The installation folder.
        names: Host names of the site, the main one first, unless "hosts" is changed.
        changed: Values in place of the defaults.
    """
    folder = str(Path(home).absolute())
    listed = (each.strip() for each in (changed or {}).get("hosts", "").split(","))
    names = [each for each in listed if each] or names
    _check_socket(folder)
    for name in names:
        if not _HOST.fullmatch(name):
            raise CannotRender(f"{name!r} is no host name: give --host such as ai.example.org.")
    cores = os.cpu_count() or 1
    found = {
        "home": folder,
        "app": f"{folder}/current/example_project",
        # Through `current`, so that HUP takes up code and packages of another release.
        "python": f"{folder}/current/venv/bin/python",
        "pythonpath": f"{folder}/current/example_project:{folder}/current",
        "settings": "deploy.settings",
        "user": getpass.getuser(),
        "group": grp.getgrgid(os.getgid()).gr_name,
        "hosts": "",
        "host": names[0],
        "address": "",  # all of the machine's
        "ipv6": "auto",  # whether these include IPv6's: true, false, or auto, as the kernel has it
        "http_port": "80",
        "https_port": "443",
        "public_port": "",  # what people see in place of the https_port
        "certificate": f"{folder}/tls/cert.pem",
        "certificate_key": f"{folder}/tls/key.pem",
        "static": f"{folder}/static",
        # What names of a proxy's logs begin with: of one that root runs, where the site's user
        # writes nothing. It rotates them, then. Without: log/nginx- or log/apache- of the folder.
        "proxy_log": "",
        "nginx": "nginx",
        # Whether supervisord starts the site, and nginx, by itself.
        "autostart": "true",
        "autostart_nginx": "true",
        # PostgreSQL and Redis of a trial: their programs; without one somebody else runs it.
        "postgres": "",
        "postgres_port": "15432",
        "redis": "",
        "redis_port": "16379",
        "apache_modules": "/usr/lib/apache2/modules",
        # With one process alone uvicorn could not replace it without a gap.
        "web_workers": str(2 * cores),
        "web_threads": "8",
        "stream_workers": str(max(2, cores)),
        "worker_processes": str(cores),
        "longest_answer": "180",
        "requests_per_second": "50",
        "burst": "200",
        "connections": "250",
        "largest_body": "1048576",
        "nightly_at": "02:30",  # the machine's own time
        "keep_backups_days": "14",
        "alerts": f"{folder}/current/example_project/deploy/alerts",
        "metrics_token": f"{folder}/conf/metrics.token",
        "metrics_ca": "",  # what Prometheus trusts in place of the machine's authorities
    }
    for name, value in (changed or {}).items():
        if name not in found:
            near = difflib.get_close_matches(name, found, n=1)
            hint = f"Did you mean {near[0]!r}?" if near else f"There are: {', '.join(found)}."
            raise CannotRender(f"No file asks for {name!r}. {hint}")
        found[name] = value
    found["hosts"] = " ".join(names)
    found["public_port"] = found["public_port"] or found["https_port"]
    _check(found)
    # What the others follow from.
    found["listen"] = f"{found['address']}:" if found["address"] else ""
    found["listen_apache"] = found["listen"] or "*:"
    # Where the kernel knows no IPv6, nginx would not start.
    has_ipv6 = {"true": True, "false": False}.get(found["ipv6"], _IF_INET6.exists())
    found["if_ipv6"] = "" if has_ipv6 and not found["address"] else "# "
    port = found["public_port"]
    found["port_suffix"] = "" if port == "443" else f":{port}"
    found["server_aliases"] = f"ServerAlias {' '.join(names[1:])}" if names[1:] else ""
    logs = {name: found["proxy_log"] or f"{folder}/log/{name}-" for name in ("nginx", "apache")}
    found["nginx_log"], found["apache_log"] = logs.values()
    own = [f'"{each}{kind}.log"' for each in logs.values() for kind in ("access", "error")]
    found["rotated_proxy_logs"] = "" if found["proxy_log"] else " " + " ".join(own)
    # Started by root, nginx would make its workers "nobody", to whom the sockets are closed;
    # started by anybody else it warns of a line that it does not need.
    is_root = os.geteuid() == 0 or "user" in (changed or {})
    user = f"user {found['user']} {found['group']};"
    found["nginx_user"] = user if is_root else "# Its workers run as whoever starts it."
    user = f"User {found['user']}\nGroup {found['group']}"
    found["apache_user"] = user if is_root else found["nginx_user"]
    found["logrotate_user"] = f"    su {found['user']} {found['group']}" if is_root else ""
    found["metrics_tls"] = "    # It trusts whom the machine trusts."
    if found["metrics_ca"]:
        found["metrics_tls"] = f'    tls_config: {{ca_file: "{found["metrics_ca"]}"}}'
    allowed = 10 * int(found["requests_per_second"]) + int(found["burst"])
    found["requests_in_ten_seconds"] = str(allowed)
    # Each thread of web may keep a connection, and each process of streams a pool of twenty.
    kept_open = int(found["web_workers"]) * int(found["web_threads"])
    kept_open += 20 * int(found["stream_workers"]) + 2 * int(found["worker_processes"])
    found["postgres_connections"] = str(max(100, kept_open + 30))
    # What is not run here is a comment in services.conf.
    found["if_postgres"] = "" if found["postgres"] else "; "
    found["if_redis"] = "" if found["redis"] else "; "
    found["autostart_nginx"] = (
        "true" if found["autostart"] == found["autostart_nginx"] == "true" else "false"
    )
    found["stop_wait"] = str(int(found["longest_answer"]) + 20)
    return found


def _check(found: Mapping[str, str]) -> None:
    """See that values are what files can hold."""
    for name in ("http_port", "https_port", "public_port", "postgres_port", "redis_port"):
        if not found[name].isdecimal() or not 0 < int(found[name]) < 65_536:
            raise CannotRender(f"{name} is {found[name]!r}, which is no port: give 1 to 65535.")
    for name in _COUNTS:
        if not found[name].isdecimal() or int(found[name]) < 1:
            raise CannotRender(f"{name} is {found[name]!r}: give a whole number, 1 or above.")
    if found["ipv6"] not in ("auto", "true", "false"):
        raise CannotRender(f"ipv6 is {found['ipv6']!r}: give true, false or auto.")
    if not _CLOCK.fullmatch(found["nightly_at"]):
        raise CannotRender(f"nightly_at is {found['nightly_at']!r}: give a time such as 02:30.")
    for name, value in found.items():
        if bad := _FORBIDDEN.search(value):
            raise CannotRender(
                f"{name} holds {bad.group()!r}, which means something to nginx, Apache,"
                " supervisord or systemd: choose another path or name."
            )


def render(name: str, given: Mapping[str, str]) -> str:
    """Return the text of one file.

    Raises:
        CannotRender: There is none of that name, it asks for what is not given, or a placeholder
            is malformed.
    """
    if name not in templates():
        raise CannotRender(f"There is no {name}. There are: {', '.join(templates())}.")
    template = ConfigTemplate((HERE / name).read_text(encoding="utf-8"))
    if not template.is_valid():
        raise CannotRender(f"{name} holds an @ that begins no placeholder: write @@ for an @.")
    missing = sorted(set(template.get_identifiers()) - set(given))
    if missing:
        raise CannotRender(f"{name} asks for {', '.join(missing)}, which render.py does not know.")
    return template.substitute(given)


def kept(home: Path) -> dict[str, str]:
    """Return the values that an installation keeps in render.conf."""
    path = home / "render.conf"
    if not path.exists():
        return {}
    lines = (line.strip() for line in path.read_text(encoding="utf-8").splitlines())
    return dict(_assignment(line, f"{path.name}:") for line in lines if line and line[0] != "#")


def keep(home: Path, changed: Mapping[str, str]) -> None:
    """Write values into render.conf."""
    home.mkdir(parents=True, exist_ok=True)
    text = "".join(f"{name}={value}\n" for name, value in sorted(changed.items()))
    write(home, {"render.conf": "# Values for render.py, which stay.\n" + text})


def write(out: Path, texts: Mapping[str, str]) -> list[Path]:
    """Write files whose text has changed; return them all."""
    written = []
    for name, text in texts.items():
        path = out / name.removesuffix(".in")
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            half = path.with_name(path.name + ".new")
            half.write_text(text, encoding="utf-8")
            half.replace(path)
        written.append(path)
    return written


def _check_socket(folder: str) -> None:
    size = len(os.fsencode(f"{folder}/{_LONGEST_SOCKET}"))
    if size > _SOCKET_BYTES:
        raise CannotRender(
            f"The path of the installation folder is {size - _SOCKET_BYTES} bytes too long for"
            f" sockets in it: choose a shorter one than {folder}."
        )


def _assignment(text: str, where: str = "--set") -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise CannotRender(f"{where} {text} has no value: write {where} {text}=VALUE.")
    return name.strip(), value.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--home", required=True, help="the installation folder")
    parser.add_argument("--host", action="append", help="names, with commas; the main one first")
    parser.add_argument("--http-port", help="default: 80")
    parser.add_argument("--https-port", help="default: 443")
    parser.add_argument("--python", help="default: current/venv/bin/python in the folder")
    parser.add_argument("--out", help="default: conf in the folder")
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", dest="changed")
    parser.add_argument("--keep", action="store_true", help="remember them in render.conf")
    parser.add_argument("--list", action="store_true", help="print all names and values, and end")
    parser.add_argument("files", nargs="*", metavar="FILE", help=f"of: {', '.join(templates())}")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Fill what the command line asks for."""
    options = _parser().parse_args(arguments)
    try:
        home = Path(options.home).absolute()
        changed = kept(home) | dict(_assignment(each) for each in options.changed)
        for name in ("http_port", "https_port", "python"):
            if (value := getattr(options, name)) is not None:
                changed[name] = value
        if options.host:
            changed["hosts"] = ",".join(options.host)
        given = values(options.home, HOSTS, changed)
        if options.keep:
            keep(home, changed)
        if options.list:
            print("\n".join(f"{name}={value}" for name, value in given.items()))
            return 0
        names = options.files or templates()
        texts = {name: render(name, given) for name in names}
    except CannotRender as error:
        print(f"render.py: {error}", file=sys.stderr)
        return 2
    for folder in ("run", "log"):
        (home / folder).mkdir(parents=True, exist_ok=True)
        (home / folder).chmod(0o750)  # the proxy's user comes in by the group
    for path in write(Path(options.out) if options.out else home / "conf", texts):
        print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
