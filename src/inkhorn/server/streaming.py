"""Reading the engine's output: to its end, or as server-sent events while it is generated."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Any, TypeVar

from fastapi import Request

from inkhorn.inference.outputs import Completion, TokenChunk
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.errors import ApiError, to_api_error
from inkhorn.server.metrics import SequenceMeter
from inkhorn.server.settings import Settings

T = TypeVar("T")
IndexedChunk = tuple[int, list[TokenChunk]]
"""index of a sequence, and the tokens that it generated"""

DONE = b"data: [DONE]\n\n"
KEEPALIVE = b": ping\n\n"


def sse_event(data: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"


async def event_stream(
    handles: Sequence[RequestHandle],
    meters: Sequence[SequenceMeter],
    settings: Settings,
    format_chunk: Callable[[int, list[TokenChunk]], dict[str, Any]],
    format_usage: Callable[[], dict[str, Any]] | None,
) -> AsyncGenerator[bytes, None]:
    """The events of a streamed response: chunks, the usage, and [DONE]. A failure is sent as an event with `error`.

    Closing the generator aborts the sequences that are not finished.

    Args:
        handles: the sequences.
        meters: one for each sequence.
        settings: chunk and keepalive intervals and the timeout.
        format_chunk: makes the object of an event from the index of a sequence and its new tokens.
        format_usage: makes the object of the usage event; None sends none.
    """
    timeout = settings.limits.max_seconds
    deadline = asyncio.get_running_loop().time() + timeout
    merged = merge_streams(handles, meters, settings.chunk_interval, settings.keepalive_interval)
    try:
        async with aclosing(merged) as chunks:
            async for chunk in chunks:
                yield KEEPALIVE if chunk is None else sse_event(format_chunk(*chunk))
                if asyncio.get_running_loop().time() > deadline:
                    raise timeout_error(timeout)
    except Exception as error:
        yield sse_event(to_api_error(error).body())
    else:
        if format_usage is not None:
            yield sse_event(format_usage())
    yield DONE


async def collect(
    handles: Sequence[RequestHandle], meters: Sequence[SequenceMeter], settings: Settings
) -> list[Completion]:
    """The completed sequences; ApiError 408 if they take too long. A failure or cancellation aborts them all."""

    async def collect_one(handle: RequestHandle, meter: SequenceMeter) -> Completion:
        pieces = [piece async for chunk in read_chunks(handle, meter, settings.chunk_interval) for piece in chunk]
        reason = pieces[-1].finish_reason
        assert reason is not None
        return Completion.from_chunks(pieces, reason, handle.prompt_logprobs)

    async def collect_all() -> list[Completion]:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(collect_one(*pair)) for pair in zip(handles, meters, strict=True)]
        return [task.result() for task in tasks]

    try:
        return await with_timeout(settings.limits.max_seconds, collect_all())
    except* Exception as errors:
        raise errors.exceptions[0] from None
    finally:
        for handle in handles:
            handle.abort()


async def read_chunks(handle: RequestHandle, meter: SequenceMeter, interval: float) -> AsyncIterator[list[TokenChunk]]:
    """The tokens of a sequence: the first at once, then those of each interval together. The end aborts the sequence
    if it is not finished."""
    try:
        wait = 0.0
        while pieces := await handle.collect(wait):
            wait = interval
            meter.on_chunk(handle, pieces)
            yield pieces
    finally:
        handle.abort()
        meter.on_finish(handle)


async def merge_streams(
    handles: Sequence[RequestHandle], meters: Sequence[SequenceMeter], interval: float, keepalive: float
) -> AsyncGenerator[IndexedChunk | None, None]:
    """The chunks of several sequences in order of arrival; None after `keepalive` seconds without one.

    The first failure ends the stream. Closing the generator aborts the sequences that are not finished.
    """
    queue: asyncio.Queue[IndexedChunk | BaseException | None] = asyncio.Queue()

    async def forward(index: int, handle: RequestHandle, meter: SequenceMeter) -> None:
        try:
            async for pieces in read_chunks(handle, meter, interval):
                await queue.put((index, pieces))
        except Exception as error:
            await queue.put(error)
        else:
            await queue.put(None)

    pairs = zip(handles, meters, strict=True)
    tasks = [asyncio.create_task(forward(index, *pair)) for index, pair in enumerate(pairs)]
    remaining = len(tasks)
    try:
        while remaining:
            try:
                item = await asyncio.wait_for(queue.get(), keepalive)
            except TimeoutError:
                yield None
                continue
            if isinstance(item, BaseException):
                raise item
            if item is None:
                remaining -= 1
            else:
                yield item
    finally:
        for task in tasks:
            task.cancel()
        for handle in handles:
            handle.abort()


async def with_timeout(seconds: float, awaitable: Awaitable[T]) -> T:
    """The result of an awaitable; ApiError 408 if it takes longer."""
    try:
        async with asyncio.timeout(seconds):
            return await awaitable
    except TimeoutError:
        raise timeout_error(seconds) from None


def timeout_error(seconds: float) -> ApiError:
    return ApiError(408, f"the request exceeded the server's timeout of {seconds:g} seconds: request fewer tokens")


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
