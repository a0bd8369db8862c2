#!/usr/bin/env bash
# Ask the site that runs here everything it is there for, over HTTPS as its visitors do, and count.
#
#   verify_ai.sh [--home DIR] [--connect ADDRESS] [--only ID ...] [--json FILE] [--list]
#
#   --home DIR         the installation folder; see _lib.sh
#   --connect ADDRESS  where the site is asked; default: 127.0.0.1
#   --only ID ...      these checks, and what they need
#   --json FILE        write the results there, too
#   --list             print the checks, and end
#
# Run it as the site's user, while the site runs; again as often as you like. It makes users whose
# names begin with obc-verify, which may do nothing afterwards, and asks the provider a few small
# questions, which costs less than a cent with Gemini. What each check asks, and what its failure
# means: docs/reference/verification.md.
#
# Exit codes: 0 none failed, 1 at least one did, 2 called wrongly, 3 refused.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

verify deploy.verify.ai "$@"
