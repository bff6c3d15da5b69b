"""Precisions of the weights in the native backend."""

from typing import Literal, get_args

Precision = Literal["fp32", "bf16", "int8", "int4"]
"""How the weights are stored: fp32 is exact, bf16 rounds to 16 bits, int8 and int4 are quantized."""

PRECISIONS: tuple[Precision, ...] = get_args(Precision)

DEFAULT_PRECISION: Precision = "int8"
"""The perplexity of the shipped models is 0.04 to 0.11 % higher than in fp32 (docs/performance.md)."""

GROUP_SIZES: dict[str, int] = {"int8": 0, "int4": 128}
"""Inputs that share a scale (0: all inputs of an output), chosen by measured perplexity: see docs/performance.md."""
