"""What the tasks have in common: reading texts into tokens to score, and numbers with their method beside them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from inkhorn.evaluation.loglikelihood import Passage, Score, rolling
from inkhorn.evaluation.tasks.journal import Record
from inkhorn.tokenizer.base import Tokenizer


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A number, and how it came about.

    Attributes:
        name: as others call it.
        value: the number.
        method: by which rule, so that it can be compared.
        stderr: standard error over the items, where each gives one value.

    """

    name: str
    value: float
    method: str
    stderr: float | None = None


class Task(Protocol):
    """A list of items to score, each on its own."""

    name: str
    unit: str
    """what an item is, in the plural"""
    settings: dict[str, Any]
    """all that the records depend on beside the model"""
    notes: tuple[str, ...]
    """what a reader of the numbers should know of the data"""

    def __len__(self) -> int:
        """How many items there are."""

    def passages(self, item: int) -> list[Passage]:
        """What the model is asked for an item."""

    def record(self, item: int, scores: Sequence[Score]) -> Record:
        """What is kept of the answers."""

    def measures(self, records: Sequence[Record]) -> list[Measure]:
        """The numbers, from the records of at least one item."""


class Reader:
    """Reads texts for one model.

    Args:
        tokenizer: the model's.
        block_size: the model's.
        start: the id that a text without context begins with.

    Attributes:
        replaced: characters so far that the vocabulary lacks.

    """

    def __init__(self, tokenizer: Tokenizer, block_size: int, start: int) -> None:
        self.tokenizer, self.block_size, self.start = tokenizer, block_size, start
        self.replaced = 0

    def encode(self, text: str) -> list[int]:
        """Ids of a text, made to fit the vocabulary."""
        fitted, unknown = self.tokenizer.normalize(text)
        self.replaced += sum(u.count for u in unknown)
        return [int(i) for i in self.tokenizer.encode(fitted)]

    def continuation(self, context: str, text: str) -> Passage:
        """The text after a context, as lm-eval asks for it.

        Blanks at the context's end go with the text, both are encoded as one, and what goes beyond the context's own
        tokens is scored. A context too long for the block loses its beginning.
        """
        counted = self.replaced
        before = self.encode(context.rstrip()) or [self.start]
        self.replaced = counted  # the whole has the context's characters again
        whole = self.encode(context + text)
        return self._passage(whole if context.rstrip() else [self.start, *whole], len(before))

    def completion(self, context: str, text: str) -> Passage:
        """The text after a context, each encoded alone."""
        before, after = self.encode(context) or [self.start], self.encode(text)
        return self._passage([*before, *after], len(before))

    def whole(self, text: str) -> Passage:
        """All of a text, after the start token, in windows that do not overlap: lm-eval's rolling log-likelihood."""
        return Passage(rolling([self.start, *self.encode(text)], 1, self.block_size))

    def _passage(self, ids: list[int], first: int) -> Passage:
        rows = rolling(ids, first, self.block_size)
        return Passage(rows, cut=bool(rows) and len(ids) > self.block_size + 1)


def mean_measure(name: str, values: Sequence[float], method: str) -> Measure:
    """The mean of some values, with its standard error (sample deviation over the root of how many, as lm-eval has)."""
    n = len(values)
    mean = sum(values) / n
    spread = math.sqrt(sum((value - mean) ** 2 for value in values) / (n - 1) / n) if n > 1 else None
    return Measure(name=name, value=mean, method=method, stderr=spread)


def safe_exp(value: float) -> float:
    """e to the value; infinite where that is too large for a float."""
    return math.exp(value) if value < 700 else math.inf
