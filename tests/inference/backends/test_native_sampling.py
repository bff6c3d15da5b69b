"""The kernel samples the same tokens as the Python implementation for the same logits and random number."""

import ctypes
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.sampling import sample, uniform

REASON = native_bindings.unavailable_reason()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

words64 = st.integers(0, 2**64 - 1)
Logits = np.ndarray[Any, np.dtype[np.float32]]


def kernel_sample(logits: Logits, params: SamplingParams, u: float, banned: list[int]) -> int:
    ids = np.array(banned, np.int32)
    native = native_bindings.InkSamplingParams(
        temperature=params.temperature,
        top_p=params.top_p,
        min_p=params.min_p,
        top_k=params.top_k,
        n_banned_ids=len(ids),
        banned_ids=ids.ctypes.data,
    )
    return int(native_bindings.library().ink_sample(logits.ctypes.data, len(logits), ctypes.byref(native), u))


def python_sample(logits: Logits, params: SamplingParams, u: float, banned: list[int]) -> int:
    doubles = logits.astype(np.float64)
    doubles[banned] = -np.inf
    try:
        return sample(doubles, params, u)
    except ValueError:
        return -1


@given(seed=words64, sample_index=words64, position=st.integers(0, 2**62))
def test_uniform_equals_python(seed: int, sample_index: int, position: int) -> None:
    assert native_bindings.library().ink_uniform(seed, sample_index, position) == uniform(seed, sample_index, position)


logits_and_banned = st.integers(1, 60).flatmap(
    lambda size: st.tuples(
        st.lists(
            st.one_of(
                st.floats(-50, 50, width=32),
                st.integers(-3, 3).map(float),
                st.sampled_from([-math.inf, 0.0, -0.0, 3e38]),
            ),
            min_size=size,
            max_size=size,
        ),
        st.sets(st.integers(0, size - 1), max_size=3).map(sorted),
    )
)
sampling_params = st.builds(
    SamplingParams,
    temperature=st.one_of(st.just(0.0), st.floats(0.05, 5), st.sampled_from([1.0, 5e-324, 1e-300, 100.0])),
    top_k=st.integers(0, 70),
    top_p=st.one_of(st.just(1.0), st.floats(1e-6, 1), st.sampled_from([1e-300, 0.5, 1 - 2**-53])),
    min_p=st.one_of(st.just(0.0), st.floats(0, 1)),
)
uniforms = st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, 1 - 2**-53]))


@settings(max_examples=500)
@given(logits_and_bans=logits_and_banned, params=sampling_params, u=uniforms)
@example(logits_and_bans=([math.nan, 1.0], []), params=SamplingParams(), u=0.5)
@example(logits_and_bans=([math.nan, 1.0], [0]), params=SamplingParams(), u=0.5)
@example(logits_and_bans=([math.inf, 1.0], []), params=SamplingParams(temperature=0), u=0.5)
@example(logits_and_bans=([1.0, 2.0], [0, 1]), params=SamplingParams(), u=0.5)
@example(logits_and_bans=([0.0, 3e38, -3e38], []), params=SamplingParams(temperature=1e-300), u=0.9)
def test_sample_equals_python(logits_and_bans: tuple[list[float], list[int]], params: SamplingParams, u: float) -> None:
    values, banned = logits_and_bans
    logits = np.array(values, np.float32)
    assert kernel_sample(logits, params, u, banned) == python_sample(logits, params, u, banned)


@pytest.mark.parametrize("scale", [0.01, 1.0, 10.0])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"temperature": 0},
        {"top_k": 40},
        {"top_k": 30_000},
        {"top_p": 0.9},
        {"top_p": 0.5, "temperature": 2.0},
        {"min_p": 0.1},
        {"top_k": 500, "top_p": 0.8, "min_p": 0.01, "temperature": 1.3},
    ],
)
def test_gpt2_vocabulary(options: dict[str, Any], scale: float) -> None:
    params, generator = SamplingParams(**options), np.random.default_rng(3)
    logits = (scale * generator.standard_normal(50_257)).astype(np.float32)
    logits[generator.integers(0, len(logits), 1000)] = logits[0]  # ties
    for u in (0.0, *generator.random(3).tolist(), 1 - 2**-53):
        assert kernel_sample(logits, params, u, [0, 17, 50_256]) == python_sample(logits, params, u, [0, 17, 50_256])
