"""Ask the running site everything that it is there for: ``scripts/verify_ai.sh``.

python -m deploy.verify.ai [--connect ADDRESS] [--only ID ...] [--json FILE] [--list]
"""

from __future__ import annotations

import sys

from deploy.verify.ai_limits import suite
from deploy.verify.context import main

__all__ = ["suite"]

if __name__ == "__main__":
    sys.exit(main(suite))
