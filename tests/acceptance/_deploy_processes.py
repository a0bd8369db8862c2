"""supervisord with the kit's configuration: started, stopped, killed, reloaded under load."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance._api_report import Report
from tests.acceptance._deploy_clients import Client, Crowd, is_whole
from tests.acceptance._deploy_site import KitSite, wait_until

PROGRAMS = ("beat", "nginx", "nightly", "streams", "web", "worker")
#: What is asked to see whether one runs; worker and beat are seen by what they write.
PATHS = {"web": "/trial/seen/", "streams": "/chat/trial/seen/", "nginx": "/trial/seen/"}
READY = {"worker": "ready.", "beat": "beat: Starting...", "nightly": "Waits for"}


def has_ended(pid: int) -> bool:
    """Is a process gone? Where nobody waits for orphans it stays as a zombie."""
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] == "Z"


class Supervisor:
    """A running supervisord, and what its command line does."""

    def __init__(self, site: KitSite, report: Report, paths: Mapping[str, str] = PATHS) -> None:
        self.site, self.report, self.paths = site, report, paths
        self.client = Client(site.https, site.home / "tls" / "cert.pem")
        self._config = str(site.home / "conf" / "supervisord.conf")

    @contextmanager
    def running(self) -> Iterator[None]:
        """Start it, wait until all answers, and end it, each call included."""
        command = [sys.executable, "-m", "supervisor.supervisord", "-n", "-c", self._config]
        process = subprocess.Popen(
            command, env=self.site.environment, cwd=self.site.home, stdout=subprocess.DEVNULL
        )
        try:
            for name in PROGRAMS:
                self.wait(name)
            yield
        finally:
            process.terminate()
            process.wait(120)

    def control(self, *command: str) -> str:
        """Run supervisorctl; its exit code is not looked at, since "status" has several."""
        done = subprocess.run(
            [sys.executable, "-m", "supervisor.supervisorctl", "-c", self._config, *command],
            env=self.site.environment, cwd=self.site.home, capture_output=True, text=True,
            timeout=180,
        )  # fmt: skip
        return done.stdout + done.stderr

    def pid(self, name: str) -> int:
        text = self.control("pid", name).strip()
        return int(text) if text.isdecimal() else 0

    def wait(self, name: str) -> None:
        """Wait until a program does its work."""
        path = self.paths.get(name)
        if path is None:
            wait_until(lambda: READY[name] in self.site.log(f"{name}.log"), f"{name} is ready")
        else:
            wait_until(lambda: self.client.ask(path).status < 400, f"{name} answers")
        wait_until(lambda: "RUNNING" in self.control("status", name), f"{name} is RUNNING")

    def forget(self, name: str) -> None:
        """Empty the log of a program, so that what it writes next is seen."""
        log = self.site.home / "log" / f"{name}.log"
        if log.exists():
            os.truncate(log, 0)

    def prove(self) -> None:
        """Do all that the kit's documentation says of it."""
        expect = self.report.expect
        status = self.control("status")
        expect(status.count("RUNNING") == len(PROGRAMS), f"not all run: {status}")
        for name in PROGRAMS:
            self.forget(name)
            self.control("stop", name)
            expect("STOPPED" in self.control("status", name), f"{name} does not stop")
            if path := self.paths.get(name):
                try:
                    code = self.client.ask(path).status
                except OSError:
                    code = 0
                expect(code in (0, 502), f"{name} is stopped and answers {code}")
            self.control("start", name)
            self.wait(name)
        self.report.line(f"- Stopped and started again: {', '.join(PROGRAMS)}.")
        for name in PROGRAMS:
            self.forget(name)
            before, workers = self.pid(name), self.processes(name)
            os.kill(before, signal.SIGKILL)
            self.wait_for_another(name, before)
            self.wait(name)
            for pid in workers:
                self.wait_for_end(name, pid)
        self.report.line(
            "- Killed by SIGKILL, each of them came back and did its work again; no process of"
            " before was left."
        )
        self.one_of_many()
        self.ends_of_calls()

    def wait_for_another(self, name: str, before: int) -> None:
        """Wait until another process than that runs."""
        wait_until(lambda: self.pid(name) not in (0, before), f"{name} comes back")

    def wait_for_end(self, name: str, pid: int) -> None:
        """Wait until a process of a program that was killed is gone, too."""
        wait_until(lambda: has_ended(pid), f"{name}: process {pid} ends")

    def one_of_many(self) -> None:
        """Kill one process of each server's, while others serve."""
        for path in (self.paths["web"], self.paths["streams"]):
            killed = self.client.ask(path).json()["pid"]
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda now=killed: has_ended(now), "it is gone")
            answers = [self.client.ask(path) for _ in range(10)]
            good = all(each.status == 200 for each in answers)
            self.report.expect(good, f"{path}: {[each.status for each in answers]} after a kill")
        self.report.line("- With one process of gunicorn or uvicorn killed, the others answer.")

    def ends_of_calls(self) -> None:
        """Stop the servers while they answer."""
        told: dict[str, bool] = {}

        def slow() -> None:
            told["web"] = self.client.ask("/trial/slow/?seconds=4").status == 200

        def stream() -> None:
            told["streams"] = is_whole(self.client.stream("How many provinces? I am cut off."))

        for name, call in (("web", slow), ("streams", stream)):
            thread = threading.Thread(target=call)
            thread.start()
            time.sleep(1.5)  # it is under way
            self.control("stop", name)
            thread.join()
            self.report.expect(told.get(name, False), f"{name}: a stop cut an answer off")
            self.control("start", name)
            self.wait(name)
        self.report.line(
            "- Stopped in the middle of an answer, web and streams told it to the end."
        )

    def reload(self, *, is_small: bool) -> None:
        """Change the release, and then the proxy's configuration, while a crowd asks."""
        seconds = 10 if is_small else 30
        for what, programs in (
            ("another release for web and streams", ("web", "streams")),
            ("nginx's configuration", ("nginx",)),
        ):
            before = {name: self.processes(name) for name in ("web", "streams")}
            with Crowd(self.client, each=2) as crowd:
                time.sleep(3)
                if "web" in programs:
                    self.site.switch("two")
                self.control("signal", "HUP", *programs)
                time.sleep(seconds)
            asked = sum(crowd.done.values())
            self.report.expect(not crowd.failed, f"{what}: {len(crowd.failed)} {crowd.failed[:3]}")
            missing = [kind for kind in Crowd.KINDS if not crowd.done[kind]]
            self.report.expect(not missing, f"{what}: never asked for {missing}")
            if "web" in programs:
                expected = {"one", "two"}
                self.report.expect(set(crowd.releases) == expected, f"{crowd.releases} answered")
                for name, path in self.paths.items():
                    release = self.client.ask(path).json()["release"]
                    self.report.expect(release == "two", f"{name} still serves release {release}")
                for name, old in before.items():
                    for pid in old:  # each ends when it has told what it was asked
                        self.wait_for_end(name, pid)
            self.report.line(
                f"- Under load, {what}: {asked:,} answers, {crowd.done['stream']} of them streams,"
                f" {len(crowd.failed)} failed; {crowd.repeated} requests met a connection that"
                " nginx had closed while it was idle, and were sent again on a new one, as browsers"
                " do."
            )

    def processes(self, name: str) -> set[int]:
        """Return the processes that serve, without the one that watches them."""
        children = Path(f"/proc/{self.pid(name)}/task/{self.pid(name)}/children").read_text()
        commands = {
            int(each): Path(f"/proc/{each}/cmdline").read_bytes() for each in children.split()
        }
        return {pid for pid, command in commands.items() if b"resource_tracker" not in command}
