"""verify_security.sh against the site as deployed, and with faults in its settings and proxy.

nginx, gunicorn, uvicorn and Redis run with the kit's configuration, over TLS. The whole
verification has to find nothing; then debugging, policies, throttles, lockout, cookies, CSRF,
escaping, logs, addresses of the proxy, ciphers, certificates, secrets and plans that are run are
spoilt, one after the other, and each has to be named by its check and in its words.
"""

from __future__ import annotations

import argparse
import os
import platform
import re
import subprocess
import sys
from pathlib import Path

from tests.acceptance._deploy_site import find, install

CASES = Path(__file__).with_name("_security_cases.py")
#: At reduced size: both directions.
SMALL = "good_site or test_faults_of_settings or expired or secrets"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    if find("nginx") is None or find("openssl") is None:
        print("SKIPPED: there is no nginx, or no openssl (on Debian: apt-get install nginx).")
        return
    install()
    command = [
        sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", str(CASES),
        *(["-k", SMALL] if options.small else []),
    ]  # fmt: skip
    done = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    print(done.stdout, flush=True)
    ended = re.findall(r"::test_(\S+?)(?:\[.*\])? (PASSED|FAILED|ERROR|SKIPPED)", done.stdout)
    rows: dict[str, list[str]] = {}
    for name, word in ended:
        rows.setdefault(name.replace("_", " "), []).append(word.lower())
    facts = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores. Command:"
        " `./tests/acceptance/run.sh deploy_security`"
    )
    lines = ["# Faults that verify_security.sh names", "", (__doc__ or "").strip(), "", facts, ""]
    lines += ["| Trial | Ended |", "| --- | --- |"]
    lines += [f"| {name} | {', '.join(words)} |" for name, words in rows.items()]
    Path(options.out).write_text("\n".join([*lines, ""]), encoding="utf-8")
    raise SystemExit(done.returncode)


if __name__ == "__main__":
    main()
