"""The reader's end of a request: iterate over its chunks, wait for the completion, or abort it."""

import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING

from inkhorn.inference.outputs import Completion, RequestOutput, TokenChunk
from inkhorn.inference.sampling import TokenLogprobs

if TYPE_CHECKING:
    import asyncio

Delivery = tuple[RequestOutput | None, BaseException | None, bool]
"""The output of a call, an error that follows it, and whether it is the last."""


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
        self._deliveries: SimpleQueue[Delivery] = SimpleQueue()
        self._output: RequestOutput | None = None  # the one that is being read,
        self._num_read = 0  # and how many of its chunks were read
        self._error: BaseException | None = None
        self._is_last = False
        self._reader: tuple[asyncio.AbstractEventLoop, asyncio.Event] | None = None
        self._arrived: asyncio.Event | None = None

    def put(self, output: RequestOutput | None, error: BaseException | None = None, *, last: bool = False) -> None:
        """Deliver the output of a call, from the engine's thread. `wake_readers` follows."""
        self.last_token_time = time.perf_counter()
        if self.first_token_time == self.arrival_time:
            self.first_token_time = self.last_token_time
        self._deliveries.put((output, error, last))

    def abort(self) -> None:
        """Abort the request: its slot is free with the next call, and the chunks end. No effect once it has ended."""
        self._abort()

    def result(self) -> Completion:
        """Wait for the end; returns the completion made of all chunks that were not read yet. Interrupting it aborts.

        Raises:
            InkhornError: the request was aborted.
        """
        outputs = []
        try:
            while (output := self._next_output()) is not None:
                outputs.append(output)
        finally:
            self.abort()  # if the wait was interrupted
        return Completion.from_outputs(outputs, self.prompt_logprobs)

    async def aresult(self) -> Completion:
        """As `result`, without blocking the event loop."""
        import asyncio  # here, because the import takes 50 ms

        arrived = asyncio.Event()
        self.set_event(arrived)
        outputs = []
        while not self.is_finished:
            arrived.clear()
            if (output := self.next_output_nowait()) is not None:
                outputs.append(output)
            elif not self.is_finished:
                await arrived.wait()
        return Completion.from_outputs(outputs, self.prompt_logprobs)

    def __next__(self) -> TokenChunk:
        if self._output is None:
            self._output = self._next_output()
        if self._output is None:
            raise StopIteration
        return self._next_chunk(self._output)

    async def __anext__(self) -> TokenChunk:
        while self._output is None:
            if self._arrived is None:
                import asyncio

                self._arrived = asyncio.Event()
                self.set_event(self._arrived)
            self._arrived.clear()
            self._output = self.next_output_nowait()
            if self._output is None:
                if self.is_finished:
                    raise StopAsyncIteration
                await self._arrived.wait()
        return self._next_chunk(self._output)

    def set_event(self, arrived: "asyncio.Event") -> None:
        """Set an event of the running event loop whenever output arrives, from now on. Read what is there already."""
        import asyncio

        self._reader = asyncio.get_running_loop(), arrived

    def next_output_nowait(self) -> RequestOutput | None:
        """All that one call added to the text, without its chunks that were read already; None if nothing is there.

        Raises the error that ended the request, if there was one.
        """
        while (output := self._take()) is None and not self.is_finished:
            try:
                self._receive(self._deliveries.get_nowait())
            except Empty:
                return None
        return output

    @property
    def is_finished(self) -> bool:
        """Whether everything was read. Raises the error that ended the request, if there was one."""
        if self._error is not None and self._output is None:
            raise self._error
        return self._is_last and self._output is None

    def _next_output(self) -> RequestOutput | None:
        """Wait for the output of a call; None at the end."""
        while (output := self._take()) is None and not self.is_finished:
            self._receive(self._deliveries.get())
        return output

    def _take(self) -> RequestOutput | None:
        """What is left of the output that is being read."""
        output, self._output = self._output, None
        if output is not None and self._num_read:
            output, self._num_read = output.after(self._num_read), 0
        return output

    def _next_chunk(self, output: RequestOutput) -> TokenChunk:
        chunk = output.chunk(self._num_read)
        self._num_read += 1
        if self._num_read == len(output.texts):
            self._output, self._num_read = None, 0
        return chunk

    def _receive(self, delivery: Delivery) -> None:
        self._output, self._error, self._is_last = delivery


def wake_readers(handles: Collection[RequestHandle]) -> None:
    """Wake the readers that wait in an event loop, after deliveries: all of one loop in one call of it."""
    events: dict[asyncio.AbstractEventLoop, dict[asyncio.Event, None]] = {}
    for handle in handles:
        if handle._reader is not None:
            loop, arrived = handle._reader
            events.setdefault(loop, {})[arrived] = None
    for loop, of_loop in events.items():
        try:
            loop.call_soon_threadsafe(_set_events, of_loop)
        except RuntimeError:  # the event loop was closed: nobody will read the rest
            for handle in handles:
                if handle._reader is not None and handle._reader[0] is loop:
                    handle._reader = None
                    handle.abort()


def _set_events(events: "Iterable[asyncio.Event]") -> None:
    for event in events:
        event.set()
