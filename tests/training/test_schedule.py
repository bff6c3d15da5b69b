import math
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.config.recipes import RECIPES
from inkhorn.config.train import TrainConfig
from inkhorn.training.schedule import momentum, rate


@st.composite
def plans(draw: st.DrawFn) -> TrainConfig:
    steps = draw(st.integers(1, 400))
    return TrainConfig(
        steps=steps,
        warmup_steps=draw(st.integers(0, steps - 1)),
        schedule=draw(st.sampled_from(["linear", "cosine"])),
        cooldown_frac=draw(st.floats(0.0, 1.0)),
        final_lr_frac=draw(st.floats(0.0, 1.0)),
        momentum=draw(st.floats(0.0, 0.99)),
        momentum_warmup=draw(st.integers(0, 300)),
    )


@given(plans())
def test_rate_warms_up_then_decays(plan: TrainConfig) -> None:
    rates = [rate(step, plan) for step in range(plan.steps + 1)]
    warm = plan.warmup_steps
    assert all(0.0 < value <= 1.0 for value in rates[:-1]) or plan.final_lr_frac == 0.0
    assert max(rates[:-1]) == 1.0 == rates[warm]
    assert all(later > earlier for earlier, later in pairwise(rates[:warm]))
    assert all(later <= earlier for earlier, later in pairwise(rates[warm:]))
    assert rates[-1] == pytest.approx(plan.final_lr_frac, abs=1e-12)
    assert rate(plan.steps + 1000, plan) == pytest.approx(plan.final_lr_frac, abs=1e-12)
    if warm:
        assert rates[0] == pytest.approx(1 / warm)  # the first step already learns


@given(plans())
def test_rate_is_continuous(plan: TrainConfig) -> None:
    length = plan.steps - plan.warmup_steps
    if plan.schedule == "linear":
        length = min(length, round(plan.steps * plan.cooldown_frac))
    steepest = max(1 / max(1, plan.warmup_steps), (math.pi / 2) / max(1, length))
    rates = [rate(step, plan) for step in range(plan.steps + 1)]
    jumps = [abs(later - earlier) for earlier, later in pairwise(rates)]
    assert max(jumps) <= steepest + 1e-12


def test_linear_schedule() -> None:
    plan = TrainConfig(steps=100, warmup_steps=10, schedule="linear", cooldown_frac=0.4, final_lr_frac=0.1)
    assert [rate(s, plan) for s in (0, 4, 9)] == pytest.approx([0.1, 0.5, 1.0])
    assert all(rate(s, plan) == 1.0 for s in range(10, 61))
    assert [rate(s, plan) for s in (70, 80, 90, 100)] == pytest.approx([0.775, 0.55, 0.325, 0.1])


def test_cosine_schedule() -> None:
    plan = TrainConfig(steps=110, warmup_steps=10, schedule="cosine", cooldown_frac=0.1, final_lr_frac=0.2)
    assert [rate(s, plan) for s in (10, 60, 110)] == pytest.approx([1.0, 0.6, 0.2])
    assert rate(35, plan) == pytest.approx(0.2 + 0.8 * (0.5 + 0.5 * math.cos(math.pi / 4)))


def test_warmup_longer_than_run() -> None:
    plan = TrainConfig(steps=10, warmup_steps=50)
    assert [rate(s, plan) for s in range(10)] == pytest.approx([(s + 1) / 50 for s in range(10)])


@given(plans())
def test_momentum_warmup(plan: TrainConfig) -> None:
    values = [momentum(step, plan) for step in range(plan.momentum_warmup + 5)]
    assert values[0] == pytest.approx(min(0.85, plan.momentum) if plan.momentum_warmup else plan.momentum)
    assert values[plan.momentum_warmup :] == pytest.approx([plan.momentum] * 5)
    assert all(later >= earlier - 1e-12 for earlier, later in pairwise(values))


def test_momentum_halfway() -> None:
    plan = TrainConfig(momentum=0.95, momentum_warmup=100)
    assert momentum(50, plan) == pytest.approx(0.90)
    assert momentum(0, replace(plan, momentum_warmup=0)) == 0.95


@pytest.mark.parametrize("name", RECIPES)
def test_schedules_of_all_recipes(name: str) -> None:
    plan = RECIPES[name].train
    assert 0 < plan.warmup_steps < plan.steps
    assert rate(0, plan) < rate(plan.warmup_steps, plan) == 1.0
    assert rate(plan.steps, plan) < 0.2


def test_longer_run_has_same_start() -> None:
    short = TrainConfig(steps=1000, cooldown_frac=0.5)
    longer = replace(short, steps=2000)
    assert [rate(s, short) for s in range(500)] == [rate(s, longer) for s in range(500)]
