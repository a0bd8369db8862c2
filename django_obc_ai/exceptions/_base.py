"""What all run-time errors share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from django_obc_ai.types import Usage


class ObcAIError(Exception):
    """Base class of all run-time errors.

    Attributes:
        code: The category stored in ``AIOperation.error_category`` and returned as
            ``GenerationResult.error``.
        retryable: Whether the same request may succeed if it is sent again.
        retry_after_seconds: The wait that the server asked for, or None.
        usage: Tokens the provider reports as billed although the call failed, or None.
        model: The model that used them, where the provider named it; prices follow it.
        is_possibly_billed: Whether the request may have been billed although no usage
            was reported (True for a cut connection, False for a refused request).
    """

    code: str = "bad_response"
    retryable: bool = False
    is_possibly_billed: bool = False

    def __init__(
        self,
        message: str = "",
        *,
        retry_after_seconds: float | None = None,
        usage: Usage | None = None,
        model: str = "",
        is_possibly_billed: bool | None = None,
    ) -> None:
        """Keep the message and the plain facts of the failure.

        Args:
            message: What was wrong, where, and what to do.
            retry_after_seconds: See the class.
            usage: See the class.
            model: See the class.
            is_possibly_billed: Overrides the class where the backend knows better.
        """
        super().__init__(message or (self.__doc__ or "").splitlines()[0])
        self.retry_after_seconds = retry_after_seconds
        self.usage = usage
        self.model = model
        if is_possibly_billed is not None:
            self.is_possibly_billed = is_possibly_billed

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle by message and attributes; keyword-only arguments need this."""
        return (_rebuild, (type(self), str(self), dict(self.__dict__)))


def _rebuild(cls: type[ObcAIError], message: str, state: dict[str, Any]) -> ObcAIError:
    error = cls(message)
    error.__dict__.update(state)
    return error
