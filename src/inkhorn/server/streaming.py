"""Reading texts while they are written: gathered, within a time limit, and given up when the reader is gone."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Sequence
from contextlib import suppress
from typing import TypeVar

from fastapi import Request

from inkhorn.inference.outputs import Completion, Piece
from inkhorn.inference.stream import Handle
from inkhorn.server.errors import ApiError
from inkhorn.server.metrics import TextMeter

T = TypeVar("T")
Batch = tuple[int, list[Piece]]


async def read(handle: Handle, seconds: float, meter: TextMeter) -> AsyncIterator[list[Piece]]:
    """The pieces of a text: the first at once, then those of so many seconds together. However reading ends, the text
    is given up."""
    try:
        wait = 0.0
        while pieces := await handle.gather(wait):
            wait = seconds
            meter.came(handle, pieces)
            yield pieces
    finally:
        handle.abort()
        meter.ended(handle)


async def read_whole(handles: Sequence[Handle], seconds: float, meters: Sequence[TextMeter]) -> list[Completion]:
    """All texts, once all are finished."""

    async def one(handle: Handle, meter: TextMeter) -> Completion:
        pieces = [piece async for batch in read(handle, seconds, meter) for piece in batch]
        reason = pieces[-1].finish_reason
        assert reason is not None
        return Completion.of(pieces, reason, handle.prompt_logprobs)

    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one(*pair)) for pair in zip(handles, meters, strict=True)]
    return [task.result() for task in tasks]


async def read_together(
    handles: Sequence[Handle], seconds: float, meters: Sequence[TextMeter], patience: float
) -> AsyncGenerator[Batch | None, None]:
    """The pieces of several texts as they come, each batch with its text's number; None where nothing came for so long.

    The first failure ends them all. Closing the iterator gives up what is not finished.
    """
    arrived: asyncio.Queue[Batch | BaseException | None] = asyncio.Queue()

    async def follow(number: int, handle: Handle, meter: TextMeter) -> None:
        try:
            async for pieces in read(handle, seconds, meter):
                await arrived.put((number, pieces))
        except Exception as error:
            await arrived.put(error)
        else:
            await arrived.put(None)

    pairs = zip(handles, meters, strict=True)
    tasks = [asyncio.create_task(follow(i, *pair)) for i, pair in enumerate(pairs)]
    left = len(tasks)
    try:
        while left:
            try:
                found = await asyncio.wait_for(arrived.get(), patience)
            except TimeoutError:
                yield None
                continue
            if isinstance(found, BaseException):
                raise found
            if found is None:
                left -= 1
            else:
                yield found
    finally:
        for task in tasks:
            task.cancel()
        for handle in handles:
            handle.abort()


async def within(seconds: float, awaited: Awaitable[T]) -> T:
    """What is awaited, or ApiError 408 when it takes too long."""
    try:
        async with asyncio.timeout(seconds):
            return await awaited
    except TimeoutError:
        raise too_long(seconds) from None


def too_long(seconds: float) -> ApiError:
    """The error of a request that ran out of time."""
    return ApiError(408, f"the request took longer than {seconds:g} seconds, this server's limit: ask for less text")


async def unless_gone(request: Request, awaited: Awaitable[T]) -> T | None:
    """What is awaited, or None as soon as the client has gone away: then it is cancelled."""

    async def gone() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    work, leaving = asyncio.ensure_future(awaited), asyncio.create_task(gone())
    try:
        await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
        return work.result() if work.done() else None
    finally:
        for task in (work, leaving):
            task.cancel()
            with suppress(asyncio.CancelledError, Exception):
                await task
