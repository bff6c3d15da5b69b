"""The scheduler alone, with a simulated backend: slots, prefill budget, decode steps and prefix reuse."""

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import QueueFullError
from inkhorn.inference.backends.base import ModelInput
from inkhorn.inference.sampling import Sampler
from inkhorn.inference.scheduler import Scheduler, SchedulerConfig, SchedulerOutput, common_prefix_length
from inkhorn.inference.sequence import Sequence
from inkhorn.inference.stopping import IncrementalDetokenizer
from inkhorn.tokenizer.base import utf8_stream

BLOCK = 24
SMALL = SchedulerConfig(
    max_prefill_tokens=16, max_prefill_tokens_beside_decode=5, max_scored_tokens=3, min_shared_prefix=3, max_steps=4
)


def sequence(
    token_ids: list[int], max_tokens: int | None = 4, *, prompt_logprobs: bool = False, **params: Any
) -> Sequence:
    sampling = SamplingParams(max_tokens=max_tokens, **params)
    detokenizer = IncrementalDetokenizer(sampling, utf8_stream([]))
    return Sequence(token_ids, BLOCK, Sampler(sampling), detokenizer, prompt_logprobs=prompt_logprobs)


@dataclass
class SimulatedBackend:
    """Keeps the contents of the slots, samples the tokens 100, 101, ... and checks every call against the rules."""

    scheduler: Scheduler
    slots: dict[int, list[int]] = field(default_factory=dict)
    num_computed: int = 0
    copies: list[tuple[int, int, int]] = field(default_factory=list)
    admitted: list[Sequence] = field(default_factory=list)
    calls_waited: dict[Sequence, int] = field(default_factory=dict)

    def call(self) -> SchedulerOutput | None:
        output = self.scheduler.schedule()
        if output is None:
            assert not self.scheduler.running
            assert not self.scheduler.waiting
            return None
        for source, target, length in output.copies:
            assert len(self.slots[source]) >= length
            self.slots[target] = self.slots[source][:length]
        self.copies += output.copies
        self._check(output)
        for each, model_input in zip(output.sequences, output.inputs, strict=True):
            self._run(each, model_input, output.num_steps)
        return output

    def _check(self, output: SchedulerOutput) -> None:
        running, config = self.scheduler.running, self.scheduler.config
        assert [each.slot for each in output.sequences] == [model_input.slot for model_input in output.inputs]
        assert len({model_input.slot for model_input in output.inputs}) == len(output.inputs)
        self.admitted += [each for each in running if each not in self.admitted]
        decoding = [each for each in running if each.num_uncomputed == 1 and each.prefix_source is None]
        assert all(each in output.sequences for each in decoding), "every decoding sequence is in the call"
        budget = config.max_prefill_tokens_beside_decode if decoding else config.max_prefill_tokens
        pairs = zip(output.sequences, output.inputs, strict=True)
        assert sum(len(model_input.ids) for each, model_input in pairs if each not in decoding) <= budget
        assert sum(len(model_input.targets) for model_input in output.inputs) <= config.max_scored_tokens
        sampling = [model_input for model_input in output.inputs if model_input.sampler is not None]
        if len(sampling) < len(running) or not decoding:
            assert output.num_steps == 1
        for each in running:
            served = each in output.sequences or each.prefix_source is not None
            self.calls_waited[each] = 0 if served else self.calls_waited.get(each, 0) + 1
            assert self.calls_waited[each] < len(running), "a sequence waits at most one call for each other"

    def _run(self, each: Sequence, model_input: ModelInput, num_steps: int) -> None:
        cached = self.slots.setdefault(model_input.slot, [])
        assert len(cached) >= model_input.position
        del cached[model_input.position :]
        cached += model_input.ids
        self.num_computed += len(model_input.ids)
        assert cached == each.token_ids[each.window_start : each.window_start + len(cached)]
        assert 1 <= len(cached) <= BLOCK
        is_complete = len(cached) == len(each.token_ids) - each.window_start
        assert (model_input.sampler is not None) == is_complete, "a token is sampled once the whole window is cached"
        if not is_complete:
            self.scheduler.update(each, model_input, [])
            return
        count = min(num_steps, BLOCK - len(cached) + 1)
        if each.num_remaining is not None:
            count = min(count, each.num_remaining)
        first = 100 + len(each.token_ids) - each.num_prompt_tokens
        sampled = list(range(first, first + count))
        cached += sampled[:-1]
        self.num_computed += count - 1
        self.scheduler.update(each, model_input, sampled)
        if each.num_remaining == 0 or (each.context_overflow == "stop" and len(each.token_ids) > BLOCK):
            self.scheduler.remove(each)

    def finish(self, max_calls: int = 10_000) -> None:
        for _ in range(max_calls):
            if self.call() is None:
                return
        raise AssertionError("a sequence does not finish")


def simulate(max_num_seqs: int = 2, config: SchedulerConfig = SMALL, *sequences: Sequence) -> SimulatedBackend:
    scheduler = Scheduler(max_num_seqs, config)
    for each in sequences:
        scheduler.add(each)
    return SimulatedBackend(scheduler)


# Random schedules

PROMPTS = st.one_of(
    st.integers(1, 60).map(lambda n: list(range(n))),  # all share a prefix
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
)
SEQUENCES = st.builds(
    sequence,
    PROMPTS,
    st.integers(1, 40),
    context_overflow=st.sampled_from(["shift", "recompute"]),
    presence_penalty=st.sampled_from([0.0, 1.0]),
    prompt_logprobs=st.sampled_from([False, False, True]),
)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(SEQUENCES, st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12))), max_size=9),
    st.integers(1, 4),
)
def test_random_arrivals_and_aborts(plans: list[tuple[Sequence, int, int | None]], max_num_seqs: int) -> None:
    """Sequences arrive at any call, and some are aborted at any later one."""
    backend, added = simulate(max_num_seqs), list[Sequence]()
    for now in range(26):
        for each, arrival, _ in plans:
            if arrival == now:
                backend.scheduler.add(each)
                added.append(each)
        for each, arrival, aborted_after in plans:
            if aborted_after is not None and arrival + aborted_after == now and each.num_remaining:
                backend.scheduler.remove(each)
        backend.call()
    backend.finish()
    assert [each for each in added if each in backend.admitted] == backend.admitted, "admission in order of arrival"
    for each, _, aborted_after in plans:
        assert each.slot is None
        if aborted_after is None:
            assert each.num_remaining == 0


@settings(max_examples=30)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 3))
def test_no_starvation_under_overload(lengths: list[int], max_num_seqs: int) -> None:
    """As many sequences arrive as finish; earlier ones are admitted first."""
    backend = simulate(max_num_seqs)
    early = [sequence([n] * (n % BLOCK + 1), n % 7 + 1) for n in lengths]
    for each in early:
        backend.scheduler.add(each)
    calls = 0
    while any(each.num_remaining for each in early):
        backend.scheduler.add(sequence([7] * 20, 2))
        backend.call()
        calls += 1
        assert calls <= sum(each.num_prompt_tokens + 8 for each in early)
    assert backend.admitted[: len(early)] == early


# Prefill together with decode


def test_long_prompt_does_not_delay_decoding() -> None:
    decoding, late = sequence([1, 2], 20), sequence(list(range(3, 23)), 1)
    backend = simulate(2, SMALL, decoding)
    backend.call()
    backend.scheduler.add(late)
    sizes = []
    while late.num_remaining:
        before = decoding.num_remaining or 0
        output = backend.call()
        assert output is not None
        assert decoding.num_remaining == before - 1
        pairs = zip(output.sequences, output.inputs, strict=True)
        sizes.append(sum(len(model_input.ids) for each, model_input in pairs if each is late))
    assert sizes == [5, 5, 5, 5]


def test_prefill_alone_uses_large_chunks() -> None:
    backend = simulate(2, SMALL, sequence(list(range(20)), 1))
    outputs = [backend.call(), backend.call()]
    assert [[len(each.ids) for each in output.inputs] for output in outputs if output] == [[16], [4]]
    assert [[each.num_outputs for each in output.inputs] for output in outputs if output] == [[0], [1]]


def test_prefill_alternates() -> None:
    long, short = sequence([1] * 22), sequence([2, 3, 4])
    backend = simulate(2, SchedulerConfig(max_prefill_tokens=4, min_shared_prefix=3), long, short)
    prefilled = []
    for _ in range(2):
        output = backend.call()
        assert output is not None
        pairs = zip(output.sequences, output.inputs, strict=True)
        prefilled.append([(each is long, len(model_input.ids)) for each, model_input in pairs])
    assert prefilled == [[(True, 4)], [(False, 3), (True, 1)]]


def test_moved_window_is_prefilled_in_chunks() -> None:
    full, other = sequence(list(range(BLOCK)), 3), sequence([1, 2], 30)
    backend = simulate(2, SMALL, full, other)
    while full.window_start == 0:
        backend.call()
    assert full.window_start == BLOCK // 2
    assert 0 < full.num_cached <= SMALL.max_prefill_tokens_beside_decode
    backend.finish()


# Decode steps


def steps_after(backend: SimulatedBackend, step_seconds: float) -> int:
    """The number of steps of the call that follows one with this latency."""
    output = backend.call()
    assert output is not None
    backend.scheduler.record_latency(output, step_seconds * output.num_steps)
    following = backend.scheduler.schedule()
    assert following is not None
    return following.num_steps


@pytest.mark.parametrize(("seconds", "steps"), [(1e-6, 64), (0.001, 15), (0.004, 3), (1.0, 1)])
def test_decode_steps_fill_the_target_duration(seconds: float, steps: int) -> None:
    assert steps_after(simulate(1, SchedulerConfig(), sequence([1], 99)), seconds) == steps


def test_decode_steps_are_one_with_penalties() -> None:
    penalized = sequence([2], 99, presence_penalty=1.0)
    assert steps_after(simulate(2, SchedulerConfig(), sequence([1], 99), penalized), 1e-6) == 1


def test_decode_steps_are_limited_by_max_tokens() -> None:
    assert steps_after(simulate(2, SchedulerConfig(), sequence([1], 3), sequence([2], 5)), 1e-6) == 4
    assert steps_after(simulate(2, SchedulerConfig(), sequence([1], None), sequence([2], 5)), 1e-6) == 64


def test_decode_steps_recover_from_a_slow_call() -> None:
    backend = simulate(1, SchedulerConfig(), sequence([1], 999))
    steps_after(backend, 10.0)
    assert max(steps_after(backend, 1e-6) for _ in range(24)) == 64


def test_decode_steps_with_a_prefill_that_completes() -> None:
    decoding, late = sequence([1], 999), sequence([2, 3, 4], 99)
    backend = simulate(2, SchedulerConfig(max_prefill_tokens_beside_decode=2), decoding)
    assert steps_after(backend, 1e-6) == 64
    backend.scheduler.add(late)
    outputs = [backend.call(), backend.call()]
    assert [output.num_steps for output in outputs if output] == [1, 64], "one step until the prompt is complete"


# Prefix reuse


def test_samples_of_one_prompt_share_its_prefill() -> None:
    prompt = list(range(20))
    backend = simulate(4, SMALL, *(sequence(prompt, 3) for _ in range(8)))
    backend.finish()
    decoded = 8 * 2  # the last token of a sequence is not computed
    assert backend.num_computed == len(prompt) + 7 + decoded, "each sample computes the last prompt token"


def test_waiting_only_for_a_longer_prefix() -> None:
    first, second, third = sequence([*range(20)], 2), sequence([*range(18), 99, 98], 2), sequence([7, 8, 9], 2)
    backend = simulate(3, SMALL, first, second, third)
    backend.call()
    assert (second.prefix_source, second.num_cached) == (first, 0)
    backend.call()
    assert (second.prefix_source, second.shared_prefix) == (first, 18)
    backend.call()
    assert second.prefix_source is None
    assert backend.copies == [(0, 1, 18)]
    backend.finish()


def test_aborted_prefix_source() -> None:
    first, second = sequence([*range(20)], 2), sequence([*range(20)], 2)
    backend = simulate(2, SMALL, first, second)
    backend.call()
    backend.scheduler.remove(first)
    backend.call()
    assert backend.copies == [(0, 1, 16)]
    assert second.prefix_source is None
    backend.finish()


def test_continuation_reuses_its_slot() -> None:
    first = sequence([*range(10)], 4)
    backend = simulate(2, SMALL, first)
    backend.finish()
    before = backend.num_computed
    backend.scheduler.add(sequence([*first.token_ids, 1, 2], 1))
    backend.finish()
    assert backend.copies == [(0, 0, 13)]
    assert backend.num_computed - before == 3, "the last sampled token and two new ones"


def test_cached_tokens_are_copied() -> None:
    backend = simulate(2, SMALL, sequence([*range(20)], 1))
    backend.finish()
    backend.scheduler.add(sequence([*range(10), 50], 1))
    backend.finish()
    assert backend.copies == [(0, 1, 10)]
    backend.scheduler.add(sequence([*range(20)], 1))
    backend.finish()
    assert backend.copies[-1] == (0, 1, 19), "the least recently used slot is replaced, but not the source"


def test_prefix_of_a_running_sequence() -> None:
    backend = simulate(2, SMALL, sequence([*range(10)], 30))
    backend.call()
    backend.scheduler.add(sequence([*range(10), 100, 5], 1))
    backend.call()
    assert backend.copies == [(0, 1, 10)]
    backend.finish()


def test_short_prefixes_are_recomputed() -> None:
    backend = simulate(2, SMALL, sequence([1, 2, 3], 1), sequence([1, 2, 3], 1))
    backend.finish()
    assert backend.copies == []


def test_prompt_logprobs_disable_prefix_reuse() -> None:
    backend = simulate(2, SMALL, sequence([*range(10)], 1))
    backend.finish()
    backend.scheduler.add(sequence([*range(10)], 1, prompt_logprobs=True))
    for expected in [(0, 3, 3, False), (3, 3, 3, False), (6, 3, 3, False), (9, 1, 1, True)]:
        output = backend.call()
        assert output is not None
        found = [(each.position, len(each.ids), each.num_outputs, each.sampler is not None) for each in output.inputs]
        assert found == [expected]


# Queue


def test_full_queue() -> None:
    backend = simulate(2, SchedulerConfig(max_queued=3), *(sequence([n]) for n in range(5)))
    with pytest.raises(QueueFullError, match="the queue is full, 5 requests are waiting: try again later"):
        backend.scheduler.add(sequence([9]))
    backend.call()
    with pytest.raises(QueueFullError, match="3 requests"):
        backend.scheduler.add(sequence([9]))
    backend.scheduler.remove(backend.scheduler.waiting[1])
    backend.scheduler.add(sequence([9]))
    backend.finish()


def test_removed_sequence_frees_its_slot() -> None:
    first, second = sequence([1], 50), sequence([2], 3)
    backend = simulate(1, SMALL, first, second)
    backend.call()
    assert second.slot is None
    backend.scheduler.remove(first)
    backend.call()
    assert second.slot == 0


def test_update_after_removal_is_ignored() -> None:
    each = sequence([1, 2], 50)
    scheduler = Scheduler(1, SMALL)
    scheduler.add(each)
    output = scheduler.schedule()
    assert output is not None
    scheduler.remove(each)
    scheduler.update(each, output.inputs[0], [5])
    assert each.token_ids == [1, 2]
    assert scheduler.schedule() is None


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common_prefix_length(a: list[int], b: list[int]) -> None:
    length = common_prefix_length(a, b)
    assert a[:length] == b[:length]
    assert length in (len(a), len(b)) or a[length] != b[length]
