"""The difference between what a function should return and what it returns, in words."""

from typing import Any

import torch
from torch import Tensor

TOLERANCE = 1e-5  # absolute and relative


def difference(expected: Any, found: Any) -> str | None:
    """None if two results are equal, else one sentence about the first thing that differs.

    Numbers are equal within `TOLERANCE`; sequences are compared element by element.
    """
    if isinstance(expected, tuple | list) and isinstance(found, tuple | list):
        if len(expected) != len(found):
            return f"expected {len(expected)} values, found {len(found)}"
        pairs = zip(expected, found, strict=True)
        problems = ((i, difference(a, b)) for i, (a, b) in enumerate(pairs))
        return next((f"value {i}: {problem}" for i, problem in problems if problem), None)
    if isinstance(expected, Tensor):
        return _tensors(expected, found)
    if isinstance(expected, float) and isinstance(found, Tensor) and found.dim() == 0:
        found = found.item()
    if isinstance(expected, float) and isinstance(found, int | float):
        return _tensors(torch.tensor(expected), torch.tensor(float(found)))
    return None if expected == found else f"expected {expected!r}, found {_noun(found)}"


def _noun(value: Any) -> str:
    if value is None:
        return "None, which a function without `return` gives"
    if isinstance(value, Tensor):
        return f"a tensor of shape {tuple(value.shape)}"
    return repr(value) if isinstance(value, bool | int | float | str) else f"a {type(value).__name__}"


def _tensors(expected: Tensor, found: Any) -> str | None:
    if not isinstance(found, Tensor):
        return f"expected a tensor of shape {tuple(expected.shape)}, found {_noun(found)}"
    if expected.shape != found.shape:
        return f"expected shape {tuple(expected.shape)}, found {tuple(found.shape)}"
    if expected.dtype.is_floating_point != found.dtype.is_floating_point:
        return f"expected numbers of type {_dtype(expected)}, found {_dtype(found)}"
    expected, found = expected.detach().double(), found.detach().double()
    wrong = ~torch.isclose(expected, found, rtol=TOLERANCE, atol=TOLERANCE, equal_nan=True)
    if not wrong.any():
        return None
    place = [int(i) for i in wrong.nonzero()[0]]
    where = f"first wrong value at {place}" if place else "wrong value"
    values = f"expected {expected[tuple(place)]:.4f}, found {found[tuple(place)]:.4f}"
    share = f" ({int(wrong.sum())} of {wrong.numel()} values differ)" if wrong.numel() > 1 else ""
    return f"{where}: {values}{share}"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
