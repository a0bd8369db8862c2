#!/usr/bin/env bash
# Try on the site that runs here what strangers, users and models led astray would try, and count.
#
#   verify_security.sh [--home DIR] [--connect ADDRESS] [--only ID ...] [--json FILE] [--list]
#
#   --home DIR         the installation folder; see _lib.sh
#   --connect ADDRESS  where the site is asked; default: 127.0.0.1
#   --only ID ...      these checks, and what they need
#   --json FILE        write the results there, too
#   --list             print the checks, and end
#
# Run it as the site's user, on the server itself, while the site runs; again as often as you like.
# It makes users whose names begin with obc-verify, which may do nothing afterwards, and provokes
# throttles and locks from addresses of the loopback that nobody else has. A provider that is paid
# for is asked two questions. The first run installs pip-audit into venvs/audit, if it can.
#
# The line before the last is "score N": per cent of the checks that could be made, rounded down.
# What each check tries, and what its failure means: docs/reference/verification.md.
#
# Exit codes: 0 none failed, 1 at least one did, 2 called wrongly, 3 refused.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

verify deploy.verify.security "$@"
