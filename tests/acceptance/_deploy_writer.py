"""Use the example site as visitors do, until the process is ended: ask for money, and edit.

    python _deploy_writer.py      prints "ID COST" of each answered call, in nano-dollars

Started by deploy_backup.py with the site's settings. The ledger's row is written before an answer
is handed over, so a printed one must be in every backup that begins afterwards.
"""

from __future__ import annotations

import os
import random

import django

django.setup()

from communities.models import Community  # noqa: E402
from django_obc_ai.services.text import TextService  # noqa: E402
from django_obc_ai.types import nano_from_usd  # noqa: E402

places = list(Community.objects.values_list("pk", flat=True)[:500])
while True:
    prompt = f"Question {os.getpid()} {random.random()}"
    found = TextService().generate_text(prompt, use_cache=False, max_output_tokens=200)
    if found.success:
        print(found.operation_id, nano_from_usd(found.cost), flush=True)
    place = Community.objects.get(pk=random.choice(places))
    place.save()  # the index follows
