"""Reading the engine's output: to its end, or as server-sent events while it is generated.

The work is done once for each call of the engine, not for each token: a call wakes the event loop once, and an event
holds the tokens that the call added to one sequence.
"""

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Iterator, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from fastapi import Request

from inkhorn.inference.outputs import Completion, RequestOutput
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.errors import NO_RETRY, ApiError, to_api_error
from inkhorn.server.metrics import SequenceMeter
from inkhorn.server.settings import Settings

T = TypeVar("T")

DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": ping\n\n"

encode_json = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode


_LINE_BREAKS = {ord(character): f"\\u{ord(character):04x}" for character in "\u0085\u2028\u2029"}
"""Line breaks to Unicode but not to JSON or server-sent events: clients that split lines by `splitlines` stumble."""


def sse_event(data: str) -> bytes:
    """An event with this JSON."""
    if not data.isascii():
        data = data.translate(_LINE_BREAKS)
    return b"data: %b\n\n" % data.encode("utf-8", "replace")


class EventFormat(Protocol):
    """How an endpoint writes the events of a stream."""

    def opening(self) -> bytes:
        """The events before the text; may be empty."""

    def event(self, index: int, output: RequestOutput, handle: RequestHandle) -> bytes:
        """The events for the new output of the sequence with this index; may be empty."""

    def closing(self, generated: int) -> bytes:
        """The events at the end, after so many tokens."""

    def failure(self, error: ApiError) -> bytes:
        """The events at the end of a stream that failed."""


async def event_stream(
    handles: Sequence[RequestHandle], meters: Sequence[SequenceMeter], settings: Settings, form: EventFormat
) -> AsyncGenerator[bytes, None]:
    """The events of a streamed response.

    Events that are ready at the same time are sent together. Closing the generator aborts the sequences that are not
    finished.

    Args:
        handles: the sequences.
        meters: one for each sequence.
        settings: the keepalive interval and the timeout.
        form: writes the events.
    """
    timeout = settings.limits.max_seconds
    reader = _Reader(handles, meters)
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout
    timer = _KeepaliveTimer(settings.keepalive_interval, reader.arrived)
    try:
        if opening := form.opening():
            yield opening
        while True:
            reader.arrived.clear()
            events = b"".join([form.event(index, output, handles[index]) for index, output in reader.read()])
            if events:
                timer.restart()
                yield events
            elif timer.is_due:
                timer.restart()
                yield KEEPALIVE
            elif not reader.unfinished:
                break
            else:
                await reader.arrived.wait()
            if loop.time() > deadline:
                raise timeout_error(timeout)
    except Exception as error:
        last = form.failure(to_api_error(error))
    else:
        last = form.closing(sum(meter.tokens for meter in meters))
    finally:
        timer.cancel()
        reader.close()
    yield last


async def collect(
    handles: Sequence[RequestHandle], meters: Sequence[SequenceMeter], settings: Settings
) -> list[Completion]:
    """The completed sequences; ApiError 408 if they take too long. A failure or cancellation aborts them all."""
    reader = _Reader(handles, meters)
    outputs: list[list[RequestOutput]] = [[] for _ in handles]

    async def read_all() -> None:
        while True:
            reader.arrived.clear()
            for index, output in reader.read():
                outputs[index].append(output)
            if not reader.unfinished:
                return
            await reader.arrived.wait()

    try:
        await with_timeout(settings.limits.max_seconds, read_all())
        pairs = zip(outputs, handles, strict=True)
        return [Completion.from_outputs(found, handle.prompt_logprobs) for found, handle in pairs]
    finally:
        reader.close()


class _Reader:
    """Reads the outputs of several sequences.

    Attributes:
        arrived: set when there is something to read.
        unfinished: the sequences that have not been read to their end, by index.
    """

    def __init__(self, handles: Sequence[RequestHandle], meters: Sequence[SequenceMeter]) -> None:
        self.arrived = asyncio.Event()
        self.unfinished = dict(enumerate(handles))
        self._meters = meters
        for handle in handles:
            handle.set_event(self.arrived)

    def read(self) -> Iterator[tuple[int, RequestOutput]]:
        """The outputs that have arrived, with the index of the sequence. Raises the error of a sequence that failed."""
        for index, handle in list(self.unfinished.items()):
            meter = self._meters[index]
            while (output := handle.next_output_nowait()) is not None:
                meter.on_output(handle, output)
                yield index, output
            if handle.is_finished:
                del self.unfinished[index]
                meter.on_finish(handle)

    def close(self) -> None:
        """Abort the sequences that are not finished."""
        for index, handle in self.unfinished.items():
            handle.abort()
            self._meters[index].on_finish(handle)
        self.unfinished = {}


class _KeepaliveTimer:
    """Sets an event when nothing has happened for some seconds. Restarting it is cheap."""

    def __init__(self, seconds: float, event: asyncio.Event) -> None:
        self._seconds, self._event, self._loop = seconds, event, asyncio.get_running_loop()
        self._start = self._loop.time()
        self._handle = self._loop.call_later(seconds, self._check)

    def restart(self) -> None:
        self._start = self._loop.time()

    @property
    def is_due(self) -> bool:
        return self._loop.time() - self._start >= self._seconds

    def cancel(self) -> None:
        self._handle.cancel()

    def _check(self) -> None:
        remaining = self._start + self._seconds - self._loop.time()
        if remaining <= 0:
            self._event.set()
        self._handle = self._loop.call_later(remaining if remaining > 0 else self._seconds, self._check)


async def with_timeout(seconds: float, awaitable: Awaitable[T]) -> T:
    """The result of an awaitable; ApiError 408 if it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        raise timeout_error(seconds) from None


def timeout_error(seconds: float) -> ApiError:
    message = f"the request exceeded the server's timeout of {seconds:g} seconds: request fewer tokens"
    return ApiError(408, message, headers=NO_RETRY)


async def cancel_on_disconnect(request: Request, awaitable: Awaitable[T]) -> T | None:
    """The result of an awaitable, or None if the client disconnects first: then the awaitable is cancelled."""

    async def disconnected() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, disconnect = asyncio.ensure_future(awaitable), asyncio.create_task(disconnected())
    try:
        await asyncio.wait({work, disconnect}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, disconnect):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
