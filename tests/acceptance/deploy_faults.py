"""Faults of a deployed site, and the script that names each.

The kit's own deploy on a fresh Debian, as deploy_kit.py has it. Then each fault is planted as life
brings it: the right script has to end with 1 and to name it, others of its checks have to pass, and
it has to end with 0 once the fault is taken away. A loopback server that speaks Gemini's protocol
refuses a wrong key. At reduced size deploy_kit.py plants them.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import deploy_kit

if __name__ == "__main__":
    if "--small" in sys.argv:
        print("At reduced size deploy_kit plants the faults.")
    else:
        deploy_kit.main("faults", "Faults of a deployed site", __doc__)
