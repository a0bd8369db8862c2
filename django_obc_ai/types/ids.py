"""New ids."""

from __future__ import annotations

import os
import random
import uuid

# Of its own, so that no random.seed() of a project gives two processes the same ids; and not
# os.urandom(), a system call that takes longer than much of a call's preparation.
_source = random.Random()  # noqa: S311
os.register_at_fork(after_in_child=_source.seed)
#: The bits that say "version 4", set here: UUID() takes as long for them as for all the rest.
_FREE = ~(0xF << 76 | 0x3 << 62)
_VERSION_4 = 4 << 76 | 0x2 << 62


def new_id() -> uuid.UUID:
    """Return a random UUID, version 4, for something that is named and need not be secret."""
    return uuid.UUID(int=_source.getrandbits(128) & _FREE | _VERSION_4)
