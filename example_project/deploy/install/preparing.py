"""The steps before there is a site to run: machine, settings, packages, code, servers."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from deploy import render
from deploy.backups.problems import Problem, say
from deploy.install import certificate, commands, env_file, machine, packages, releases, services
from deploy.install.decisions import decide, settings_so_far
from deploy.install.work import Work

#: Folders, and who may look into them: the group is the web server's.
FOLDERS = {
    "acme": 0o750, "backups": 0o700, "conf": 0o750, "log": 0o750, "releases": 0o750, "run": 0o750,
    "spool": 0o700, "static": 0o750, "tls": 0o700, "vectors": 0o700, "venvs": 0o750,
}  # fmt: skip


class Preparing(Work):
    """Each step can be run again, and says if nothing was to do."""

    def machine(self) -> None:
        """See that all programs are there."""
        kept = {**render.kept(self.home), **self.options.changed}
        needs_nginx = kept.get("autostart_nginx", "true") == "true"
        lacking = machine.missing(settings_so_far(self.home, os.environ), needs_nginx=needs_nginx)
        if lacking:
            raise Problem(
                f"This machine lacks {', '.join(what for what, _ in lacking)}."
                " On Debian and Ubuntu:\n"
                f"   {machine.apt_line([package for _, package in lacking])}"
            )
        say(
            f"   already there: Python {sys.version.split()[0]} ({sys.executable}) and all programs"
        )

    def settings(self) -> None:
        """Read .env, or make it."""
        for name, mode in FOLDERS.items():
            (self.home / name).mkdir(exist_ok=True)
            (self.home / name).chmod(mode)
        self.log.touch(mode=0o600)
        self.decision = decide(self.options, os.environ)
        # First the values, which the next run finds if this one is killed before it makes .env.
        render.keep(self.home, self.decision.changed)
        path = self.home / ".env"
        if self.decision.is_new:
            env_file.write(path, self.decision.settings)
            say(f"   made, mode 0600: {path}")
        else:
            say(f"   already there: {path}")
        say(f"   database: {self.decision.database()}; Redis: {self.decision.redis()}")
        say(f"   answers: {self.decision.answers()}")
        for note in self.decision.notes:
            say(f"   note: {note}")

    def packages(self) -> None:
        """Provide the packages."""
        constraints = self.options.source / "example_project" / "deploy" / "constraints.txt"
        if self.options.venv:
            self.venv = packages.given(self.options.venv, constraints)
            return
        env = commands.environment(os.environ)
        self.venv = packages.provide(self.home, constraints, env=env, log=self.log)

    def copy(self) -> None:
        """Copy the code."""
        self.release, is_new = releases.provide(self.home, self.options.source)
        say(f"   {'made' if is_new else 'already there'}: releases/{self.release.name}")
        if releases.use_packages(self.release, self.venv, self.home) and not is_new:
            say(f"   its packages are now {self.venv.name}")
        parts = [self.release / part for part in releases.PARTS]
        self.python("-m", "compileall", "-q", *parts, what="compileall", umask=0o027)

    def configuration(self) -> None:
        """Fill the files of conf/, in conf.new: what serves keeps its own until Start."""
        self.render("conf.new")
        is_filled = (self.home / "conf" / "supervisord.conf").is_file()
        if releases.current(self.home) is None or not is_filled:
            # Until there is a release to run, supervisord would start the site in vain.
            self.render("conf", autostart="false")
        else:
            self.render("conf", "services.conf.in")  # of the machine's servers, not of the release
        values = self.decision.values
        ports = f"{values['http_port']} and {values['https_port']}"
        say(f"   {self.home / 'conf'}: {values['hosts']}, ports {ports}")
        if self.supervisor().runs() or not self.options.starts:
            return
        self.refuse_strays()
        if values["autostart_nginx"] == "true":
            for name in ("http_port", "https_port"):
                if fault := machine.port_fault(int(values[name]), values["address"]):
                    option = "--" + name.replace("_", "-")
                    raise Problem(f"Port {values[name]} cannot be listened at: {fault}. {option} N")

    def certificate(self) -> None:
        """See that there is a certificate."""
        values = self.decision.values
        openssl = machine.find("openssl") or "openssl"
        paths = Path(values["certificate"]), Path(values["certificate_key"])
        say(f"   {certificate.provide(openssl, *paths, values['hosts'].split())}")
        if values["autostart_nginx"] == "true":
            conf = self.home / "conf.new" / "nginx.conf"
            test = [values["nginx"], "-t", "-q", "-c", conf, "-e", "stderr"]
            commands.run(test, what="nginx -t", env=commands.environment(os.environ), log=self.log)

    def services(self) -> None:
        """Start what a trial runs besides the site, and wait until all answers."""
        decision, supervisor = self.decision, self.supervisor()
        needed, changed = self._make_services()
        if supervisor.runs():
            known = set(supervisor.status()) & {"postgres", "redis"}
            supervisor.do("reread")
            if groups := sorted(known | set(needed)):
                supervisor.do("update", *groups)
            for name in sorted(changed & known):
                supervisor.do("restart", name)
        elif needed:
            self.refuse_strays()
            for name in needed:
                self._see_port(name)
            supervisor.start()
        supervisor.ensure(needed)
        notes = self.ask_database("wait")
        if decision.runs_postgres and not self.options.skips_database:
            notes += self.ask_database("own", decision.values["postgres_port"])
        elif not self.options.skips_database:
            notes += self.ask_database("make")
        say(f"   of its own: {', '.join(needed) or 'none'}; database and Redis answer")
        for note in notes:
            say(f"   {note}")

    def _see_port(self, name: str) -> None:
        variable = {"postgres": "DATABASE_URL", "redis": "REDIS_URL"}[name]
        port = self.decision.values[f"{name}_port"]
        if fault := machine.port_fault(int(port), "127.0.0.1"):
            raise Problem(
                f"{name} cannot listen at 127.0.0.1:{port}: {fault}. End what does, or write a free"
                f" port into {variable} of .env and add --set {name}_port=N."
            )

    def _make_services(self) -> tuple[list[str], set[str]]:
        """Make the folders of PostgreSQL and Redis; return which are needed, which are changed."""
        decision, needed, changed = self.decision, [], set()
        if decision.runs_postgres:
            needed.append("postgres")
            program, env = decision.values["postgres"], commands.environment(os.environ)
            if services.make_postgres(self.home, program, env=env, log=self.log):
                say(f"   made: {self.home / 'postgres'}")
        if decision.runs_redis:
            needed.append("redis")
            port = decision.values["redis_port"]
            if services.make_redis(self.home, decision.settings["REDIS_URL"], port):
                changed.add("redis")
        return needed, changed
