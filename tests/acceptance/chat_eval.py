"""Questions over the example's real places, answered by the planner without a model.

Rows are compared with those that the ORM finds in another way; `tests/example/questions.py` holds
the questions. The planner was tried on some of the first set while it was written. The second set
was written afterwards; its figures are those of the first run, and nothing was changed for them
unless a wrong answer is named below. "Not understood" is an answer too: the planner says so and
suggests others.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
from collections import Counter
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--small", action="store_true", help="the same: it is quick")
    parser.add_argument("--out", required=True)
    options = parser.parse_args()
    from tests.example.running import ROOT, manage, run

    with tempfile.TemporaryDirectory() as folder:
        var = Path(folder)
        manage("migrate", "--verbosity", "0", var=var)
        manage("load_places", var=var)
        done = run(ROOT / "tests/example/questions.py", var=var)
    if done.returncode:
        raise SystemExit(done.stderr)
    counts: Counter[tuple[str, str, str, str]] = Counter()
    missed: list[str] = []
    wrong = 0
    for language, question, kind, outcome, _, which in json.loads(done.stdout):
        counts[which, language, kind, outcome] += 1
        wrong += outcome == "wrong"
        if kind != "none" and outcome != "right":
            missed.append(f"- {question} ({outcome})")
    command = "Command: `./tests/acceptance/run.sh chat_eval`"
    lines = ["# Questions without a model", "", (__doc__ or "").strip(), ""]
    lines += [f"Python {platform.python_version()}. {command}", ""]
    lines.append("| set | language | kind | questions | right | not understood | wrong |")
    lines.append("|---" * 7 + "|")
    for group in sorted({key[:3] for key in counts}):
        found = [counts[*group, each] for each in ("right", "not understood", "wrong")]
        name = "of what is not there" if group[2] == "none" else group[2]
        lines.append("| " + " | ".join(map(str, [*group[:2], name, sum(found), *found])) + " |")
    lines += ["", "| set | language | right of those that can be answered |", "|---|---|---|"]
    for pair in sorted({key[:2] for key in counts}):
        asked = {key: n for key, n in counts.items() if key[:2] == pair and key[2] != "none"}
        right = sum(n for key, n in asked.items() if key[3] == "right")
        lines.append(f"| {pair[0]} | {pair[1]} | {right} of {sum(asked.values())} |")
    lines += ["", "Not answered:", "", *(missed or ["- none"]), ""]
    Path(options.out).write_text("\n".join(lines), encoding="utf-8")
    if wrong:
        raise SystemExit(f"{wrong} wrong answers were presented as right.")


if __name__ == "__main__":
    main()
