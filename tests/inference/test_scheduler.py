"""The scheduler alone: who gets a slot, whose tokens are taken in, what need not be computed again."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.errors import QueueFullError
from inkhorn.inference.request import Request
from inkhorn.inference.scheduler import Limits, Plan, Scheduler, Turn, common

BLOCK = 24
SMALL = Limits(prompt_tokens=16, prompt_tokens_beside=5, shared=3, steps=4)


def request(ids: list[int], tokens: int = 4, **options: object) -> Request:
    return Request(list(ids), BLOCK, max_tokens=tokens, **options)  # type: ignore[arg-type]


@dataclass
class Machine:
    """What a backend would hold; draws the tokens 100, 101, ... and checks every plan."""

    scheduler: Scheduler
    slots: dict[int, list[int]] = field(default_factory=dict)
    taken: int = 0  # tokens that were computed
    copied: list[tuple[int, int, int]] = field(default_factory=list)
    order: list[Request] = field(default_factory=list)  # as they came to a slot
    unserved: dict[Request, int] = field(default_factory=dict)

    def call(self) -> Plan | None:
        plan = self.scheduler.plan()
        if plan is None:
            assert not self.scheduler.running
            assert not self.scheduler.waiting
            return None
        for source, target, length in plan.copies:
            assert len(self.slots[source]) >= length
            self.slots[target] = self.slots[source][:length]
        self.copied += plan.copies
        self._check(plan)
        for turn in plan.turns:
            self._run(turn, plan.steps)
        return plan

    def _check(self, plan: Plan) -> None:
        running, limits = self.scheduler.running, self.scheduler.limits
        assert len({turn.request.slot for turn in plan.turns}) == len(plan.turns)
        self.order += [each for each in running if each not in self.order]
        ready = [each for each in running if each.pending == 1 and each.leader is None]
        drawing = [turn.request for turn in plan.turns]
        assert all(each in drawing for each in ready), "who can draw does so in every call"
        reading = [turn for turn in plan.turns if turn.request not in ready]
        budget = limits.prompt_tokens_beside if ready else limits.prompt_tokens
        assert sum(len(turn.ids) for turn in reading) <= budget
        if len(ready) < len(running):
            assert plan.steps == 1
        for each in running:
            led = each.leader is not None
            self.unserved[each] = 0 if led or each in drawing else self.unserved.get(each, 0) + 1
            assert self.unserved[each] < len(running), "all others came first"

    def _run(self, turn: Turn, steps: int) -> None:
        each = turn.request
        assert each.slot is not None
        held = self.slots.setdefault(each.slot, [])
        assert len(held) >= turn.position
        del held[turn.position :]
        held += turn.ids
        self.taken += len(turn.ids)
        assert held == each.ids[each.start : each.start + len(held)], "the slot holds the text's own tokens"
        assert 1 <= len(held) <= BLOCK
        if not turn.outputs or turn.scores:
            self.scheduler.took(turn, [])
            return
        assert len(held) == len(each.ids) - each.start, "all that a token is drawn from is there"
        count = min(steps, BLOCK - len(held) + 1)
        if each.remaining is not None:
            count = min(count, each.remaining)
        first = 100 + len(each.ids) - each.prompt_length
        tokens = list(range(first, first + count))
        held += tokens[:-1]
        self.taken += count - 1
        self.scheduler.took(turn, tokens)
        if each.remaining == 0 or each.over:
            self.scheduler.drop(each)

    def finish(self, most: int = 10_000) -> None:
        for _ in range(most):
            if self.call() is None:
                return
        raise AssertionError("somebody never finishes")


def machine(slots: int = 2, limits: Limits = SMALL, *requests: Request) -> Machine:
    scheduler = Scheduler(slots, limits)
    for each in requests:
        scheduler.add(each)
    return Machine(scheduler)


# All rules at once

PROMPTS = st.one_of(
    st.integers(1, 60).map(lambda n: list(range(n))),  # all begin alike
    st.lists(st.integers(0, 2), min_size=1, max_size=40),
)
REQUESTS = st.builds(
    request,
    PROMPTS,
    st.integers(1, 40),
    context_overflow=st.sampled_from(["shift", "recompute"]),
    plain=st.booleans(),
    scored=st.sampled_from([False, False, True]),
)


@settings(max_examples=150)
@given(
    st.lists(st.tuples(REQUESTS, st.integers(0, 12), st.one_of(st.none(), st.integers(0, 12))), max_size=9),
    st.integers(1, 4),
)
def test_everyone_is_served_in_time_from_the_right_tokens(
    plans: list[tuple[Request, int, int | None]], slots: int
) -> None:
    """Requests come at any call, and some are given up at any later one."""
    model, added = machine(slots), list[Request]()
    for now in range(26):
        for each, comes, _ in plans:
            if comes == now:
                model.scheduler.add(each)
                added.append(each)
        for each, comes, stays in plans:
            if stays is not None and comes + stays == now and each.remaining:
                model.scheduler.drop(each)
        model.call()
    model.finish()
    assert [each for each in added if each in model.order] == model.order, "slots are given in the order of arrival"
    for each, _, stays in plans:
        assert each.slot is None
        if stays is None:
            assert each.remaining == 0


@settings(max_examples=30)
@given(st.lists(st.integers(1, 400), min_size=1, max_size=12), st.integers(1, 3))
def test_overload_starves_nobody(lengths: list[int], slots: int) -> None:
    """As many new ones as finish, each call: those that came first are still served first."""
    model = machine(slots)
    early = [request([n] * (n % BLOCK + 1), n % 7 + 1) for n in lengths]
    for each in early:
        model.scheduler.add(each)
    calls = 0
    while any(each.remaining for each in early):
        model.scheduler.add(request([7] * 20, 2))
        model.call()
        calls += 1
        assert calls <= sum(each.prompt_length + 8 for each in early)
    assert model.order[: len(early)] == early


# Prompts beside texts


def test_a_long_prompt_holds_up_nobody() -> None:
    writing, late = request([1, 2], 20), request(list(range(3, 23)), 1)
    model = machine(2, SMALL, writing)
    model.call()
    model.scheduler.add(late)
    sizes = []
    while late.remaining:
        before = writing.remaining or 0
        plan = model.call()
        assert plan is not None
        assert writing.remaining == before - 1
        sizes.append(sum(len(turn.ids) for turn in plan.turns if turn.request is late))
    assert sizes == [5, 5, 5, 5]


def test_a_prompt_alone_is_read_in_large_chunks() -> None:
    model = machine(2, SMALL, request(list(range(20)), 1))
    plans = [model.call(), model.call()]
    assert [[len(turn.ids) for turn in plan.turns] for plan in plans if plan] == [[16], [4]]
    assert [[turn.outputs for turn in plan.turns] for plan in plans if plan] == [[0], [1]]


def test_readers_take_turns() -> None:
    long, short = request([1] * 22), request([2, 3, 4])
    model = machine(2, Limits(prompt_tokens=4, shared=3), long, short)
    plans = [model.call() for _ in range(2)]
    read = [[(turn.request is long, len(turn.ids)) for turn in plan.turns] for plan in plans if plan]
    assert read == [[(True, 4)], [(False, 3), (True, 1)]]


def test_the_window_is_read_again_in_chunks_too() -> None:
    text, beside = request(list(range(BLOCK)), 3), request([1, 2], 30)
    model = machine(2, SMALL, text, beside)
    while text.start == 0:
        model.call()
    assert text.start == BLOCK // 2
    assert 0 < text.filled <= SMALL.prompt_tokens_beside
    model.finish()


# Steps


def steps_after(model: Machine, seconds: float) -> int:
    plan = model.call()
    assert plan is not None
    model.scheduler.lasted(plan, seconds * plan.steps)
    following = model.scheduler.plan()
    assert following is not None
    return following.steps


@pytest.mark.parametrize(("seconds", "steps"), [(1e-6, 16), (0.001, 5), (0.004, 1), (1.0, 1)])
def test_steps_fill_some_milliseconds(seconds: float, steps: int) -> None:
    assert steps_after(machine(1, Limits(), request([1], 99)), seconds) == steps


def test_one_step_for_who_must_see_each_token_and_no_more_than_anyone_needs() -> None:
    assert steps_after(machine(2, Limits(), request([1], 99), request([2], 99, plain=False)), 1e-6) == 1
    assert steps_after(machine(2, Limits(), request([1], 3), request([2], 5)), 1e-6) == 4
    endless = Request([1], BLOCK)
    assert steps_after(machine(2, Limits(), endless, request([2], 5)), 1e-6) == 16


def test_a_slow_call_is_forgotten() -> None:
    model = machine(1, Limits(), request([1], 999))
    steps_after(model, 10.0)
    assert [steps_after(model, 1e-6) for _ in range(16)][-1] == 16


# Beginnings that are there already


def test_samples_of_one_prompt_read_it_once() -> None:
    prompt = list(range(20))
    model = machine(4, SMALL, *(request(prompt, 3) for _ in range(8)))
    model.finish()
    drawn = 8 * 2  # the last token of a text is not taken in
    assert model.taken == len(prompt) + 7 + drawn, "each sample takes in the last token, for its logits"


def test_followers_wait_only_for_a_beginning_that_is_longer() -> None:
    leader, follower, other = request([*range(20)], 2), request([*range(18), 99, 98], 2), request([7, 8, 9], 2)
    model = machine(3, SMALL, leader, follower, other)
    model.call()
    assert (follower.leader, follower.filled) == (leader, 0)
    model.call()
    assert (follower.leader, follower.shared) == (leader, 18)
    model.call()
    assert follower.leader is None
    assert model.copied == [(0, 1, 18)]
    model.finish()


def test_who_waits_for_one_that_is_given_up_reads_on_from_there() -> None:
    leader, follower = request([*range(20)], 2), request([*range(20)], 2)
    model = machine(2, SMALL, leader, follower)
    model.call()
    model.scheduler.drop(leader)
    model.call()
    assert model.copied == [(0, 1, 16)]
    assert follower.leader is None
    model.finish()


def test_a_conversation_goes_on_in_its_slot() -> None:
    first = request([*range(10)], 4)
    model = machine(2, SMALL, first)
    model.finish()
    before = model.taken
    second = request([*first.ids, 1, 2], 1)
    model.scheduler.add(second)
    model.finish()
    assert model.copied == [(0, 0, 13)]
    assert model.taken - before == 3, "what was drawn last, and the two new ones"


def test_what_another_may_still_want_is_copied_not_cut() -> None:
    model = machine(2, SMALL, request([*range(20)], 1))
    model.finish()
    model.scheduler.add(request([*range(10), 50], 1))
    model.finish()
    assert model.copied == [(0, 1, 10)]
    model.scheduler.add(request([*range(20)], 1))
    model.finish()
    assert model.copied[-1] == (0, 1, 19), "the slot that is free longest gives way, but not the source"


def test_a_text_that_is_still_written_lends_its_beginning() -> None:
    model = machine(2, SMALL, request([*range(10)], 30))
    model.call()
    model.scheduler.add(request([*range(10), 100, 5], 1))
    model.call()
    assert model.copied == [(0, 1, 10)]
    model.finish()


def test_short_beginnings_are_read_again() -> None:
    model = machine(2, SMALL, request([1, 2, 3], 1), request([1, 2, 3], 1))
    model.finish()
    assert model.copied == []


def test_scores_need_the_whole_prompt() -> None:
    scored = request([*range(10)], 1, scored=True)
    model = machine(2, SMALL, request([*range(10)], 1))
    model.finish()
    model.scheduler.add(scored)
    plan = model.call()
    assert plan is not None
    assert [(turn.position, len(turn.ids), turn.outputs, turn.scores) for turn in plan.turns] == [(0, 9, 9, True)]
    plan = model.call()
    assert plan is not None
    assert [(turn.position, len(turn.ids), turn.outputs, turn.scores) for turn in plan.turns] == [(9, 1, 1, False)]


# The queue


def test_a_full_queue() -> None:
    model = machine(2, Limits(max_queue=3), *(request([n]) for n in range(5)))
    with pytest.raises(QueueFullError, match=r"5 requests are waiting already, and no more may: try again later"):
        model.scheduler.add(request([9]))
    model.call()
    with pytest.raises(QueueFullError, match="3 requests"):
        model.scheduler.add(request([9]))
    model.scheduler.drop(model.scheduler.waiting[1])
    model.scheduler.add(request([9]))
    model.finish()


def test_a_slot_is_free_at_once() -> None:
    first, second = request([1], 50), request([2], 3)
    model = machine(1, SMALL, first, second)
    model.call()
    assert second.slot is None
    model.scheduler.drop(first)
    model.call()
    assert second.slot == 0


def test_what_comes_of_a_turn_of_one_given_up_is_forgotten() -> None:
    each = request([1, 2], 50)
    scheduler = Scheduler(1, SMALL)
    scheduler.add(each)
    plan = scheduler.plan()
    assert plan is not None
    scheduler.drop(each)
    scheduler.took(plan.turns[0], [5])
    assert each.ids == [1, 2]
    assert scheduler.plan() is None


@given(st.lists(st.integers(0, 1)), st.lists(st.integers(0, 1)))
def test_common(a: list[int], b: list[int]) -> None:
    length = common(a, b)
    assert a[:length] == b[:length]
    assert length in (len(a), len(b)) or a[length] != b[length]
