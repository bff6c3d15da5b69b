"""The reference of the Python API: mkdocstrings reads the docstrings of the public names."""

import inkhorn

_INTRODUCTION = """# Python API

The public names of `inkhorn`. They are imported on first use: `import inkhorn` is fast and needs no torch;
`inkhorn.GPT` does. Parameters of `generate` and `stream` are the fields of
[SamplingParams](#inkhorn.config.sampling.SamplingParams).
"""

NAMES = ("load", "generate", "Model", "SamplingParams", "Intervention", "InkhornError", "ModelConfig", "GPT")
"""The public names in the order in which a reader meets them."""


def page() -> str:
    """The page in Markdown, with a directive of mkdocstrings for each name."""
    homes = inkhorn._HOME
    ordered = [*(name for name in NAMES if name in homes), *sorted(homes.keys() - set(NAMES))]
    return "\n".join([_INTRODUCTION, *(f"::: {homes[name]}.{name}\n" for name in ordered)])
