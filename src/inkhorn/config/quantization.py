"""A model in the kernel's layout: rounded or quantised once, kept in memory or in a file that is mapped as it is.

The file is `packed.safetensors`: one tensor of bytes, with what it is in the metadata, beginning on a cache line.
"""

PRECISIONS = ("fp32", "bf16", "int8", "int4")

DEFAULT = "int8"
"""The shipped model's perplexity grows by less than a tenth of a percent, and it writes twice as fast as in bf16."""

GROUPS = {"int8": 0, "int4": 128}
"""Inputs that share a scale, 0 for all: chosen by measured perplexity, as docs/performance.md tells."""
