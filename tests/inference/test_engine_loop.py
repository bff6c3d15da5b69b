"""The engine's thread: many readers, texts given up, failures, and the end."""

import asyncio
import gc
import random
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from helpers.models import reference_of, tiny_config, tiny_model

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import InkhornError, QueueFullError, UsageError
from inkhorn.inference.api import Model
from inkhorn.inference.backends.base import ModelInput, ModelOutput
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.engine import Engine
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inference.outputs import Completion
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.tokenizer.char import CharTokenizer

TOKENIZER = CharTokenizer("abcdefgh .\n")
ENDLESS = SamplingParams(temperature=1.0, seed=1, ignore_eos=True)
WAIT = 20  # seconds after which a test that hangs fails


@cache
def model() -> NumpyModel:
    ends = {"bos_token_id": TOKENIZER.eos_id, "eos_token_id": TOKENIZER.eos_id}
    return reference_of(tiny_model(tiny_config(vocab_size=TOKENIZER.vocab_size, block_size=32, **ends)))


class Gated(NumpyBackend):
    """Waits before each call until it is let through."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__(model(), slots)
        self.calls = self.closed = 0
        self.inside, self.gate = threading.Event(), threading.Event()

    def run(self, work: Sequence[ModelInput], steps: int = 1) -> list[ModelOutput]:
        self.inside.set()
        assert self.gate.wait(WAIT)
        self.calls += 1
        return super().run(work, steps)

    def close(self) -> None:
        self.closed += 1


class Failing(NumpyBackend):
    """Fails in a call."""

    def __init__(self, slots: int, good: int, error: BaseException) -> None:
        super().__init__(model(), slots)
        self.good, self.error = good, error

    def run(self, work: Sequence[ModelInput], steps: int = 1) -> list[ModelOutput]:
        self.good -= 1
        if self.good < 0:
            raise self.error
        return super().run(work, steps)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """One with a single slot: whoever holds it holds up all others."""
    with Engine(NumpyBackend(model(), 1), TOKENIZER) as one:
        yield one


@pytest.fixture
def gated() -> Iterator[tuple[Gated, Engine]]:
    backend = Gated()
    one = Engine(backend, TOKENIZER, max_queued=2)
    try:
        yield backend, one
    finally:
        backend.gate.set()
        one.close()


def params(tokens: int = 12, seed: int = 3, **more: Any) -> SamplingParams:
    return SamplingParams(**{"temperature": 1.0, "seed": seed, "max_tokens": tokens, "ignore_eos": True} | more)


@cache
def alone(prompt: str, tokens: int, seed: int) -> Completion:
    return Engine(NumpyBackend(model(), 1), TOKENIZER).complete(prompt, params(tokens, seed))


def complete_many(engine: Engine, count: int) -> list[Completion]:
    return [handle.result() for handle in engine.submit_many("ab", params(5), count)]


def threads_of_engines() -> int:
    return sum(thread.name == "inkhorn" for thread in threading.enumerate())


# Many at once


def test_submit_from_several_threads() -> None:
    found: dict[int, list[Completion]] = {}
    with Engine(NumpyBackend(model(), 3), TOKENIZER) as one:

        def client(number: int) -> None:
            handles = [one.submit("abc"[: 1 + i % 3], params(10 + i, number)) for i in range(6)]
            found[number] = [handle.result() for handle in handles]

        clients = [threading.Thread(target=client, args=(n,)) for n in range(6)]
        for each in clients:
            each.start()
        for each in clients:
            each.join(WAIT)
    for number in range(6):
        assert found[number] == [alone("abc"[: 1 + i % 3], 10 + i, number) for i in range(6)]


def test_a_handle_gives_pieces_and_then_the_rest(engine: Engine) -> None:
    handle = engine.submit("ab", params(9))
    first = [next(handle), next(handle)]
    rest = handle.result()
    assert "".join(piece.text for piece in first) + rest.text == alone("ab", 9, 3).text
    assert (rest.num_tokens, rest.finish_reason) == (7, "length")
    assert list(handle) == []


def test_a_reader_is_awakened_once_for_a_call(gated: tuple[Gated, Engine], monkeypatch: pytest.MonkeyPatch) -> None:
    backend, one = gated
    puts = []
    deliver = RequestHandle.put

    def put(self: RequestHandle, pieces: Any, *rest: Any, **options: Any) -> None:
        puts.append(len(pieces))
        deliver(self, pieces, *rest, **options)

    monkeypatch.setattr(RequestHandle, "put", put)
    backend.gate.set()
    assert one.complete("ab", params(40)).num_tokens == sum(puts) == 40
    assert len(puts) == backend.calls


def test_many_texts_for_one_prompt_come_in_order(gated: tuple[Gated, Engine]) -> None:
    """More than may wait: as many are asked for as can be."""
    backend, one = gated
    backend.gate.set()
    assert complete_many(one, 9) == [one.complete("ab", params(5), i) for i in range(9)]
    assert complete_many(one, 0) == []


# Given up


def test_random_ones_are_given_up() -> None:
    chance = random.Random(0)
    with Engine(NumpyBackend(model(), 4), TOKENIZER) as one:
        handles = [one.submit("abcdefgh "[: 1 + i % 9], params(20 + i % 30, i)) for i in range(40)]
        given_up = set()
        for i, handle in enumerate(handles):
            if chance.random() < 0.5:
                given_up.add(i)
                for _ in range(chance.randrange(4)):
                    next(handle)
                handles[chance.choice(sorted(given_up))].abort()
                handle.abort()
        for i, handle in enumerate(handles):
            if i not in given_up:
                assert handle.result() == alone("abcdefgh "[: 1 + i % 9], 20 + i % 30, i)
        assert one.complete("a", params(5)) == alone("a", 5, 3), "and nobody holds a slot"


def test_what_is_given_up_ends(engine: Engine) -> None:
    handle = engine.submit("a", ENDLESS)
    pieces = [next(handle), next(handle)]
    handle.abort()
    handle.abort()
    pieces += handle
    assert all(piece.finish_reason is None for piece in pieces)
    with pytest.raises(InkhornError, match="the request was aborted"):
        handle.result()
    assert engine.complete("b", params()) == alone("b", 12, 3), "the slot is free"


def test_one_that_waits_is_given_up(gated: tuple[Gated, Engine]) -> None:
    backend, one = gated
    running, waiting = one.submit("a", params()), one.submit("b", ENDLESS)
    assert backend.inside.wait(WAIT)
    waiting.abort()
    assert list(waiting) == []
    backend.gate.set()
    assert running.result() == alone("a", 12, 3)
    running.abort()
    assert one.complete("b", params()) == alone("b", 12, 3)


def test_one_is_given_up_during_a_call(gated: tuple[Gated, Engine]) -> None:
    backend, one = gated
    running, waiting = one.submit("a", ENDLESS), one.submit("b", params())
    assert backend.inside.wait(WAIT)
    running.abort()
    assert list(running) == []
    backend.gate.set()
    assert waiting.result() == alone("b", 12, 3)


@pytest.mark.parametrize("read", [0, 1, 5])
@pytest.mark.parametrize("drop", ["close", "forget"])
def test_a_stream_that_is_dropped_gives_its_text_up(engine: Engine, read: int, drop: str) -> None:
    stream: Any = Model(engine, Path()).stream("a", ENDLESS)
    for _ in range(read):
        next(stream)
    if drop == "close":
        stream.close()
    del stream
    assert engine.complete("b", params()) == alone("b", 12, 3)


def test_samples_that_are_not_read_are_given_up(engine: Engine) -> None:
    for handle in engine.submit_many("a", ENDLESS, 5):
        next(handle)
        break
    assert engine.complete("b", params()) == alone("b", 12, 3)


# A full queue


def test_a_full_queue_refuses_at_once(gated: tuple[Gated, Engine]) -> None:
    backend, one = gated
    handles = [one.submit("a", params(seed=n)) for n in range(3)]  # one runs, two wait
    assert backend.inside.wait(WAIT)
    with pytest.raises(QueueFullError, match="try again later"):
        one.submit("a", params())
    with pytest.raises(QueueFullError, match="try again later"):
        Model(one, Path()).stream("a", params())
    handles[2].abort()
    handles[2] = one.submit("a", params(seed=2))
    backend.gate.set()
    assert [handle.result() for handle in handles] == [alone("a", 12, n) for n in range(3)]


def test_max_queue_is_validated() -> None:
    with pytest.raises(UsageError, match="max_queued must be at least 1"):
        Engine(NumpyBackend(model(), 1), TOKENIZER, max_queued=0)


# Failures


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), MemoryError(), InkhornError("the model is gone")])
def test_everyone_hears_of_a_failure(error: BaseException) -> None:
    one = Engine(Failing(2, 3, error), TOKENIZER)
    handles = [one.submit("a", params(100)) for _ in range(5)]
    for handle in handles:
        with pytest.raises(type(error)):
            handle.result()
        with pytest.raises(type(error)):
            next(handle)
    with pytest.raises(type(error)):
        one.submit("a", params())
    one.close()


# The end


def test_texts_that_are_not_finished_at_the_end_get_an_error(gated: tuple[Gated, Engine]) -> None:
    backend, one = gated
    handles = [one.submit("a", ENDLESS) for _ in range(3)]
    assert backend.inside.wait(WAIT)
    closing = threading.Thread(target=one.close)
    closing.start()
    backend.gate.set()
    closing.join(WAIT)
    for handle in handles:
        with pytest.raises(InkhornError, match="the engine was closed"):
            handle.result()
    with pytest.raises(InkhornError, match="the engine was closed"):
        one.submit("a", params())
    assert backend.closed
    one.close()


def test_a_thread_begins_with_the_first_text_and_ends_with_the_engine() -> None:
    gc.collect()
    before = threads_of_engines()
    one = Engine(NumpyBackend(model(), 1), TOKENIZER)
    assert threads_of_engines() == before
    one.complete("a", params())
    one.complete("a", params())
    assert threads_of_engines() == before + 1
    gone = weakref.ref(one)
    del one
    gc.collect()
    assert gone() is None
    assert threads_of_engines() == before


def test_a_handle_keeps_its_engine() -> None:
    handle = Engine(NumpyBackend(model(), 1), TOKENIZER).submit("a", params())
    gc.collect()
    assert handle.result() == alone("a", 12, 3)


def test_without_work_the_thread_sleeps(engine: Engine) -> None:
    engine.complete("a", params())
    scheduler = engine._loop._scheduler

    def calls_in(seconds: float) -> int:
        before = scheduler._num_calls
        time.sleep(seconds)
        return scheduler._num_calls - before

    calls_in(0.01)  # the last text may just be leaving
    assert calls_in(0.05) == 0


def test_the_process_may_end_while_a_text_is_written() -> None:
    program = """
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine
handle = Engine.from_pretrained(backend="numpy").submit("a", SamplingParams(ignore_eos=True))
print(len(next(handle).text))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


# asyncio


def run(main: Callable[[Model], Any], slots: int = 1) -> Any:
    with Engine(NumpyBackend(model(), slots), TOKENIZER) as one:
        return asyncio.run(asyncio.wait_for(main(Model(one, Path())), WAIT))


def test_async_for_gives_the_same_pieces() -> None:
    async def main(one: Model) -> Any:
        return [piece async for piece in one.astream("ab", params(30))]

    pieces = run(main)
    assert "".join(piece.text for piece in pieces) == alone("ab", 30, 3).text
    assert len(pieces) == 30


def test_many_tasks() -> None:
    async def main(one: Model) -> Any:
        tasks = [one.agenerate("abc"[: 1 + n % 3], params(20, n)) for n in range(20)]
        return await asyncio.gather(*tasks)

    assert run(main, 3) == [alone("abc"[: 1 + n % 3], 20, n) for n in range(20)]


@pytest.mark.parametrize("way", ["cancel", "aclose", "break"])
def test_a_task_that_leaves_gives_its_text_up(way: str) -> None:
    async def main(one: Model) -> Any:
        read = asyncio.Event()
        streams: list[Any] = [one.astream("a", ENDLESS)]

        async def reading() -> None:
            async for _ in streams[0]:
                read.set()
                if way != "cancel":
                    break

        task = asyncio.create_task(reading())
        await read.wait()
        if way == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        if way == "aclose":
            await streams[0].aclose()
        streams.clear()
        return await one.agenerate("b", params())

    assert run(main) == alone("b", 12, 3)


def test_cancelling_one_that_waits_for_a_whole_text() -> None:
    async def main(one: Model) -> Any:
        task = asyncio.create_task(one.agenerate("a", ENDLESS))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await one.agenerate("b", params())

    assert run(main) == alone("b", 12, 3)


def test_a_loop_that_is_gone_gives_its_texts_up(engine: Engine) -> None:
    async def main() -> RequestHandle:
        handle = engine.submit("a", ENDLESS)
        await anext(handle)
        return handle

    handle = asyncio.run(main())
    assert engine.complete("b", params()) == alone("b", 12, 3)
    assert all(piece.finish_reason is None for piece in handle), "what was written until then can still be read"


def test_errors_come_to_tasks_too() -> None:
    async def main(one: Model) -> None:
        with pytest.raises(UsageError, match="logprobs must be"):
            await one.agenerate("a", params(), logprobs=99)
        with pytest.raises(UsageError, match="logprobs must be"):
            await anext(one.astream("a", params(), logprobs=99))
        waiting = asyncio.create_task(one.agenerate("a", ENDLESS))
        await asyncio.sleep(0)
        await asyncio.to_thread(one.close)
        with pytest.raises(InkhornError, match="the engine was closed"):
            await waiting

    run(main)
