"""The reader's end of a request: iterate over its chunks, wait for the completion, or abort it."""

import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from inkhorn.errors import InkhornError
from inkhorn.inference.outputs import Completion, TokenChunk
from inkhorn.inference.sampling import TokenLogprobs

if TYPE_CHECKING:
    import asyncio

Batch = tuple[Sequence[TokenChunk], BaseException | None, bool]
"""Chunks, an error that follows them, and whether they are the last."""


class RequestHandle(Iterator[TokenChunk], AsyncIterator[TokenChunk]):
    """A request in progress. Its chunks come by `for` or `async for`, each once; one reader at a time.

    The engine generates the text whether or not it is read, until it ends or is aborted.

    Args:
        abort: called by `abort`.

    Attributes:
        prompt_logprobs: of each prompt token, if requested; available with the first chunk.
        arrival_time, first_token_time, last_token_time: when the request was made, and when the first and the latest
            chunks came, by time.perf_counter.
    """

    def __init__(self, abort: Callable[[], None]) -> None:
        self.prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()
        self.arrival_time = self.first_token_time = self.last_token_time = time.perf_counter()
        self._abort = abort
        self._batches: SimpleQueue[Batch] = SimpleQueue()
        self._chunks: deque[TokenChunk] = deque()
        self._error: BaseException | None = None
        self._is_finished = False
        self._wake: Callable[[], None] | None = None
        self._arrived: asyncio.Event | None = None

    def put(self, chunks: Sequence[TokenChunk], error: BaseException | None = None, *, last: bool = False) -> None:
        """Deliver chunks, from the engine's thread. The reader wakes up once."""
        self.last_token_time = time.perf_counter()
        if self.first_token_time == self.arrival_time:
            self.first_token_time = self.last_token_time
        self._batches.put((chunks, error, last))
        wake = self._wake
        if wake is not None:
            wake()

    def abort(self) -> None:
        """Abort the request: its slot is free with the next call, and the chunks end. No effect once it has ended."""
        self._abort()

    def result(self) -> Completion:
        """Wait for the end; returns the completion made of all chunks that were not read yet. Interrupting it aborts.

        Raises:
            InkhornError: the request was aborted.
        """
        try:
            return self._completion(list(self))
        finally:
            self.abort()  # if the wait was interrupted

    async def aresult(self) -> Completion:
        """As `result`, without blocking the event loop."""
        return self._completion([chunk async for chunk in self])

    def __next__(self) -> TokenChunk:
        while not self._chunks:
            self._raise_at_end(StopIteration)
            self._receive(self._batches.get())
        return self._chunks.popleft()

    async def __anext__(self) -> TokenChunk:
        while not self._chunks:
            self._raise_at_end(StopAsyncIteration)
            arrived = self._listen()
            try:
                self._receive(self._batches.get_nowait())
            except Empty:  # what comes from here on sets the event
                await arrived.wait()
                arrived.clear()
        return self._chunks.popleft()

    async def collect(self, seconds: float) -> list[TokenChunk]:
        """Wait for the next chunk, then for `seconds` more; returns all chunks that came. Empty at the end."""
        import asyncio

        try:
            chunks = [await anext(self)]
        except StopAsyncIteration:
            return []
        if not self._is_finished:
            await asyncio.sleep(seconds)
        while not self._is_finished:
            try:
                self._receive(self._batches.get_nowait())
            except Empty:
                break
        chunks.extend(self._chunks)
        self._chunks.clear()
        return chunks

    def _listen(self) -> "asyncio.Event":
        """An event of the running loop that is set whenever chunks arrive."""
        if self._arrived is None:
            import asyncio  # here, because the import takes 50 ms

            loop, arrived = asyncio.get_running_loop(), asyncio.Event()

            def wake() -> None:
                try:
                    loop.call_soon_threadsafe(arrived.set)
                except RuntimeError:  # the event loop was closed: nobody will read the rest
                    self.abort()

            self._arrived, self._wake = arrived, wake
        return self._arrived

    def _receive(self, batch: Batch) -> None:
        chunks, self._error, self._is_finished = batch
        self._chunks.extend(chunks)

    def _raise_at_end(self, end: type[Exception]) -> None:
        if self._error is not None:
            raise self._error
        if self._is_finished:
            raise end

    def _completion(self, chunks: list[TokenChunk]) -> Completion:
        finish_reason = chunks[-1].finish_reason if chunks else None
        if finish_reason is None:
            raise InkhornError("the request was aborted")
        return Completion.from_chunks(chunks, finish_reason, self.prompt_logprobs)
