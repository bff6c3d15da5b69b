"""The consumer's end of a text being written: iterate over it, wait for it, or give it up."""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from inkhorn.errors import InkhornError
from inkhorn.inference.backends.base import TokenLogprobs
from inkhorn.inference.outputs import Completion, Piece

if TYPE_CHECKING:
    import asyncio

Batch = tuple[Sequence[Piece], BaseException | None, bool]
"""Pieces; an error after them; whether they are the last."""


class Handle(Iterator[Piece], AsyncIterator[Piece]):
    """A text on its way. Its pieces come by `for` or by `async for`, each once; one consumer at a time.

    A text that nobody reads is written all the same, until it ends or is given up.

    Args:
        give_up: called by `abort`.

    Attributes:
        prompt_logprobs: once there is a piece: of each token of the prompt, if asked for.
        submitted, first, last: when it was made, and when the first and the latest pieces came, by time.perf_counter.

    """

    def __init__(self, give_up: Callable[[], None]) -> None:
        self.prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()
        self.submitted = self.first = self.last = time.perf_counter()
        self._give_up = give_up
        self._batches: SimpleQueue[Batch] = SimpleQueue()
        self._pieces: deque[Piece] = deque()
        self._error: BaseException | None = None
        self._ended = False
        self._wake: Callable[[], None] | None = None
        self._arrived: asyncio.Event | None = None

    def put(self, pieces: Sequence[Piece], error: BaseException | None = None, *, last: bool = False) -> None:
        """Deliver pieces, from another thread. The consumer is awakened once."""
        self.last = time.perf_counter()
        if self.first == self.submitted:
            self.first = self.last
        self._batches.put((pieces, error, last))
        wake = self._wake
        if wake is not None:
            wake()

    def abort(self) -> None:
        """Give the text up: its slot is free with the next call, and the pieces end. Nothing happens after its end."""
        self._give_up()

    def result(self) -> Completion:
        """Wait for the end; the text of all pieces that were not read yet.

        Raises InkhornError if the text was given up.
        """
        return self._whole(list(self))

    async def aresult(self) -> Completion:
        """As `result`, without holding up the event loop."""
        return self._whole([piece async for piece in self])

    def __next__(self) -> Piece:
        while not self._pieces:
            self._raise_end(StopIteration)
            self._open(self._batches.get())
        return self._pieces.popleft()

    async def __anext__(self) -> Piece:
        while not self._pieces:
            self._raise_end(StopAsyncIteration)
            arrived = self._listen()
            try:
                self._open(self._batches.get_nowait())
            except Empty:  # what comes from here on sets the event
                await arrived.wait()
                arrived.clear()
        return self._pieces.popleft()

    async def gather(self, seconds: float) -> list[Piece]:
        """The next pieces: what has come so many seconds after the first of them; an empty list after the end."""
        import asyncio

        try:
            pieces = [await anext(self)]
        except StopAsyncIteration:
            return []
        if not self._ended:
            await asyncio.sleep(seconds)
        while not self._ended:
            try:
                self._open(self._batches.get_nowait())
            except Empty:
                break
        pieces.extend(self._pieces)
        self._pieces.clear()
        return pieces

    def _listen(self) -> "asyncio.Event":
        """The event of the running loop that is set whenever something was delivered."""
        if self._arrived is None:
            import asyncio  # 50 ms that a command line should not wait for

            loop, arrived = asyncio.get_running_loop(), asyncio.Event()

            def wake() -> None:
                try:
                    loop.call_soon_threadsafe(arrived.set)
                except RuntimeError:  # the loop was closed: nobody will read the rest
                    self.abort()

            self._arrived, self._wake = arrived, wake
        return self._arrived

    def _open(self, batch: Batch) -> None:
        pieces, self._error, self._ended = batch
        self._pieces.extend(pieces)

    def _raise_end(self, end: type[Exception]) -> None:
        if self._error is not None:
            raise self._error
        if self._ended:
            raise end

    def _whole(self, pieces: list[Piece]) -> Completion:
        reason = pieces[-1].finish_reason if pieces else None
        if reason is None:
            raise InkhornError("the text was given up before its end")
        return Completion.of(pieces, reason, self.prompt_logprobs)
