"""One backend of each family, enabled by its dotted path in ``OBC_AI`` alone."""

from __future__ import annotations
