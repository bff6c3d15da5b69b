"""From logits to a token. This file is the definition: the kernel's `native/sampling.cpp` gives the same tokens.

All of it is IEEE double arithmetic in the order written here, never fused (C++ needs -ffp-contract=off), with no
operation that a library may round its own way: `exp` is the polynomial below, sums run from the first candidate to the
last, and the random number for a place in the text depends only on (seed, choice, position), by a counter-based
generator (Philox4x64-10, Salmon et al. 2011).

    1. l = logits as doubles; penalties and biases, in this order, for tokens by how often they stand
         in prompt or text:  l = l / repetition_penalty if l > 0 else l * repetition_penalty
         in the text:        l = l - presence_penalty - frequency_penalty * count
         l = l + logit_bias
       banned tokens get -inf; before the text has min_tokens, so do those that would end it
    2. candidates = the tokens that may be drawn (l above -inf), by ascending id; m = the largest l
    3. temperature 0: the first candidate whose l is m. Otherwise
    4. keep the first top_k by (-l, id) (0: all)
    5. w_i = exp((l_i - m) / temperature); drop those whose w is 0
    6. top_p: total = the sum of all w; by (-l, id), keep the shortest beginning whose sum of w reaches top_p * total
    7. min_p: drop those with w_i < min_p (the largest w is 1)
    8. u = a random double in [0, 1); by ascending id, the first candidate at which the running sum of w exceeds
       u * (the sum of all w left), or the last one if rounding leaves none

Sums run by ascending id but for the beginning in 6, so that no sort of a whole vocabulary is needed where there is no
top_k and no top_p, and only one of the likeliest where there is.
"""

import math
import secrets
from collections.abc import Iterable
from typing import Any

import numpy as np

from inkhorn.config.sampling import SamplingParams

Doubles = np.ndarray[Any, np.dtype[np.float64]]

_MASK = 2**64 - 1
_LN2_HIGH, _LN2_LOW = 6.93147180369123816490e-01, 1.90821492927058770002e-10  # ln 2 in two parts, the first short
_INVERSE_FACTORIALS = [1.0 / math.factorial(n) for n in range(13, -1, -1)]


def exp(x: Doubles) -> Doubles:
    """e**x for x <= 0: x = n ln 2 + r with n the nearest integer, a Taylor polynomial of degree 13 in r, times 2**n.

    At most 1 unit in the last place from the nearest double, and monotone; 0 below -700.
    """
    bounded = np.maximum(x, -700.0)
    n = np.rint(bounded * 1.4426950408889634)  # 1 / ln 2; ties to even
    r = (bounded - n * _LN2_HIGH) - n * _LN2_LOW
    p = np.full_like(r, _INVERSE_FACTORIALS[0])
    for coefficient in _INVERSE_FACTORIALS[1:]:
        p = p * r + coefficient
    return np.where(x < -700.0, 0.0, np.ldexp(p, n.astype(np.int32)))


def uniform(seed: int, choice: int, position: int) -> float:
    """The random double in [0, 1) for a place in a text: Philox4x64-10, the top 53 bits of its first word.

    Args:
        seed: 0 to 2**64 - 1, the first key word.
        choice: which of several texts for one prompt, the second key word.
        position: of the token to be drawn, counted from the prompt's first token; the counter.

    """
    c0, c1, c2, c3 = position & _MASK, 0, 0, 0
    k0, k1 = seed & _MASK, choice & _MASK
    for _ in range(10):
        p0, p1 = 0xD2E7470EE14C6C93 * c0, 0xCA5A826395121157 * c2
        c0, c1, c2, c3 = (p1 >> 64) ^ c1 ^ k0, p1 & _MASK, (p0 >> 64) ^ c3 ^ k1, p0 & _MASK
        k0, k1 = (k0 + 0x9E3779B97F4A7C15) & _MASK, (k1 + 0xBB67AE8584CAA73B) & _MASK
    return float((c0 >> 11) * 2.0**-53)


class Sampler:
    """Draws the tokens of one text.

    Args:
        params: how.
        choice: which of several texts for one prompt.
        prompt: the prompt's token ids, for the repetition penalty.
        banned: ids that are never drawn.
        end_token: the token that ends the text; who draws several tokens at once stops at it.

    Attributes:
        plain: the odds do not depend on what was drawn before, so a kernel may draw, several tokens in one call.

    """

    def __init__(
        self,
        params: SamplingParams,
        choice: int = 0,
        prompt: Iterable[int] = (),
        banned: Iterable[int] = (),
        *,
        end_token: int | None = None,
    ) -> None:
        self.params, self.choice, self.end_token = params, choice, end_token
        self.seed = secrets.randbits(63) if params.seed is None else params.seed
        self.banned = np.array(sorted(banned), np.int32)
        self.plain = params.repetition_penalty == 1.0 and not (
            params.presence_penalty or params.frequency_penalty or params.logit_bias or params.min_tokens
        )
        ends = {*params.stop_token_ids, *(() if end_token is None else (end_token,))}
        self._ends = np.array(sorted(ends), np.int32)
        self._drawn = 0
        self.counts: dict[int, int] = {}
        self.seen = set(prompt) if params.repetition_penalty != 1.0 else set()

    def draw(self, logits: "np.ndarray[Any, np.dtype[np.float32]]", position: int) -> int:
        """The token at `position`, given its logits (V,). Remembers it for the penalties."""
        token = sample(self._adjusted(logits), self.params, uniform(self.seed, self.choice, position))
        self.counts[token] = self.counts.get(token, 0) + 1
        self.seen.add(token)
        self._drawn += 1
        return token

    def _adjusted(self, logits: "np.ndarray[Any, np.dtype[np.float32]]") -> Doubles:
        params, adjusted = self.params, logits.astype(np.float64)
        if params.repetition_penalty != 1.0 and self.seen:
            ids = np.array(sorted(self.seen))
            old = adjusted[ids]
            adjusted[ids] = np.where(old > 0, old / params.repetition_penalty, old * params.repetition_penalty)
        if (params.presence_penalty or params.frequency_penalty) and self.counts:
            ids, counts = np.array(list(self.counts)), np.array(list(self.counts.values()), np.float64)
            adjusted[ids] = adjusted[ids] - params.presence_penalty - params.frequency_penalty * counts
        for token, bias in params.logit_bias.items():
            adjusted[token] += bias
        adjusted[self.banned] = -np.inf
        if self._drawn < params.min_tokens:
            adjusted[self._ends] = -np.inf
        return adjusted


@np.errstate(over="ignore")  # step 5 by a tiny temperature: -inf, of which exp makes the 0 that is meant
def sample(logits: Doubles, params: SamplingParams, u: float) -> int:
    """Steps 2 to 8: the token that the random number `u` in [0, 1) picks. A logit of -inf is never drawn.

    Raises ValueError if no token may be drawn, or a logit is NaN or +inf.
    """
    best = int(np.argmax(logits))  # the first of equals: the lowest id; a NaN if there is one
    largest = logits[best]
    if not math.isfinite(largest):
        raise ValueError("no token can be drawn: every logit is -inf, or one is NaN or +inf")
    if params.temperature == 0:
        return best
    ids = np.flatnonzero(logits > -np.inf)
    if 0 < params.top_k < len(ids):
        ids = np.sort(_likeliest(logits[ids], ids, params.top_k))
    weights = exp((logits[ids] - largest) / params.temperature)
    ids, weights = ids[weights > 0], weights[weights > 0]
    if params.top_p < 1.0:
        bound = params.top_p * np.add.accumulate(weights)[-1]  # from first to last, unlike sum()
        order = np.argsort(-logits[ids], kind="stable")  # stable, from ascending ids: by (-logit, id)
        reached = np.add.accumulate(weights[order]) >= bound
        # Rounding may leave the whole sum, taken in this order, a little below the bound: then all are kept.
        kept = np.sort(order[: int(np.argmax(reached)) + 1]) if reached[-1] else np.arange(len(ids))
        ids, weights = ids[kept], weights[kept]
    if params.min_p > 0.0:
        likely = weights >= params.min_p
        ids, weights = ids[likely], weights[likely]
    running = np.add.accumulate(weights)
    drawn = int(np.searchsorted(running, u * running[-1], side="right"))
    return int(ids[min(drawn, len(ids) - 1)])


def _likeliest(logits: Doubles, ids: "np.ndarray[Any, Any]", count: int) -> "np.ndarray[Any, Any]":
    """The first `count` of some ids by (-logit, id)."""
    # The count-th largest value bounds them before the exact order is made: sorting a whole vocabulary would be slow.
    bound = np.partition(logits, len(logits) - count)[len(logits) - count]
    near = np.flatnonzero(logits >= bound)
    return ids[near[np.argsort(-logits[near], kind="stable")][:count]]


def log_probabilities(
    logits: "np.ndarray[Any, np.dtype[np.float32]]", token: int, top: int
) -> tuple[float, tuple[tuple[int, float], ...]]:
    """The model's own odds, before temperature and penalties: ln softmax(logits) of a token, and of the likeliest.

    Args:
        logits: (V,).
        token: the one that stands there.
        top: how many of the likeliest; they come by (-logit, id).

    """
    doubles = logits.astype(np.float64)
    largest = doubles.max()
    normalizer = largest + math.log(float(np.add.accumulate(exp(doubles - largest))[-1]))
    likeliest = _likeliest(doubles, np.arange(len(doubles)), min(top, len(doubles))) if top else ()
    return float(doubles[token] - normalizer), tuple((int(i), float(doubles[i] - normalizer)) for i in likeliest)
