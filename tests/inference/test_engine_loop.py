"""The engine's thread: concurrent clients, aborts, a full queue, backend failures, shutdown and asyncio."""

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
from helpers.models import tiny_config, tiny_model, to_numpy_model

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
UNLIMITED = SamplingParams(temperature=1.0, seed=1, ignore_eos=True)
WAIT = 20  # seconds after which a test that hangs fails


@cache
def model() -> NumpyModel:
    ends = {"bos_token_id": TOKENIZER.eos_id, "eos_token_id": TOKENIZER.eos_id}
    return to_numpy_model(tiny_model(tiny_config(vocab_size=TOKENIZER.vocab_size, block_size=32, **ends)))


class GatedBackend(NumpyBackend):
    """Each call blocks until the test sets `gate`."""

    def __init__(self, slots: int = 1) -> None:
        super().__init__(model(), slots)
        self.calls = self.closed = 0
        self.entered, self.gate = threading.Event(), threading.Event()

    def run(self, work: Sequence[ModelInput], steps: int = 1) -> list[ModelOutput]:
        self.entered.set()
        assert self.gate.wait(WAIT)
        self.calls += 1
        return super().run(work, steps)

    def close(self) -> None:
        self.closed += 1


class FailingBackend(NumpyBackend):
    """Raises an error after some successful calls."""

    def __init__(self, slots: int, successes: int, error: BaseException) -> None:
        super().__init__(model(), slots)
        self.successes, self.error = successes, error

    def run(self, work: Sequence[ModelInput], steps: int = 1) -> list[ModelOutput]:
        self.successes -= 1
        if self.successes < 0:
            raise self.error
        return super().run(work, steps)


@pytest.fixture
def engine() -> Iterator[Engine]:
    """An engine with one slot, so that an unfinished request blocks all others."""
    with Engine(NumpyBackend(model(), 1), TOKENIZER) as one:
        yield one


@pytest.fixture
def gated() -> Iterator[tuple[GatedBackend, Engine]]:
    backend = GatedBackend()
    one = Engine(backend, TOKENIZER, max_queued=2)
    try:
        yield backend, one
    finally:
        backend.gate.set()
        one.close()


def params(tokens: int = 12, seed: int = 3, **more: Any) -> SamplingParams:
    return SamplingParams(**{"temperature": 1.0, "seed": seed, "max_tokens": tokens, "ignore_eos": True} | more)


@cache
def expected_completion(prompt: str, tokens: int, seed: int) -> Completion:
    return Engine(NumpyBackend(model(), 1), TOKENIZER).submit(prompt, params(tokens, seed)).result()


def complete_many(engine: Engine, count: int) -> list[Completion]:
    return [handle.result() for handle in engine.submit_many("ab", params(5), count)]


def num_engine_threads() -> int:
    return sum(thread.name == "inkhorn" for thread in threading.enumerate())


# Concurrent requests


def test_concurrent_submit() -> None:
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
        assert found[number] == [expected_completion("abc"[: 1 + i % 3], 10 + i, number) for i in range(6)]


def test_result_after_reading_some_chunks(engine: Engine) -> None:
    handle = engine.submit("ab", params(9))
    first = [next(handle), next(handle)]
    rest = handle.result()
    assert "".join(chunk.text for chunk in first) + rest.text == expected_completion("ab", 9, 3).text
    assert (rest.num_tokens, rest.finish_reason) == (7, "length")
    assert list(handle) == []


def test_one_output_per_call(gated: tuple[GatedBackend, Engine]) -> None:
    backend, one = gated
    backend.gate.set()
    handle = one.submit("ab", params(40))
    arrived, outputs = threading.Event(), []
    while not handle.is_finished:
        output = handle.next_output_nowait()
        if output is None:
            arrived.wait(0.001)
        else:
            outputs.append(output)
    assert sum(len(output.token_ids) for output in outputs) == 40
    assert len(outputs) == backend.calls


def test_submit_many_in_order(gated: tuple[GatedBackend, Engine]) -> None:
    """More samples than the queue holds are submitted as it empties."""
    backend, one = gated
    backend.gate.set()
    assert complete_many(one, 9) == [one.submit("ab", params(5), i).result() for i in range(9)]
    assert complete_many(one, 0) == []


# Aborts


def test_random_aborts() -> None:
    rng = random.Random(0)
    with Engine(NumpyBackend(model(), 4), TOKENIZER) as one:
        handles = [one.submit("abcdefgh "[: 1 + i % 9], params(20 + i % 30, i)) for i in range(40)]
        aborted = set()
        for i, handle in enumerate(handles):
            if rng.random() < 0.5:
                aborted.add(i)
                for _ in range(rng.randrange(4)):
                    next(handle)
                handles[rng.choice(sorted(aborted))].abort()
                handle.abort()
        for i, handle in enumerate(handles):
            if i not in aborted:
                assert handle.result() == expected_completion("abcdefgh "[: 1 + i % 9], 20 + i % 30, i)
        assert one.submit("a", params(5)).result() == expected_completion("a", 5, 3), "all slots are free"


def test_abort_running_request(engine: Engine) -> None:
    handle = engine.submit("a", UNLIMITED)
    chunks = [next(handle), next(handle)]
    handle.abort()
    handle.abort()
    chunks += handle
    assert all(chunk.finish_reason is None for chunk in chunks)
    with pytest.raises(InkhornError, match="the request was aborted"):
        handle.result()
    assert engine.submit("b", params()).result() == expected_completion("b", 12, 3), "the slot is free"


def test_abort_queued_request(gated: tuple[GatedBackend, Engine]) -> None:
    backend, one = gated
    running, queued = one.submit("a", params()), one.submit("b", UNLIMITED)
    assert backend.entered.wait(WAIT)
    queued.abort()
    assert list(queued) == []
    backend.gate.set()
    assert running.result() == expected_completion("a", 12, 3)
    running.abort()
    assert one.submit("b", params()).result() == expected_completion("b", 12, 3)


def test_abort_during_a_call(gated: tuple[GatedBackend, Engine]) -> None:
    backend, one = gated
    running, queued = one.submit("a", UNLIMITED), one.submit("b", params())
    assert backend.entered.wait(WAIT)
    running.abort()
    assert list(running) == []
    backend.gate.set()
    assert queued.result() == expected_completion("b", 12, 3)


@pytest.mark.parametrize("read", [0, 1, 5])
@pytest.mark.parametrize("drop", ["close", "del"])
def test_dropped_stream_aborts(engine: Engine, read: int, drop: str) -> None:
    stream: Any = Model(engine, Path()).stream("a", UNLIMITED)
    for _ in range(read):
        next(stream)
    if drop == "close":
        stream.close()
    del stream
    assert engine.submit("b", params()).result() == expected_completion("b", 12, 3)


def test_dropped_submit_many_aborts(engine: Engine) -> None:
    for handle in engine.submit_many("a", UNLIMITED, 5):
        next(handle)
        break
    assert engine.submit("b", params()).result() == expected_completion("b", 12, 3)


# A full queue


def test_full_queue(gated: tuple[GatedBackend, Engine]) -> None:
    backend, one = gated
    handles = [one.submit("a", params(seed=n)) for n in range(3)]  # one runs, two wait
    assert backend.entered.wait(WAIT)
    with pytest.raises(QueueFullError, match="try again later"):
        one.submit("a", params())
    with pytest.raises(QueueFullError, match="try again later"):
        Model(one, Path()).stream("a", params())
    handles[2].abort()
    handles[2] = one.submit("a", params(seed=2))
    backend.gate.set()
    assert [handle.result() for handle in handles] == [expected_completion("a", 12, n) for n in range(3)]


def test_max_queue_is_validated() -> None:
    with pytest.raises(UsageError, match="max_queued must be at least 1"):
        Engine(NumpyBackend(model(), 1), TOKENIZER, max_queued=0)


# Failures


class PoisonedBackend(NumpyBackend):
    """Fails for every call that has an input with the seed POISON, before anything is computed."""

    POISON = 666

    def run(self, work: Sequence[ModelInput], steps: int = 1) -> list[ModelOutput]:
        if any(each.sampler is not None and each.sampler.seed == self.POISON for each in work):
            raise ValueError("a poisoned input")
        return super().run(work, steps)


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), MemoryError(), InkhornError("the model is gone")])
def test_backend_failure_reaches_all_readers(error: BaseException) -> None:
    with Engine(FailingBackend(2, 3, error), TOKENIZER) as one:
        handles = [one.submit("a", params(100)) for _ in range(5)]
        handles.append(one.submit("a", params()))
        for handle in handles:
            with pytest.raises(type(error)):
                handle.result()
            with pytest.raises(type(error)):
                next(handle)
        assert one.failure is None
        assert one.request_counts == (0, 0)


@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_backend_failure_for_one_input_ends_that_request_only(penalty: float) -> None:
    sampling = [params(20, seed, presence_penalty=penalty) for seed in range(3)]
    with Engine(NumpyBackend(model(), 4), TOKENIZER) as one:
        expected = [one.submit("ab", each).result() for each in sampling]
    with Engine(PoisonedBackend(model(), 4), TOKENIZER) as one:
        good = [one.submit("ab", each) for each in sampling]
        bad = [one.submit(prompt, params(20, PoisonedBackend.POISON)) for prompt in ("a", "abc")]
        assert [handle.result() for handle in good] == expected
        for handle in bad:
            with pytest.raises(ValueError, match="a poisoned input"):
                handle.result()
        assert one.submit("ab", sampling[0]).result() == expected[0]


def test_failure_of_a_detokenizer_ends_that_request_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(NumpyBackend(model(), 2), TOKENIZER) as one:
        make = TOKENIZER.decode_stream

        def decode_stream(prompt: Sequence[int] = ()) -> Callable[[int], str]:
            return make(prompt) if len(prompt) == 2 else lambda token_id: 1 / 0  # type: ignore[return-value]

        monkeypatch.setattr(one.tokenizer, "decode_stream", decode_stream)
        good, bad = one.submit("ab", params()), one.submit("abc", params())
        with pytest.raises(ZeroDivisionError):
            bad.result()
        assert good.result() == expected_completion("ab", 12, 3)
        assert one.request_counts == (0, 0)


def test_failure_of_the_scheduler_ends_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    with Engine(NumpyBackend(model(), 1), TOKENIZER) as one:
        assert one.failure is None
        monkeypatch.setattr(one._loop._scheduler, "schedule", lambda: 1 / 0)
        handle = one.submit("a", params())
        with pytest.raises(InkhornError, match="the engine has failed and must be restarted: ZeroDivisionError"):
            handle.result()
        assert isinstance(one.failure, ZeroDivisionError)
        with pytest.raises(InkhornError, match="the engine has failed"):
            one.submit("a", params())
    with Engine(NumpyBackend(model(), 1), TOKENIZER) as other:
        other.close()
        assert other.failure is None


def test_abort_all() -> None:
    with Engine(NumpyBackend(model(), 1), TOKENIZER) as one:
        handles = [one.submit("a", UNLIMITED) for _ in range(3)]
        next(handles[0])
        one.abort_all("going away")
        for handle in handles:
            with pytest.raises(InkhornError, match="going away"):
                handle.result()
        assert one.request_counts == (0, 0)
        assert one.submit("a", params()).result() == expected_completion("a", 12, 3)


# Shutdown


def test_close_fails_unfinished_requests(gated: tuple[GatedBackend, Engine]) -> None:
    backend, one = gated
    handles = [one.submit("a", UNLIMITED) for _ in range(3)]
    assert backend.entered.wait(WAIT)
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


def test_thread_lifetime() -> None:
    gc.collect()
    before = num_engine_threads()
    one = Engine(NumpyBackend(model(), 1), TOKENIZER)
    assert num_engine_threads() == before
    one.submit("a", params()).result()
    one.submit("a", params()).result()
    assert num_engine_threads() == before + 1
    reference = weakref.ref(one)
    del one
    gc.collect()
    assert reference() is None
    assert num_engine_threads() == before


def test_handle_keeps_engine_alive() -> None:
    handle = Engine(NumpyBackend(model(), 1), TOKENIZER).submit("a", params())
    gc.collect()
    assert handle.result() == expected_completion("a", 12, 3)


def test_idle_thread_sleeps(engine: Engine) -> None:
    engine.submit("a", params()).result()
    scheduler = engine._loop._scheduler

    def calls_in(seconds: float) -> int:
        before = scheduler._num_calls
        time.sleep(seconds)
        return scheduler._num_calls - before

    calls_in(0.01)  # the loop may still finish its last call
    assert calls_in(0.05) == 0


def test_exit_during_generation() -> None:
    program = """
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine
handle = Engine.from_pretrained(backend="numpy").submit("a", SamplingParams(ignore_eos=True))
print(len(next(handle).text) > 0)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "True\n", "")


# asyncio


def run(main: Callable[[Model], Any], slots: int = 1) -> Any:
    with Engine(NumpyBackend(model(), slots), TOKENIZER) as one:
        return asyncio.run(asyncio.wait_for(main(Model(one, Path())), WAIT))


def test_astream() -> None:
    async def main(one: Model) -> Any:
        return [chunk async for chunk in one.astream("ab", params(30))]

    chunks = run(main)
    assert "".join(chunk.text for chunk in chunks) == expected_completion("ab", 30, 3).text
    assert len(chunks) == 30


def test_concurrent_tasks() -> None:
    async def main(one: Model) -> Any:
        tasks = [one.agenerate("abc"[: 1 + n % 3], params(20, n)) for n in range(20)]
        return await asyncio.gather(*tasks)

    assert run(main, 3) == [expected_completion("abc"[: 1 + n % 3], 20, n) for n in range(20)]


@pytest.mark.parametrize("how", ["cancel", "aclose", "break"])
def test_cancelled_task_aborts(how: str) -> None:
    async def main(one: Model) -> Any:
        read = asyncio.Event()
        streams: list[Any] = [one.astream("a", UNLIMITED)]

        async def reading() -> None:
            async for _ in streams[0]:
                read.set()
                if how != "cancel":
                    break

        task = asyncio.create_task(reading())
        await read.wait()
        if how == "cancel":
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        else:
            await task
        if how == "aclose":
            await streams[0].aclose()
        streams.clear()
        return await one.agenerate("b", params())

    assert run(main) == expected_completion("b", 12, 3)


def test_one_event_loop_wakeup_per_call() -> None:
    """However many requests a call serves, their readers are woken by one callback of the event loop."""
    backend = GatedBackend(slots=4)
    wakeups = 0

    async def main(one: Model) -> list[Completion]:
        loop = asyncio.get_running_loop()
        schedule = loop.call_soon_threadsafe

        def count(callback: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
            nonlocal wakeups
            wakeups += threading.current_thread().name == "inkhorn"
            return schedule(callback, *arguments, **options)

        loop.call_soon_threadsafe = count  # type: ignore[assignment, method-assign]
        tasks = [asyncio.create_task(one.agenerate("ab", params(30, n))) for n in range(4)]
        await asyncio.sleep(0)  # every task has submitted its request and waits
        backend.gate.set()
        return await asyncio.gather(*tasks)

    with Engine(backend, TOKENIZER) as one:
        completions = asyncio.run(asyncio.wait_for(main(Model(one, Path())), WAIT))
    assert completions == [expected_completion("ab", 30, n) for n in range(4)]
    assert 0 < wakeups <= backend.calls


def test_cancelled_agenerate_aborts() -> None:
    async def main(one: Model) -> Any:
        task = asyncio.create_task(one.agenerate("a", UNLIMITED))
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        return await one.agenerate("b", params())

    assert run(main) == expected_completion("b", 12, 3)


def test_closed_event_loop_aborts(engine: Engine) -> None:
    async def main() -> RequestHandle:
        handle = engine.submit("a", UNLIMITED)
        await anext(handle)
        return handle

    handle = asyncio.run(main())
    assert engine.submit("b", params()).result() == expected_completion("b", 12, 3)
    assert all(chunk.finish_reason is None for chunk in handle), "chunks generated until then can still be read"


def test_errors_reach_tasks() -> None:
    async def main(one: Model) -> None:
        with pytest.raises(UsageError, match="logprobs must be"):
            await one.agenerate("a", params(), logprobs=99)
        with pytest.raises(UsageError, match="logprobs must be"):
            await anext(one.astream("a", params(), logprobs=99))
        waiting = asyncio.create_task(one.agenerate("a", UNLIMITED))
        await asyncio.sleep(0)
        await asyncio.to_thread(one.close)
        with pytest.raises(InkhornError, match="the engine was closed"):
            await waiting

    run(main)
