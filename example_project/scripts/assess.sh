#!/usr/bin/env bash
# Assess the site that runs here: criteria of success, checklists, OWASP, each item with its command.
#
#   assess.sh [--home DIR] [--out FILE] [--json FILE] [--ai FILE] [--security FILE]
#             [--connect ADDRESS] [--list]
#
#   --home DIR         the installation folder; see _lib.sh
#   --out FILE         the readiness assessment, in Markdown; default: readiness.md in that folder
#   --json FILE        write the items there, too
#   --ai FILE          what verify_ai.sh --json wrote, in place of running it
#   --security FILE    what verify_security.sh --json wrote, in place of running it
#   --connect ADDRESS  where the site is asked; default: 127.0.0.1
#   --list             print the items, and end
#
# It runs both verifications, and says of each item whether it passed, failed, or could not be seen
# here, and why. The assessment has no name of a host or folder. Run a clone's own script with --home
# where its history should be looked into. Every item: docs/reference/success-criteria.md.
#
# The line before the last is "score N": per cent of the items that were decided, rounded down.
# Exit codes: 0 nothing failed, 1 something did, 2 called wrongly, 3 refused.
set -euo pipefail
# shellcheck source=_lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/_lib.sh"

verify deploy.verify.assess "$@"
