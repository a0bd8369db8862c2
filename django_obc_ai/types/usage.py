"""What a provider counted for a call.

Token counts follow one convention everywhere: ``input_tokens`` includes
``cached_tokens``; ``output_tokens`` excludes ``thinking_tokens``; what the provider
bills is input + output + thinking + tool tokens.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What the provider counted for one call.

    Attributes:
        input_tokens: Prompt tokens, cached ones included.
        cached_tokens: The part of the prompt that was billed at the cached price.
        output_tokens: Tokens of the answer, without thinking.
        thinking_tokens: Tokens of hidden reasoning, billed as output.
        tool_tokens: Prompt tokens spent on tool results, billed as input.
        audio_tokens: The part of the uncached prompt that was billed at the audio price.
        is_exact: True only if the provider itself reported the counts.
    """

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    thinking_tokens: int = 0
    tool_tokens: int = 0
    audio_tokens: int = 0
    is_exact: bool = True

    @property
    def total_tokens(self) -> int:
        """Return all tokens that are billed in some way."""
        return self.input_tokens + self.output_tokens + self.thinking_tokens + self.tool_tokens

    def made_plausible(self) -> Usage:
        """Return counts that cannot lower a total: none negative, the parts within the input.

        Counts that had to be changed are no longer exact. Providers that count cached
        tokens beside the input should add them up themselves.
        """
        counted = (
            self.input_tokens, self.cached_tokens, self.output_tokens, self.thinking_tokens,
            self.tool_tokens, self.audio_tokens,
        )  # fmt: skip
        if min(counted) >= 0 and self.cached_tokens + self.audio_tokens <= self.input_tokens:
            return self
        counts = {
            f.name: max(0, getattr(self, f.name)) for f in fields(self) if f.name != "is_exact"
        }
        parts = counts["cached_tokens"] + counts["audio_tokens"]
        counts["input_tokens"] = max(counts["input_tokens"], parts)
        is_same = all(getattr(self, name) == count for name, count in counts.items())
        return Usage(**counts, is_exact=self.is_exact and is_same)

    def is_whole_for(self, text: str) -> bool:
        """Return whether these can be all the tokens of an answer with this text.

        No answer is made of an empty prompt, and no text of no tokens. Thinking stands for the
        text only where it is what a total had left over, which made the counts inexact.
        """
        is_explained = self.thinking_tokens > 0 and not self.is_exact
        return self.input_tokens > 0 and (
            self.output_tokens > 0 or is_explained or not text.strip()
        )

    def after(self, earlier: Usage | None) -> Usage:
        """Return these cumulative counts of a stream, none below what was counted before.

        A count that fell is no longer exact. The highest counts; of cached tokens, which make
        a prompt cheaper, the last.
        """
        if earlier is None:
            return self
        names = [f.name for f in fields(self) if f.name != "is_exact"]
        has_fallen = any(getattr(self, name) < getattr(earlier, name) for name in names)
        counts = {name: max(getattr(self, name), getattr(earlier, name)) for name in names}
        counts["cached_tokens"] = self.cached_tokens
        return Usage(**counts, is_exact=self.is_exact and not has_fallen)

    def __add__(self, other: Usage) -> Usage:
        """Return the sum of two calls; exact only if both are."""
        return Usage(
            input_tokens=self.input_tokens + other.input_tokens,
            cached_tokens=self.cached_tokens + other.cached_tokens,
            output_tokens=self.output_tokens + other.output_tokens,
            thinking_tokens=self.thinking_tokens + other.thinking_tokens,
            tool_tokens=self.tool_tokens + other.tool_tokens,
            audio_tokens=self.audio_tokens + other.audio_tokens,
            is_exact=self.is_exact and other.is_exact,
        )
