"""One text on its way from logits to its reader: what a request asks of the backend, and what its tokens mean."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from inkhorn.errors import CheckpointError
from inkhorn.inference.backends.base import Array, Result, TokenLogprobs, Work
from inkhorn.inference.outputs import Piece
from inkhorn.inference.request import Request
from inkhorn.inference.sampling import Sampler, log_probabilities
from inkhorn.inference.scheduler import Turn
from inkhorn.inference.stopping import TextStream
from inkhorn.inference.stream import Handle


@dataclass(eq=False)
class Writing:
    """A request, its sampler, its text and its reader.

    Attributes:
        request: what the scheduler knows of it.
        sampler: draws its tokens.
        stream: makes text of them.
        handle: its reader's end.
        logprobs: None, or how many of the likeliest tokens to tell with each.
        ended: nothing more is to be drawn.

    """

    request: Request
    sampler: Sampler
    stream: TextStream
    handle: Handle
    logprobs: int | None = None
    ended: bool = field(default=False, init=False)
    _pieces: list[Piece] = field(default_factory=list, init=False)
    _error: CheckpointError | None = field(default=None, init=False)
    _scores: list[TokenLogprobs | None] = field(default_factory=list, init=False)

    def __post_init__(self) -> None:
        if self.request.scored:  # the first token that the model sees follows nothing
            self._scores = [None] * (self.request.start + 1)

    def work(self, turn: Turn) -> Work:
        """A turn in the backend's terms."""
        request = self.request
        assert request.slot is not None
        return Work(
            slot=request.slot,
            position=turn.position,
            ids=turn.ids,
            outputs=turn.outputs,
            sampler=None if turn.scores or not turn.outputs else self.sampler,
            place=len(request.ids),
            logprobs=self.logprobs,
        )

    def take(self, turn: Turn, result: Result) -> list[int]:
        """Make pieces of what came of a turn; returns the tokens that stand: none after the end of the text."""
        if turn.scores:
            assert result.logits is not None
            self._score(turn, result.logits)
        if turn.scores or not turn.outputs:
            return []
        drawn, failed = result.tokens, result.error is not None
        for count, token in enumerate(drawn, start=1):
            self._push(token, result.logprobs[count - 1] if result.logprobs else None)
            if self.ended:
                return drawn[:count]
        request, length = self.request, len(self.request.ids) + len(drawn)
        if failed:
            self._error = CheckpointError(f"the model's weights are damaged, at token {length}: {result.error}")
            self.ended = True
        elif request.context_overflow == "stop" and length > request.block_size:
            self._pieces.append(Piece(self.stream.finish("length"), None, "length"))
            self.ended = True
        return drawn

    def deliver(self) -> None:
        """Hand the pieces to the reader."""
        if not self._pieces and not self.ended:
            return
        if self._scores:
            self.handle.prompt_logprobs, self._scores = tuple(self._scores), []
        self.handle.put(self._pieces, self._error, last=self.ended)
        self._pieces = []

    def _push(self, token: int, logprobs: TokenLogprobs | None) -> None:
        ends = token == self.sampler.end_token or token in self.stream.params.stop_token_ids
        text = self.stream.finish("stop") if ends else self.stream.push(token)
        self._pieces.append(Piece(text, token, self.stream.finish_reason, logprobs))
        self.ended = self.stream.finish_reason is not None

    def _score(self, turn: Turn, logits: Array) -> None:
        """The odds of the prompt's tokens that follow those of the turn."""
        first = self.request.start + turn.position + 1
        following: Sequence[int] = self.request.ids[first : first + len(logits)]
        with np.errstate(invalid="ignore"):  # damaged weights: the first token drawn says so
            odds = [log_probabilities(row, t, self.logprobs or 0) for row, t in zip(logits, following, strict=True)]
        self._scores += [TokenLogprobs(*found) for found in odds]
