"""A whole text, token by token, in windows that slide over it."""

import hashlib
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from inkhorn.errors import CorpusError, require
from inkhorn.evaluation.loglikelihood import Passage, Row, Score
from inkhorn.evaluation.tasks.journal import Record
from inkhorn.evaluation.tasks.task import Measure, safe_exp


class Windows:
    """Window i is tokens [i * stride, i * stride + size); in it those are scored that no window before it has scored.

    Args:
        ids: (n,) token ids of the text.
        block_size: most tokens that the model sees.
        stride: from one window to the next, at most block_size.
        beyond: 1 has the model predict one token after the block_size that it sees: size = block_size + 1, and every
            token but the text's first is scored once. 0 does not, as transformers' documentation: size = block_size,
            and at a stride as long the first token of each window, which nothing precedes, is left out.
        name: of the task.
        origin: begins the description of the method.
        notes: on the text.

    """

    unit = "windows"

    def __init__(
        self,
        ids: "np.ndarray[Any, np.dtype[Any]]",
        block_size: int,
        stride: int,
        *,
        beyond: int = 1,
        name: str = "text",
        origin: str = "",
        notes: tuple[str, ...] = (),
    ) -> None:
        require(1 <= stride <= block_size, f"--stride must be from 1 to the block of {block_size}, not {stride}")
        if len(ids) < 2:
            raise CorpusError(f"{name} has {len(ids)} tokens for this model; a loss needs at least 2")
        self.ids, self.block_size, self.stride = ids, block_size, stride
        self.size = block_size + beyond
        self.name, self.origin, self.notes = name, origin, notes
        sha256 = hashlib.sha256(np.ascontiguousarray(ids, "<i4").tobytes()).hexdigest()
        self.settings: dict[str, Any] = {"data": sha256, "window": self.size, "stride": stride}

    def __len__(self) -> int:
        n = len(self.ids)  # a further window needs tokens that no window before it had, and one before them
        return 1 + max(0, min(-(-(n - self.size) // self.stride), -(-(n - 1) // self.stride) - 1))

    @property
    def method(self) -> str:
        """How the tokens are scored, in words."""
        seen = self.size - self.stride
        if seen == 1:
            return f"{self.origin}non-overlapping windows of {self.block_size}"
        if seen == 0:
            return f"{self.origin}non-overlapping windows of {self.block_size}, the first token of each left out"
        how = f"sliding window of {self.block_size}, stride {self.stride}"
        return f"{self.origin}{how}: at least {seen} tokens before each"

    def passages(self, item: int) -> list[Passage]:
        """One window."""
        begin = item * self.stride
        end = min(begin + self.size, len(self.ids))
        done = begin - self.stride + self.size if item else 0
        ids = tuple(int(i) for i in self.ids[begin:end])
        return [Passage((Row(ids, max(done - begin, 1)),))]

    def record(self, item: int, scores: Sequence[Score]) -> Record:  # noqa: ARG002
        """The window's loss in nats, and of how many tokens."""
        (window,) = scores
        return {"nats": -window.total, "tokens": len(window.logprobs)}

    def loss(self, records: Sequence[Record]) -> float:
        """Nats per token."""
        return math.fsum(r["nats"] for r in records) / sum(r["tokens"] for r in records)

    def measures(self, records: Sequence[Record]) -> list[Measure]:
        """Loss and perplexity per token."""
        loss = self.loss(records)
        return [
            Measure(name="loss", value=loss, method=f"{self.method}; nats per token"),
            Measure(name="token_perplexity", value=safe_exp(loss), method=f"{self.method}; per token"),
        ]
