"""LiteLLM in an environment of its own: a line of JSON in, a line of JSON out.

Run by the Python that `_litellm.environment()` makes; nothing of this project is imported.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
import warnings
from typing import Any

warnings.simplefilter("ignore")
os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # otherwise it is downloaded

MESSAGES = [{"role": "user", "content": "Which barangays of Upi lie on the coast?"}]


def block(*, calls: int) -> dict[str, list[float]]:
    """Time calls that go nowhere, in milliseconds."""
    import litellm

    found = []
    for _ in range(calls):
        began = time.perf_counter()
        litellm.completion(
            model="gemini/gemini-2.5-flash", messages=MESSAGES, mock_response="Upi.",
            max_tokens=256,
        )  # fmt: skip
        found.append((time.perf_counter() - began) * 1000)
    return {"litellm": found}


def once(*, url: str, key: str, redis_port: int, prompt: str, at: float, callers: int) -> list[str]:
    """Ask the same from so many threads at one time, with a cache on Redis."""
    import litellm

    if litellm.cache is None:
        litellm.cache = litellm.Cache(type="redis", host="127.0.0.1", port=str(redis_port))
    found: list[str] = []

    def work() -> None:
        time.sleep(max(0.0, at - time.monotonic()))
        answer: Any = litellm.completion(
            model="openai/small", api_base=url, api_key=key, caching=True, max_tokens=50,
            messages=[{"role": "user", "content": prompt}],
        )  # fmt: skip
        found.append(answer.choices[0].message.content)

    threads = [threading.Thread(target=work) for _ in range(callers)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return found


def main() -> None:
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # nothing else may write among the answers
    import litellm

    litellm.telemetry = False
    print(json.dumps("ready"), file=out, flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(globals()[order.pop("do")](**order)), file=out, flush=True)


if __name__ == "__main__":
    main()
