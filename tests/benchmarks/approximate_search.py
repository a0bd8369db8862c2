"""Approximate search of FaissVectorStore and PgvectorVectorStore beside what they are made of.

Bare faiss, hnswlib and usearch search graphs of the same parameters, by themselves; "bare SQL" is
one prepared statement over psycopg, on the table and the index that the pgvector store made, with
the same settings of the session. All of them answer the same questions in turns, one question at a
time, and a ratio is the median over the rounds of (median search) / (median search). Recall is the
share of the ten nearest by exact search that is found; near-duplicates of equal score count alike.

A second table is about whole searches: `SimilaritySearchService.search`, which asks the database
what is new, embeds, searches and reads live rows that the user may see, beside the bare library
with the same chunks and rows read through the ORM.

Graphs, tables and vectors are kept in OBC_AI_BENCH_CACHE (by default in the folder for temporary
files) for the next run, and building goes on where it was interrupted; --fresh makes them anew.
--part is for one size alone: 100k, 1m or places. --build builds and measures nothing.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.benchmarks._approximate_bare import versions
from tests.benchmarks._approximate_data import PARTS, Cache
from tests.benchmarks._bench import machine, use_own_kernels

#: A part that was measured so long ago with the same code is not measured again by a run that
#: resumes another one.
RESUMES_SECONDS = 3 * 3600


def code() -> str:
    """Name the code that is measured and measures."""
    import django_obc_ai

    package = Path(django_obc_ai.__file__).parent
    folders = ("backends/vector_stores", "indexes", "services", "models", "migrations")
    files = [each for name in folders for each in package.glob(f"{name}/*.py")]
    files += Path(__file__).parent.glob("*approximate*.py")
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]


def measured(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Return a part's section, from a process of its own or from the run that was cut short.

    A process of its own, since Django is set up for one database.
    """
    cache = Cache(PARTS[name], is_fresh=arguments.fresh)
    kept = cache.path(f"section-{code()}.json")
    if kept.exists() and not arguments.build and name != "small":
        age = time.time() - kept.stat().st_mtime
        if age < RESUMES_SECONDS and not arguments.part:
            print(f"{name}: measured {age / 60:.0f} minutes ago", flush=True)
            return json.loads(kept.read_text())
    kept.unlink(missing_ok=True)
    command = [sys.executable, str(Path(__file__)), "--measure", name, "--out", str(kept)]
    command += ["--build"] if arguments.build else []
    command += ["--onnx", str(arguments.onnx)] if arguments.onnx else []
    done = subprocess.run(command)
    if done.returncode or (not kept.exists() and not arguments.build):
        title = PARTS[name].title
        return {"lines": [f"## {title}", "", "Not measured: its process failed."],
                "claims": [[f"{title}: measured", False]], "notes": []}  # fmt: skip
    return json.loads(kept.read_text()) if kept.exists() else {}


def page(sections: list[dict[str, Any]]) -> list[str]:
    """Return the lines of the page."""
    lines = ["# Approximate search", "", *(__doc__ or "").strip().splitlines(), "", *machine()]
    lines += [f"- {versions()}", "- Command: `tests/acceptance/run.sh approximate_search`", ""]
    notes = dict.fromkeys(note for each in sections for note in each["notes"])
    lines += [f"- {note}" for note in notes]
    lines += [""] if notes else []
    for each in sections:
        lines += [*each["lines"], ""]
    claims = [claim for each in sections for claim in each["claims"]]
    told = [f"- {'met' if ok else 'NOT MET'}: {claim}" for claim, ok in claims]
    return [*lines, "## Claims", "", *told]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--small", action="store_true")
    parser.add_argument("--part", action="append", choices=[n for n in PARTS if n != "small"])
    parser.add_argument("--build", action="store_true", help="build, and measure nothing")
    parser.add_argument("--fresh", action="store_true", help="forget what was built")
    parser.add_argument("--onnx", type=Path, default=os.environ.get("OBC_AI_TEST_ONNX"))
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--measure", choices=PARTS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    use_own_kernels()
    if arguments.measure:
        from tests.benchmarks import _approximate_part

        _approximate_part.run(arguments)
        return
    names = ["small"] if arguments.small else arguments.part or ["100k", "1m", "places"]
    found: dict[str, dict[str, Any]] = {}
    missing = []
    for name in names:
        if name == "places" and arguments.onnx is None:
            missing.append(
                "The barangays were not measured: name a folder with model.onnx and"
                " tokenizer.json (--onnx, OBC_AI_TEST_ONNX)."
            )
            continue
        found[name] = measured(name, arguments)
    if arguments.build:
        return
    if not arguments.small and arguments.part:  # the others as they were measured last
        found = {**_earlier(), **found}
    sections = [found[name] for name in PARTS if name in found]
    if missing:
        sections.append({"lines": [], "claims": [], "notes": missing})
    arguments.out.write_text("\n".join(page(sections)) + "\n")
    claims = [ok for each in sections for _, ok in each["claims"]]
    # A small run on a busy machine shows that it works; its ratios are no claims.
    if not arguments.small and not all(claims):
        sys.exit(1)


def _earlier() -> dict[str, dict[str, Any]]:
    """Return the sections that the same code has measured, each with its date in it."""
    return {
        name: json.loads(kept.read_text())
        for name, part in PARTS.items()
        if name != "small" and (kept := Cache(part).path(f"section-{code()}.json")).exists()
    }


if __name__ == "__main__":
    main()
