"""Scaling laws: published values and optima."""

import math
from typing import Any

import pytest

from inkhorn.costs.scaling_laws import BESIROGLU, FITS, HOFFMANN, rule_of_thumb
from inkhorn.errors import UsageError


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("flops", [1e15, 1e19, 5.76e23])
def test_optimum_is_a_minimum(fit: Any, flops: float) -> None:
    parameters, tokens = fit.best(flops)
    assert 6 * parameters * tokens == pytest.approx(flops)
    lowest = fit.loss(parameters, tokens)
    for factor in (0.5, 0.9, 0.99, 1.01, 1.1, 2.0):
        assert fit.loss(parameters * factor, tokens / factor) > lowest
    assert fit.loss(2 * parameters, 2 * tokens) < lowest


def test_fits_match_the_papers() -> None:
    """Chinchilla's own case: 5.76e23 FLOPs, for which they trained 70B parameters on 1.4T tokens.

    The constants as printed ask for half that size; the second fit agrees with what was done.
    """
    parameters, _ = HOFFMANN.best(5.76e23)
    assert parameters == pytest.approx(32.2e9, rel=0.01)
    again, tokens = BESIROGLU.best(5.76e23)
    assert 6e10 < again < 8e10
    assert 15 < tokens / again < 25
    assert HOFFMANN.loss(70e9, 1.4e12) == pytest.approx(1.69 + 0.0836 + 0.1628, abs=1e-3)
    assert HOFFMANN.loss(math.inf, math.inf) == 1.69


def test_rule_of_thumb() -> None:
    parameters, tokens = rule_of_thumb(5.76e23)
    assert tokens == 20 * parameters
    assert 6 * parameters * tokens == pytest.approx(5.76e23)
    assert parameters == pytest.approx(70e9, rel=0.02)


@pytest.mark.parametrize("budget", [0.0, -1.0])
def test_invalid_budget(budget: float) -> None:
    for split in (HOFFMANN.best, rule_of_thumb):
        with pytest.raises(UsageError, match="above 0 FLOPs"):
            split(budget)
    with pytest.raises(UsageError, match="parameters and tokens"):
        HOFFMANN.loss(0, 1)
