"""The contract of a prompt context."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar


class BaseContext(ABC):
    """Background that belongs into the system instruction of a project's prompts."""

    #: Does the text depend on the user? Answers are then cached per user.
    varies_by_user: ClassVar[bool] = False

    @abstractmethod
    def render(self, *, user: Any, operation_type: str, module: str) -> str:
        """Return the context's text for this call, or "" to stay out of it.

        Args:
            user: The calling user or None. Use it only with ``varies_by_user = True``.
            operation_type: For example "chat".
            module: For example "communities".
        """
