"""Sampling: from logits to a token. This file is the specification; `native/sampling.cpp` samples the same tokens.

All arithmetic is IEEE double precision in the order written here, never fused (C++ needs -ffp-contract=off), and uses
no function whose rounding depends on a library: `exp` is the polynomial below, and sums run from the first candidate to
the last. The random number of a token depends only on (seed, sample_index, position), by the counter-based generator
Philox4x64-10 (Salmon et al. 2011).

    1. l = logits as doubles; penalties and biases, in this order:
         tokens of the prompt or the output:  l = l / repetition_penalty if l > 0 else l * repetition_penalty
         tokens of the output:                l = l - presence_penalty - frequency_penalty * count
         l = l + logit_bias
       banned tokens get -inf; until the output has min_tokens, so do those that would end it
    2. candidates = the tokens with l above -inf, by ascending id; m = the largest l
    3. temperature 0: the first candidate whose l is m. Otherwise
    4. keep the first top_k by (-l, id) (0: all)
    5. w_i = exp((l_i - m) / temperature); drop those whose w is 0
    6. top_p: total = the sum of all w; by (-l, id), keep the shortest prefix whose sum of w reaches top_p * total
    7. min_p: drop those with w_i < min_p (the largest w is 1)
    8. u = a random double in [0, 1); by ascending id, the first candidate at which the running sum of w exceeds
       u * (the sum of all remaining w), or the last one if rounding leaves none

Sums run by ascending id except for the prefix in 6, so that without top_k and top_p no sort of the vocabulary is
needed, and with them only a sort of the most likely tokens.
"""

import math
import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from inkhorn.config.sampling import SamplingParams

Doubles = np.ndarray[Any, np.dtype[np.float64]]
Logits = np.ndarray[Any, np.dtype[np.float32]]


class NoTokenError(ValueError):
    """No token can be sampled: every logit is -inf, or one is NaN or +inf."""

    def __init__(self) -> None:
        super().__init__("no token can be sampled: every logit is -inf, or one is NaN or +inf")


_MASK = 2**64 - 1
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # ln 2: the first part has few bits
_INVERSE_FACTORIALS = [1.0 / math.factorial(n) for n in range(13, -1, -1)]


def exp(x: Doubles) -> Doubles:
    """e**x for x <= 0: x = n ln 2 + r with n the nearest integer, a Taylor polynomial of degree 13 in r, times 2**n.

    Within 1 unit in the last place of the exact value, and monotone; 0 below -700.
    """
    result = np.empty(x.shape, np.float64)
    flat, out = x.reshape(-1), result.reshape(-1)
    # In parts that stay in the cache: a vocabulary of 50,000 tokens would take four times as long.
    for start in range(0, len(flat), _EXP_PART):
        _exp_part(flat[start : start + _EXP_PART], out[start : start + _EXP_PART])
    return result


_EXP_PART = 8192


def _exp_part(x: Doubles, p: Doubles) -> None:
    """Write `exp` of x to p."""
    bounded = np.maximum(x, -700.0)
    n = np.rint(bounded * 1.4426950408889634)  # 1 / ln 2; ties to even
    r = bounded - n * _LN2_HIGH
    r -= n * _LN2_LOW
    p.fill(_INVERSE_FACTORIALS[0])
    for coefficient in _INVERSE_FACTORIALS[1:]:
        p *= r
        p += coefficient
    # 2**n from its bits: n is from -1010 to 0, so that it is a normal number and the product is exact.
    p *= ((n.astype(np.int64) + 1023) << 52).view(np.float64)
    p[x < -700.0] = 0.0


def uniform(seed: int, sample_index: int, position: int) -> float:
    """The random double in [0, 1) for a position: Philox4x64-10, the top 53 bits of its first word.

    Args:
        seed: 0 to 2**64 - 1, the first key word.
        sample_index: index among several samples of one prompt, the second key word.
        position: of the token to sample, counted from the prompt's first token; the counter.
    """
    c0, c1, c2, c3 = position & _MASK, 0, 0, 0
    k0, k1 = seed & _MASK, sample_index & _MASK
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & _MASK, (p0 >> 64) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _MASK, (k1 + 0xBB67AE8584CAA73B) & _MASK
    return float((c0 >> 11) * 2.0**-53)


@dataclass(frozen=True)
class TokenLogprobs:
    """Log-probabilities (natural logarithm) at one position: of the logits, before temperature and penalties.

    Attributes:
        logprob: of the token at this position.
        top: the most likely tokens as (token id, log-probability), in descending order; ties by ascending id.
    """

    logprob: float
    top: tuple[tuple[int, float], ...]


class Sampler:
    """Samples the tokens of one sequence.

    Args:
        sample_index: index among several samples of one prompt; each has its own random numbers.
        prompt_ids: the prompt's tokens, for the repetition penalty.
        banned_ids: tokens that are never sampled.
        eos_id: the end-of-text token; a call of several steps ends at it.
        other_eos_ids: further tokens that end the text.

    Attributes:
        stop_ids: the tokens that end the text.
        is_stateless: the distribution does not depend on earlier samples, so a kernel may sample several tokens in
            one call.
    """

    def __init__(
        self,
        params: SamplingParams,
        sample_index: int = 0,
        prompt_ids: Iterable[int] = (),
        banned_ids: Iterable[int] = (),
        *,
        eos_id: int | None = None,
        other_eos_ids: Iterable[int] = (),
    ) -> None:
        self.params, self.sample_index, self.eos_id = params, sample_index, eos_id
        self.seed = secrets.randbits(63) if params.seed is None else params.seed
        self.banned_ids = np.array(sorted(banned_ids), np.int32)
        self.is_stateless = params.repetition_penalty == 1.0 and not (
            params.presence_penalty or params.frequency_penalty or params.logit_bias or params.min_tokens
        )
        self.stop_ids = frozenset({*params.stop_token_ids, *other_eos_ids, *(() if eos_id is None else (eos_id,))})
        self._stop_ids = np.array(sorted(self.stop_ids), np.int32)
        self._bias_ids = np.array(list(params.logit_bias), np.int32)
        self._biases = np.array(list(params.logit_bias.values()), np.float64)
        self._num_sampled = 0
        # How often each token of the vocabulary was sampled, and whether the prompt or the output contains it. They get
        # the vocabulary's size with the first logits.
        self._counts: Doubles = np.zeros(0)
        self._seen = np.zeros(0, np.bool_)
        self._prompt_ids = np.unique(np.array(list(prompt_ids) if params.repetition_penalty != 1.0 else [], np.int32))

    def sample(self, logits: Logits, position: int) -> int:
        """Sample the token at `position` from its logits (vocab_size,), and count it for the penalties.

        Raises:
            NoTokenError: the logits allow none.
        """
        token_id = sample(self._process(logits), self.params, uniform(self.seed, self.sample_index, position))
        self._counts[token_id] += 1
        self._seen[token_id] = True
        self._num_sampled += 1
        return token_id

    def _process(self, logits: Logits) -> Doubles:
        """Step 1: penalties, biases and banned tokens."""
        params, logits64 = self.params, logits.astype(np.float64)
        if not len(self._counts):
            self._counts, self._seen = np.zeros(len(logits)), np.zeros(len(logits), np.bool_)
            self._seen[self._prompt_ids] = True
        if params.repetition_penalty != 1.0:
            old = logits64[self._seen]
            logits64[self._seen] = np.where(old > 0, old / params.repetition_penalty, old * params.repetition_penalty)
        if params.presence_penalty or params.frequency_penalty:
            ids = np.flatnonzero(self._counts)
            penalties = params.frequency_penalty * self._counts[ids]
            logits64[ids] = logits64[ids] - params.presence_penalty - penalties
        logits64[self._bias_ids] += self._biases
        logits64[self.banned_ids] = -np.inf
        if self._num_sampled < params.min_tokens:
            logits64[self._stop_ids] = -np.inf
        return logits64


@np.errstate(over="ignore")  # step 5 with a tiny temperature gives -inf, whose exp is 0 as intended
def sample(logits: Doubles, params: SamplingParams, u: float) -> int:
    """Steps 2 to 8: the token that the random number `u` in [0, 1) selects. A logit of -inf is never selected.

    Raises:
        NoTokenError: every logit is -inf, or one is NaN or +inf.
    """
    best = int(np.argmax(logits))  # of equal values the lowest id; NaN if there is one
    largest = logits[best]
    if not math.isfinite(largest):
        raise NoTokenError
    if params.temperature == 0:
        return best
    ids = np.flatnonzero(logits > -np.inf)
    if 0 < params.top_k < len(ids):
        ids = np.sort(_top_k(logits[ids], ids, params.top_k))
    weights = exp((logits[ids] - largest) / params.temperature)
    ids, weights = ids[weights > 0], weights[weights > 0]
    if params.top_p < 1.0:
        bound = params.top_p * np.add.accumulate(weights)[-1]  # from first to last, unlike sum()
        order = np.argsort(-logits[ids], kind="stable")  # stable, from ascending ids: by (-logit, id)
        reached = np.add.accumulate(weights[order]) >= bound
        # In this order, rounding may leave the full sum just below the bound: then all are kept.
        kept = np.sort(order[: int(np.argmax(reached)) + 1]) if reached[-1] else np.arange(len(ids))
        ids, weights = ids[kept], weights[kept]
    if params.min_p > 0.0:
        likely = weights >= params.min_p
        ids, weights = ids[likely], weights[likely]
    running = np.add.accumulate(weights)
    index = int(np.searchsorted(running, u * running[-1], side="right"))
    return int(ids[min(index, len(ids) - 1)])


def _top_k(logits: Doubles, ids: "np.ndarray[Any, Any]", k: int) -> "np.ndarray[Any, Any]":
    """The first `k` of some ids by (-logit, id)."""
    # The k-th largest value limits the candidates before they are sorted: sorting a whole vocabulary would be slow.
    bound = np.partition(logits, len(logits) - k)[len(logits) - k]
    near = np.flatnonzero(logits >= bound)
    return ids[near[np.argsort(-logits[near], kind="stable")][:k]]


def token_logprobs(logits: Logits, token_id: int, top: int) -> TokenLogprobs:
    """Log-probabilities of a token and of the most likely ones: ln softmax(logits), before temperature and penalties.

    Args:
        logits: (vocab_size,).
        top: how many of the most likely tokens to return.
    """
    return score_tokens(logits[None], [token_id], top)[0]


_SCORED_LOGITS = 1 << 16  # so many at once stay in the cache


@np.errstate(invalid="ignore")
def score_tokens(logits: Logits, token_ids: Sequence[int], top: int) -> list[TokenLogprobs]:
    """`token_logprobs` of a token at each of T positions.

    Args:
        logits: (T, vocab_size).
        token_ids: the T tokens.
        top: how many of the most likely tokens to return at each position.
    """
    # Logits that are not finite give log-probabilities that are not; they are reported when a token is sampled.
    rows = max(1, _SCORED_LOGITS // logits.shape[1])
    found = []
    for start in range(0, len(logits), rows):
        found += _score_rows(logits[start : start + rows].astype(np.float64), token_ids[start : start + rows], top)
    return found


def _score_rows(doubles: Doubles, token_ids: Sequence[int], top: int) -> list[TokenLogprobs]:
    largest = doubles.max(1)
    totals = np.add.accumulate(exp(doubles - largest[:, None]), axis=1)[:, -1].tolist()
    normalizers = [high + math.log(total) for high, total in zip(largest.tolist(), totals, strict=True)]
    logprobs = doubles[np.arange(len(doubles)), list(token_ids)] - normalizers
    if not top:
        return [TokenLogprobs(logprob, ()) for logprob in logprobs.tolist()]
    ids, top = np.arange(doubles.shape[1]), min(top, doubles.shape[1])
    found = []
    for row, normalizer, logprob in zip(doubles, normalizers, logprobs.tolist(), strict=True):
        top_ids = _top_k(row, ids, top)
        top_logprobs = (row[top_ids] - normalizer).tolist()
        found.append(TokenLogprobs(logprob, tuple(zip(top_ids.tolist(), top_logprobs, strict=True))))
    return found
