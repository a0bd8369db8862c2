"""What strangers, users and models can do to the running site: scripts/verify_security.sh.

    python -m deploy.verify.security [--connect ADDRESS] [--only ID ...] [--json FILE] [--list]

Each check does what somebody would try, and looks at what comes of it; settings are read where
nothing can be tried. See docs/reference/verification.md for what each one is for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from deploy.verify import (
    security_access,
    security_audit,
    security_debug,
    security_files,
    security_headers,
    security_leaks,
    security_limits,
    security_lockout,
    security_queries,
    security_requests,
    security_sessions,
    security_tls,
    security_xss,
)
from deploy.verify.checks import Suite
from deploy.verify.context import main as run_checks

SUITE = Suite("security")
# What later ones build on comes first: settings, certificate, the site, its stores, its users.
for _add in (
    security_debug.add,
    security_files.add,
    security_audit.add,
    security_tls.add,
    security_sessions.add_people,
    security_headers.add,
    security_sessions.add,
    security_access.add,
    security_requests.add,
    security_queries.add,
    security_xss.add,
    security_limits.add,
    security_lockout.add,
    security_leaks.add,
):
    _add(SUITE)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the checks that the command line asks for."""
    return run_checks(SUITE, arguments, with_score=True)


if __name__ == "__main__":
    sys.exit(main())
