"""Adapters that give every compared engine the same interface.

Each takes token ids and returns seconds, so tokenization is never measured. Engines whose package is not installed are
skipped; nothing is downloaded.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Timing:
    """Wall time in seconds of generating one batch of sequences.

    Attributes:
        first: until every sequence has its first new token.
        rest: from then until the last token.

    """

    first: float
    rest: float


class Peer(Protocol):
    """An engine with a loaded model."""

    name: str

    def generate(self, prompts: list[list[int]], new: int) -> Timing:
        """Generate exactly `new` tokens after each prompt, as one batch, and ignore end tokens."""
