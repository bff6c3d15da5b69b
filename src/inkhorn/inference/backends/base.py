"""The seam between the engine and what computes: a backend owns weights and caches and knows nothing of text.

Caches lie in numbered slots. A call takes in tokens of any sequences at once, and may draw the tokens that follow,
several steps in one call, so that Python's share of a token is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from inkhorn.config.model import ModelConfig
from inkhorn.inference.sampling import Sampler

Array = np.ndarray[Any, Any]


@dataclass(frozen=True)
class TokenLogprobs:
    """Natural logarithms of the model's own odds at one place: of the logits, before temperature and penalties.

    Attributes:
        logprob: of the token that stands there.
        top: the likeliest tokens and theirs, by falling odds; of equals the lowest id first.

    """

    logprob: float
    top: tuple[tuple[int, float], ...]


@dataclass(slots=True)
class Work:
    """What one sequence asks of a call.

    Attributes:
        slot: where its keys and values lie.
        position: where the first of `ids` stands in the slot; what the slot held from there on is forgotten.
        ids: tokens to take in, at least one.
        outputs: after how many of the last ids something is wanted: 0 in the middle of a prompt, 1 to go on.
        sampler: draws a token at each output; None: the logits are wanted instead.
        place: where in the text the first drawn token will stand, which picks its random number.
        logprobs: None, or how many of the likeliest tokens to tell with each drawn one.

    """

    slot: int
    position: int
    ids: Sequence[int]
    outputs: int = 1
    sampler: Sampler | None = None
    place: int = 0
    logprobs: int | None = None


@dataclass(slots=True)
class Result:
    """What came of a `Work`.

    Attributes:
        tokens: drawn: one for each output, then one for each further step, up to and with the sampler's end token.
            Every token but the last has been taken in by the slot.
        logprobs: of each token, if asked for.
        logits: float32 (outputs, V), if no sampler was given.
        error: why no token could be drawn, if the logits were none to draw from.

    """

    tokens: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)
    logits: Array | None = None
    error: str | None = None


class Backend(Protocol):
    """A model that computes.

    Attributes:
        config: its shape.
        name: for people: which backend, how the weights are kept, with how many threads.
        arithmetic: how the weights are kept and with which instructions it computes: where that is the same, so are the
            bits.
        slots: how many sequences may have a cache at once.

    """

    config: ModelConfig
    name: str
    arithmetic: str
    slots: int

    def run(self, work: Sequence[Work], steps: int = 1) -> list[Result]:
        """One call: take in every Work's ids, then draw up to `steps` tokens for those that have a sampler.

        A sampler that must see each token (penalties, logit bias) holds the call to one step. With more than one
        step, a Work with a sampler has one output. A slot stands at most once among the Works. A sequence ends its
        steps early at its sampler's end token and when its slot is full.

        Raises:
            ValueError: tokens that do not fit the block, unknown slots or ids: a mistake of the caller.

        """

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` tokens of a slot also those of another.

        A copy from a slot to itself says that another text goes on from them.
        """

    def close(self) -> None:
        """Free threads and caches; the backend is of no use afterwards."""
