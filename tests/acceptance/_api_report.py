"""What a part of the proof of API and chat page leaves behind; see api.py."""

from __future__ import annotations


class Report:
    """The lines of one part, and what was not as it must be."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.faults: list[str] = []

    def line(self, text: str) -> None:
        """Add a line of Markdown to the page."""
        print(text, flush=True)
        self.lines.append(text)

    def fault(self, text: str) -> None:
        """Note what fails the proof; the page names it."""
        print(f"FAULT: {text}", flush=True)
        self.faults.append(text)

    def expect(self, claim: bool, why: str) -> None:
        """Note a fault unless something is so."""
        if not claim:
            self.fault(why)
