"""Sampling, bit for bit: against NumPy's Philox, a scalar reference implementation, exact probabilities and golden
results that every other implementation must reproduce."""

import math
from collections.abc import Mapping
from itertools import accumulate
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.sampling import Sampler, exp, sample, uniform

INF = math.inf
words64 = st.integers(0, 2**64 - 1)


def doubles(*values: float) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.array(values, np.float64)


def floats32(*values: float) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(values, np.float32)


# The reference: the eight steps of the module's docstring, one number at a time.


def reference_exp(x: float) -> float:
    if x < -700.0:
        return 0.0
    n = round(x * 1.4426950408889634)  # Python rounds ties to even
    r = (x - n * 6.93147180369123816490e-01) - n * 1.90821492927058770002e-10
    p = 1.0 / 6227020800.0
    for k in range(12, -1, -1):
        p = p * r + 1.0 / math.factorial(k)
    return math.ldexp(p, n)


def reference_process(
    logits: list[float], params: SamplingParams, prompt: list[int], text: list[int], banned: set[int]
) -> list[float]:
    out = []
    for token, logit in enumerate(logits):
        value = logit
        if token in prompt or token in text:
            value = value / params.repetition_penalty if value > 0 else value * params.repetition_penalty
        if token in text:
            value = value - params.presence_penalty - params.frequency_penalty * text.count(token)
        value = value + params.logit_bias.get(token, 0.0)
        out.append(-INF if token in banned else value)
    return out


def reference_sample(logits: list[float], params: SamplingParams, u: float) -> int:
    def by_probability(tokens: list[int]) -> list[int]:
        return sorted(tokens, key=lambda token: (-logits[token], token))

    allowed = [token for token, value in enumerate(logits) if value > -INF]
    best = max(logits)
    if params.temperature == 0:
        return logits.index(best)
    if params.top_k:
        allowed = sorted(by_probability(allowed)[: params.top_k])
    w = {token: reference_exp((logits[token] - best) / params.temperature) for token in allowed}
    allowed = [token for token in allowed if w[token] > 0]

    if params.top_p < 1:
        bound = params.top_p * list(accumulate(w[token] for token in allowed))[-1]
        order = by_probability(allowed)
        before = [0.0, *accumulate(w[token] for token in order)]
        allowed = sorted(token for token, sum_before in zip(order, before, strict=False) if sum_before < bound)
    allowed = [token for token in allowed if w[token] >= params.min_p]
    sums = list(accumulate(w[token] for token in allowed))
    above = [token for token, running in zip(allowed, sums, strict=True) if running > u * sums[-1]]
    return above[0] if above else allowed[-1]


# Philox


@given(seed=words64, sample_index=words64, position=st.integers(0, 2**62))
@example(seed=0, sample_index=0, position=0)
@example(seed=2**64 - 1, sample_index=2**64 - 1, position=0)
def test_uniform_equals_numpy_philox(seed: int, sample_index: int, position: int) -> None:
    counter = (position - 1) % 2**256  # NumPy counts up before it draws
    numpys = np.random.Philox(key=seed + (sample_index << 64), counter=counter)
    assert uniform(seed, sample_index, position) == np.random.Generator(numpys).random()


def test_uniform_equals_published_philox() -> None:
    """The first word of Random123's known-answer test for philox4x64 with 10 rounds, counter and key 0."""
    assert uniform(0, 0, 0) == (0x16554D9ECA36314C >> 11) / 2**53


def test_uniform_distribution() -> None:
    drawn = np.array([uniform(7, 0, position) for position in range(4000)])
    assert (drawn >= 0).all()
    assert (drawn < 1).all()
    counts = np.histogram(drawn, 20, (0, 1))[0]
    assert ((counts - 200) ** 2 / 200).sum() < 43.8  # chi-square, 19 degrees of freedom, one in a thousand


# exp

EXP = [
    (0.0, "0x1.0000000000000p+0"),
    (-0.0, "0x1.0000000000000p+0"),
    (-5e-324, "0x1.0000000000000p+0"),
    (-0.1, "0x1.cf46d99d52b3ap-1"),
    (-0.34657359027997264, "0x1.6a09e667f3bccp-1"),
    (-0.34657359027997275, "0x1.6a09e667f3bccp-1"),
    (-0.5, "0x1.368b2fc6f960ap-1"),
    (-0.6931471805599453, "0x1.0000000000000p-1"),
    (-1.0, "0x1.78b56362cef38p-2"),
    (-2.5, "0x1.50385c094f425p-4"),
    (-10.0, "0x1.7cd79b5647c9ap-15"),
    (-36.7368005696771, "0x1.0000000000003p-53"),
    (-100.0, "0x1.a8c1f14e2af5dp-145"),
    (-345.678, "0x1.3971a67444e9dp-499"),
    (-700.0, "0x1.14f2b0fb9307fp-1010"),
    (-700.0000000000001, "0x0.0p+0"),
    (-1e308, "0x0.0p+0"),
    (-INF, "0x0.0p+0"),
]


@pytest.mark.parametrize(("x", "expected"), EXP)
def test_exp_is_bit_exact(x: float, expected: str) -> None:
    assert float(exp(doubles(x))[0]).hex() == expected
    assert reference_exp(x).hex() == expected


@given(st.lists(st.floats(-700, 0), min_size=1, max_size=50))
def test_exp_accuracy(values: list[float]) -> None:
    got = exp(doubles(*values))
    for x, y in zip(values, got.tolist(), strict=True):
        true = math.exp(x)
        assert abs(y - true) <= math.ulp(true), x
        assert y == reference_exp(x)


def test_exp_is_monotone() -> None:
    """Also where the exponent n of the range reduction changes."""
    spread = -np.sort(np.random.default_rng(0).random(20_000) * 700)
    boundaries = [(n + 0.5) * math.log(2) for n in range(-1009, 0)]
    near = [x + np.arange(-20, 21) * math.ulp(x) for x in boundaries]
    for x in (spread[::-1], *near):
        assert (np.diff(exp(np.sort(x))) >= 0).all()


# Sampling

some_logits = st.lists(
    st.one_of(
        st.sampled_from([0.0, -0.0, 1.0, 1.0, -1.0, 30.0, -INF]),  # ties, and tokens that cannot be sampled
        st.floats(-8, 8),
        st.floats(-3e38, 3e38),
        st.floats(-1e-300, 1e-300),
    ),
    min_size=1,
    max_size=24,
)
some_params = st.builds(
    SamplingParams,
    temperature=st.one_of(st.sampled_from([0.0, 1.0, 1e-310, 100.0]), st.floats(0.05, 3)),
    top_k=st.integers(0, 30),
    top_p=st.one_of(st.sampled_from([1.0, 1e-300, 0.5]), st.floats(0.01, 1)),
    min_p=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1)),
    repetition_penalty=st.sampled_from([1.0, 1.3, 0.5]),
    presence_penalty=st.sampled_from([0.0, 0.7, -2.0]),
    frequency_penalty=st.sampled_from([0.0, 0.3, -1.1]),
    logit_bias=st.dictionaries(st.integers(0, 0), st.floats(-100, 100), max_size=1),
    seed=words64,
)
below_one = st.one_of(st.sampled_from([0.0, 0.5, 1 - 2.0**-53]), st.floats(0, 1, exclude_max=True))


@settings(max_examples=400)
@given(logits=some_logits, params=some_params, u=below_one)
@example(logits=[1.0, 1.0, 1.0], params=SamplingParams(temperature=1.0, top_k=2), u=1 - 2.0**-53)
@example(logits=[0.0, -5.0], params=SamplingParams(temperature=5e-324), u=0.9)
@example(logits=[0.0, 3e38, -3e38], params=SamplingParams(temperature=1e-300), u=0.9)
def test_sample_equals_specification(logits: list[float], params: SamplingParams, u: float) -> None:
    assume(max(logits) > -INF)
    token = sample(doubles(*logits), params, u)
    assert type(token) is int
    assert token == reference_sample(logits, params, u)
    assert logits[token] > -INF


@settings(max_examples=150)
@given(
    rows=st.lists(st.lists(st.floats(-6, 6, width=32), min_size=6, max_size=6), min_size=1, max_size=6),
    params=some_params,
    prompt=st.lists(st.integers(0, 5), max_size=4),
    banned=st.sets(st.integers(0, 5), max_size=5),
    sample_index=st.integers(0, 9),
)
def test_sampler_equals_specification(
    rows: list[list[float]], params: SamplingParams, prompt: list[int], banned: set[int], sample_index: int
) -> None:
    sampler = Sampler(params, sample_index, prompt, banned)
    text: list[int] = []
    for step, row in enumerate(rows):
        position = len(prompt) + step
        assert params.seed is not None
        adjusted = reference_process(row, params, prompt, text, banned)
        expected = reference_sample(adjusted, params, uniform(params.seed, sample_index, position))
        token = sampler.sample(floats32(*row), position)
        assert token == expected
        assert token not in banned
        text.append(token)


@pytest.mark.parametrize("top_p", [1.0, 0.7])
def test_summation_order(top_p: float) -> None:
    """Sums run in sorted order. NumPy's pairwise sum() differs in the last bits, which matter for u at a boundary."""
    logits = np.random.default_rng(0).normal(size=1500)
    params = SamplingParams(temperature=1.0, top_p=top_p)
    w = [reference_exp(value - logits.max()) for value in sorted(logits, reverse=True)]
    sums = list(accumulate(w))
    total = next(value for value in sums if value >= top_p * sums[-1])
    for boundary in [value for value in sums if value < total][::10]:
        for u in (boundary / total, math.nextafter(boundary / total, 0), math.nextafter(boundary / total, 1)):
            assert sample(logits, params, u) == reference_sample(logits.tolist(), params, u)


def test_logits_are_not_modified() -> None:
    logits = floats32(1, 2, 3)
    sampler = Sampler(
        SamplingParams(repetition_penalty=2, presence_penalty=1, logit_bias={0: 5}, seed=0), banned_ids=[2]
    )
    for position in range(3):
        sampler.sample(logits, position)
    assert logits.tolist() == [1, 2, 3]


# Exact probabilities


def probabilities(logits: list[float], **params: Any) -> list[float]:
    """The probability of each token, measured with u on a fine grid."""
    grid = 2000
    settings = SamplingParams(**({"temperature": 1.0} | params))
    drawn = [sample(doubles(*logits), settings, (i + 0.5) / grid) for i in range(grid)]
    return [drawn.count(token) / grid for token in range(len(logits))]


LOGS = [math.log(p) for p in (0.1, 0.5, 0.15, 0.25)]


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        ({}, [0.1, 0.5, 0.15, 0.25]),
        ({"temperature": 0.5}, [0.01 / 0.345, 0.25 / 0.345, 0.0225 / 0.345, 0.0625 / 0.345]),
        ({"temperature": 0}, [0, 1, 0, 0]),
        ({"temperature": 1e-310}, [0, 1, 0, 0]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 2}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_k": 4}, [0.1, 0.5, 0.15, 0.25]),
        ({"top_k": 99}, [0.1, 0.5, 0.15, 0.25]),
        ({"top_p": 1e-9}, [0, 1, 0, 0]),
        ({"top_p": 0.49}, [0, 1, 0, 0]),
        ({"top_p": 0.6}, [0, 2 / 3, 0, 1 / 3]),
        ({"top_p": 0.8}, [0, 5 / 9, 1.5 / 9, 2.5 / 9]),
        ({"top_p": 0.95}, [0.1, 0.5, 0.15, 0.25]),
        ({"min_p": 0.19}, [0.1, 0.5, 0.15, 0.25]),
        ({"min_p": 0.21}, [0, 5 / 9, 1.5 / 9, 2.5 / 9]),
        ({"min_p": 0.4}, [0, 2 / 3, 0, 1 / 3]),
        ({"min_p": 1}, [0, 1, 0, 0]),
        (
            {"top_k": 3, "top_p": 0.8},
            [0, 2 / 3, 0, 1 / 3],
        ),  # top_p applies to the 0.9 that top_k keeps: 0.75 / 0.9 = 0.83
        ({"top_p": 0.95, "min_p": 0.4}, [0, 2 / 3, 0, 1 / 3]),
    ],
)
def test_filters(params: dict[str, Any], expected: list[float]) -> None:
    np.testing.assert_allclose(probabilities(LOGS, **params), expected, rtol=0, atol=2e-3)


def test_sampled_distribution() -> None:
    sampler = Sampler(SamplingParams(temperature=1.0, seed=3))
    drawn = np.array([sampler.sample(floats32(*LOGS), position) for position in range(4000)])
    expected = 4000 * doubles(0.1, 0.5, 0.15, 0.25)
    assert ((np.bincount(drawn, minlength=4) - expected) ** 2 / expected).sum() < 16.3  # 3 degrees, one in a thousand


def test_ties_by_lowest_id() -> None:
    tied = doubles(0, 2, 2, 2)
    assert sample(tied, SamplingParams(temperature=0), 0.99) == 1
    assert sample(tied, SamplingParams(top_k=1), 0.99) == 1
    assert sample(tied, SamplingParams(top_k=2), 0.99) == 2
    assert [sample(tied, SamplingParams(top_p=0.6), u) for u in (0.0, 0.49, 0.51, 0.99)] == [1, 1, 2, 2]
    assert sample(doubles(-0.0, 0.0), SamplingParams(temperature=0), 0.5) == 0


@pytest.mark.parametrize(
    ("params", "expected"),
    [
        # Token 0 is in the prompt, 1 in the prompt and once in the text, 2 twice in the text, 3 nowhere.
        ({}, [2.0, -1.0, 4.0, 0.5]),
        ({"repetition_penalty": 2.0}, [1.0, -2.0, 2.0, 0.5]),
        ({"presence_penalty": 0.5}, [2.0, -1.5, 3.5, 0.5]),
        ({"frequency_penalty": 0.25}, [2.0, -1.25, 3.5, 0.5]),
        ({"frequency_penalty": -1.0, "presence_penalty": 1.0}, [2.0, -1.0, 5.0, 0.5]),
        ({"repetition_penalty": 2.0, "presence_penalty": 1.0}, [1.0, -3.0, 1.0, 0.5]),
        ({"logit_bias": {0: -3.0, 3: 9.5}}, [-1.0, -1.0, 4.0, 10.0]),
        (
            {"repetition_penalty": 2.0, "logit_bias": {0: 5.0}},
            [6.0, -2.0, 2.0, 0.5],
        ),  # the bias is added after the penalty
    ],
)
def test_penalties(params: Mapping[str, Any], expected: list[float]) -> None:
    logits = [2.0, -1.0, 4.0, 0.5]
    sampler = Sampler(SamplingParams(**params, seed=0), prompt_ids=[0, 1])
    forced = {token: [-INF if other != token else 0.0 for other in range(4)] for token in range(4)}
    for position, token in enumerate([1, 2, 2]):
        assert sampler.sample(floats32(*forced[token]), position) == token
    assert sampler._process(floats32(*logits)).tolist() == expected
    assert reference_process(logits, sampler.params, [0, 1], [1, 2, 2], set()) == expected


def test_banned_ids() -> None:
    logits = floats32(50, 0, 50, 1)
    sampler = Sampler(SamplingParams(temperature=100, logit_bias={0: 100, 2: 100}, seed=1), banned_ids={0, 2})
    assert {sampler.sample(logits, position) for position in range(200)} == {1, 3}
    assert Sampler(SamplingParams(temperature=0), banned_ids={0, 2}).sample(logits, 0) == 3


@pytest.mark.parametrize("temperature", [0.0, 1.0])
@pytest.mark.parametrize("logits", [[-INF, -INF], [0.0, math.nan], [math.nan, math.nan], [INF, 0.0], [-INF, math.nan]])
def test_logits_not_finite(logits: list[float], temperature: float) -> None:
    with pytest.raises(ValueError, match="no token can be sampled"):
        sample(doubles(*logits), SamplingParams(temperature=temperature), 0.5)


def test_all_tokens_banned() -> None:
    with pytest.raises(ValueError, match="no token can be sampled"):
        Sampler(SamplingParams(seed=0), banned_ids=range(3)).sample(floats32(0, 1, 2), 0)


# Seeds


def draws(params: SamplingParams, sample_index: int = 0, steps: int = 24) -> list[int]:
    """Tokens sampled from the logits (7 i + 3 position) mod 11 / 4, which are exact in any language."""
    sampler = Sampler(params, sample_index, prompt_ids=[1, 2], banned_ids=[5])
    return [sampler.sample(floats32(*[(7 * i + 3 * p) % 11 / 4 for i in range(16)]), p) for p in range(2, 2 + steps)]


GOLDEN: list[tuple[dict[str, Any], int, list[int]]] = [
    ({"temperature": 0}, 0, [10, 8, 6, 4, 2, 0, 9, 7, 8, 3, 1, 10, 8, 6, 4, 2, 0, 9, 7, 8, 3, 1, 10, 8]),
    (
        {"temperature": 1.0, "seed": 0},
        0,
        [10, 3, 9, 4, 2, 11, 8, 7, 9, 14, 3, 13, 14, 6, 13, 13, 7, 1, 13, 8, 15, 4, 2, 11],
    ),
    (
        {"temperature": 0.8, "seed": 1337},
        0,
        [2, 14, 4, 8, 11, 9, 4, 3, 11, 3, 0, 10, 4, 15, 0, 1, 9, 9, 7, 1, 14, 11, 1, 8],
    ),
    (
        {"temperature": 0.8, "seed": 1337},
        3,
        [8, 9, 1, 2, 14, 0, 15, 7, 6, 9, 4, 10, 3, 12, 4, 8, 14, 7, 7, 3, 6, 15, 13, 4],
    ),
    (
        {"temperature": 1.5, "top_k": 5, "seed": 2**64 - 1},
        2**64 - 1,
        [8, 0, 12, 10, 8, 3, 15, 13, 14, 14, 4, 13, 8, 1, 2, 2, 14, 1, 7, 14, 14, 1, 2, 8],
    ),
    (
        {"temperature": 1.2, "top_p": 0.8, "min_p": 0.15, "seed": 42},
        1,
        [0, 14, 6, 7, 8, 3, 13, 0, 3, 14, 1, 2, 9, 15, 2, 8, 11, 9, 2, 3, 3, 15, 6, 14],
    ),
    (
        {
            "temperature": 0.9,
            "repetition_penalty": 1.4,
            "presence_penalty": 0.5,
            "frequency_penalty": 0.25,
            "logit_bias": {7: 1.5},
            "seed": 42,
        },
        0,
        [8, 14, 2, 15, 13, 11, 7, 9, 8, 7, 1, 12, 3, 9, 4, 6, 2, 0, 7, 14, 7, 7, 13, 8],
    ),
]


@pytest.mark.parametrize(("params", "sample_index", "expected"), GOLDEN)
def test_golden_samples(params: dict[str, Any], sample_index: int, expected: list[int]) -> None:
    """Every implementation must sample these. A change would change the text of every seed."""
    assert draws(SamplingParams(**params), sample_index) == expected


def test_seed_and_sample_index() -> None:
    params = SamplingParams(temperature=1.0, seed=5)
    assert draws(params) == draws(params)
    assert draws(params) != draws(params, sample_index=1)
    assert draws(params) != draws(SamplingParams(temperature=1.0, seed=6))
    assert draws(SamplingParams(temperature=1.0)) != draws(SamplingParams(temperature=1.0)), (
        "without a seed each sampler differs"
    )


# Bounds of the parameters


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"temperature": -1}, "temperature must be between 0 and 100, not -1"),
        ({"temperature": math.nan}, "temperature must be between 0 and 100, not nan"),
        ({"temperature": INF}, "temperature must be between 0 and 100, not inf"),
        ({"temperature": "hot"}, "temperature must be a number, not 'hot'"),
        ({"temperature": True}, "temperature must be a number, not True"),
        ({"top_p": 0}, "top_p must be greater than 0 and at most 1, not 0"),
        ({"top_p": 1.01}, "top_p must be greater than 0 and at most 1, not 1.01"),
        ({"top_p": math.nan}, "top_p must be greater than 0 and at most 1, not nan"),
        ({"min_p": -0.1}, "min_p must be between 0 and 1, not -0.1"),
        ({"top_k": -1}, "top_k must be at least 0, not -1"),
        ({"top_k": 2.5}, "top_k must be an integer, not 2.5"),
        ({"top_k": None}, "top_k must be an integer, not None"),
        ({"repetition_penalty": 0}, "repetition_penalty must be between 0.01 and 100, not 0"),
        ({"presence_penalty": 2.1}, "presence_penalty must be between -2 and 2, not 2.1"),
        ({"frequency_penalty": -2.1}, "frequency_penalty must be between -2 and 2, not -2.1"),
        ({"logit_bias": {-1: 0}}, "logit_bias key must be at least 0, not -1"),
        ({"logit_bias": {1: 101}}, "logit_bias[1] must be between -100 and 100, not 101"),
        ({"logit_bias": {1: math.nan}}, "logit_bias[1] must be between -100 and 100, not nan"),
        ({"seed": -1}, "seed must be between 0 and 18446744073709551615, not -1"),
        ({"seed": 2**64}, "seed must be between 0 and 18446744073709551615"),
        ({"max_tokens": 0}, "max_tokens must be at least 1, not 0"),
        ({"max_tokens": 2.5}, "max_tokens must be an integer, not 2.5"),
        ({"max_words": 0}, "max_words must be at least 1, not 0"),
        ({"max_words": "5"}, "max_words must be an integer, not '5'"),
        ({"ignore_eos": 1}, "ignore_eos must be true or false, not 1"),
        ({"stop": ("a", "")}, "stop must not contain an empty string"),
        ({"stop": "ROMEO"}, "stop must be a tuple of strings, such as ('ROMEO',)"),
        ({"stop_token_ids": (5, -1)}, "stop_token_ids[1] must be at least 0, not -1"),
        ({"context_overflow": "slide"}, "context_overflow must be one of shift, recompute, stop, not 'slide'"),
    ],
)
def test_params_out_of_range(params: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        SamplingParams(**params)
    assert message in str(caught.value)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": 0, "top_p": 1, "min_p": 1, "top_k": 0},
        {"temperature": 100, "top_p": 5e-324, "repetition_penalty": 0.01, "seed": 2**64 - 1},
        {"presence_penalty": -2, "frequency_penalty": 2, "logit_bias": {0: -100, 1: 100}, "seed": 0},
        {"max_tokens": 1, "max_words": 1, "stop": ("a", "aa"), "context_overflow": "recompute"},
    ],
)
def test_params_at_their_limits(params: dict[str, Any]) -> None:
    assert all(getattr(SamplingParams(**params), name) == value for name, value in params.items())
