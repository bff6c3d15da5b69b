"""One text that is being written, as those see it who decide what is computed next: tokens and numbers only."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from inkhorn.config.sampling import ContextOverflow
from inkhorn.inference.window import window_start


@dataclass(eq=False, slots=True)
class Request:
    """A text of so many tokens, of which a slot holds some.

    Attributes:
        ids: the prompt's tokens and those that were drawn.
        block_size: how many tokens a slot can hold.
        context_overflow: what happens past that.
        max_tokens: draw no more than so many.
        plain: what is drawn does not depend on counts of what was drawn, so that many steps may be one call.
        scored: the logits of every token of the prompt are wanted.
        start: the first token of the window that the slot holds.
        filled: how many tokens of the window are in the slot.
        slot: the slot's number, None while the request waits for one.
        order: the when-th it came to a slot.
        served: the call in which tokens of it were last read, or the one before it got its slot.
        leader: the request that it shares a beginning with and waits for.
        shared: the length of that beginning.

    """

    ids: list[int]
    block_size: int
    context_overflow: ContextOverflow = "shift"
    max_tokens: int | None = None
    plain: bool = True
    scored: bool = False
    prompt_length: int = field(init=False)
    start: int = field(init=False)
    filled: int = 0
    slot: int | None = None
    order: int = 0
    served: int = 0
    leader: "Request | None" = None
    shared: int = 0

    def __post_init__(self) -> None:
        self.prompt_length = len(self.ids)
        self.start = window_start(len(self.ids), self.block_size, self.context_overflow)

    @property
    def pending(self) -> int:
        """How many tokens of the window are still to be taken in before one can be drawn."""
        return len(self.ids) - self.start - self.filled

    @property
    def reading(self) -> bool:
        """Nothing was drawn yet."""
        return len(self.ids) == self.prompt_length

    @property
    def remaining(self) -> int | None:
        """How many tokens may still be drawn."""
        return None if self.max_tokens is None else self.max_tokens - (len(self.ids) - self.prompt_length)

    @property
    def held(self) -> list[int]:
        """The tokens in the slot."""
        return self.ids[self.start : self.start + self.filled]

    @property
    def over(self) -> bool:
        """The block is full, and this text may not go past it."""
        return self.context_overflow == "stop" and len(self.ids) > self.block_size

    def move_window(self) -> None:
        """Start again with an empty slot if the text has outgrown its window."""
        start = window_start(len(self.ids), self.block_size, self.context_overflow)
        if start != self.start:
            self.start, self.filled = start, 0

    def extend(self, tokens: Sequence[int]) -> None:
        """Take in drawn tokens: all but the last are in the slot too."""
        self.ids.extend(tokens)
        self.filled = len(self.ids) - self.start - 1
