"""Formatting of numbers."""

import math
from collections.abc import Callable

NO_VALUE = "–"


def format_or_dash(number: float, form: Callable[[float], str]) -> str:
    """A number in the given form; a dash for nan, which was not measured."""
    return NO_VALUE if math.isnan(number) else form(number)


def format_loss(loss: float) -> str:
    """A loss with three decimals; one that exploded with three digits."""
    return f"{loss:.3f}" if abs(loss) < 1000 else f"{loss:.3g}"


def format_count(number: float) -> str:
    """A count with three digits from ten thousand on: 9,960,000 is 9.96M."""
    if number < 10_000:
        return f"{number:,.0f}"
    units = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "k"))
    size, letter = next((size, letter) for size, letter in units if number >= 0.9995 * size)
    return f"{number / size:#.3g}".rstrip(".") + letter


def format_duration(seconds: float) -> str:
    """A duration in its one or two largest units."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"
