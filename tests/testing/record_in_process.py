"""A process that records what others record, too; see test_cassettes.py.

Its argument is that of `tests.in_process.begin`, with the "path" of the cassette. It tells the
prompts that it asked.
"""

from __future__ import annotations

import json
import os

from tests.in_process import begin, wait_for_the_others

given = begin()

from django_obc_ai.backends.providers import providers  # noqa: E402
from django_obc_ai.testing import Cassette, override_ai  # noqa: E402
from django_obc_ai.types import GenerationRequest  # noqa: E402

PROMPTS = ["shared", f"own {os.getpid()}"]
wait_for_the_others()
with override_ai(cassette=Cassette(given["path"], mode="all")):
    for prompt in PROMPTS:
        providers["default"].generate(GenerationRequest(prompt=prompt))
print(json.dumps(PROMPTS))
