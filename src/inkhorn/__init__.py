"""Inkhorn: a GPT workshop. Read it, train it on your own text, look inside it, run it.

The public names are imported on first use, so that `import inkhorn` costs nothing and needs no torch:

    import inkhorn
    print(inkhorn.generate("ROMEO:", max_words=50))      # NumPy only
    model = inkhorn.GPT.from_pretrained("runs/mine")     # needs inkhorn[train]
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOME = {
    "GPT": "inkhorn.model",
    "ModelConfig": "inkhorn.config.model",
    "SamplingParams": "inkhorn.config.sampling",
    "InkhornError": "inkhorn.errors",
    "CharTokenizer": "inkhorn.tokenizer.char",
    "Engine": "inkhorn.inference.engine",
    "generate": "inkhorn.inference.engine",
    "load": "inkhorn.inference.engine",
}
__all__ = ["GPT", "CharTokenizer", "Engine", "InkhornError", "ModelConfig", "SamplingParams", "generate", "load"]

if TYPE_CHECKING:
    from inkhorn.config.model import ModelConfig
    from inkhorn.config.sampling import SamplingParams
    from inkhorn.errors import InkhornError
    from inkhorn.inference.engine import Engine, generate, load
    from inkhorn.model import GPT
    from inkhorn.tokenizer.char import CharTokenizer


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'inkhorn' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
