"""Engines that are measured side by side, each behind the same two questions.

All take token ids and give seconds, so that no tokenizer is part of a measurement. An engine whose package is not
installed is left out; nothing is fetched.
"""

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Timing:
    """Seconds of one text, or of several at once.

    Attributes:
        first: until the first new token of each was there.
        rest: from then until the last.

    """

    first: float
    rest: float


class Peer(Protocol):
    """An engine with a model."""

    name: str

    def write(self, prompts: list[list[int]], new: int) -> Timing:
        """Continue the prompts, all at once, by `new` tokens each, whatever is drawn."""
