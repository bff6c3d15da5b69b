"""Inkhorn: train, run, inspect and serve GPT-1 and GPT-2 models.

    import inkhorn

    with inkhorn.load("shakespeare") as model:             # NumPy only
        print(model.generate("ROMEO:", max_words=50).text)
    gpt = inkhorn.GPT.from_pretrained("runs/mine")         # torch: needs inkhorn[train]

The public names are imported on first use, so that `import inkhorn` is fast and needs no torch.
"""

from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

__version__ = "0.2.0"

_HOME = {
    "GPT": "inkhorn.model",
    "ModelConfig": "inkhorn.config.model",
    "SamplingParams": "inkhorn.config.sampling",
    "InkhornError": "inkhorn.errors",
    "Intervention": "inkhorn.config.interventions",
    "Model": "inkhorn.inference.api",
    "Completion": "inkhorn.inference.outputs",
    "Explanation": "inkhorn.inference.explain",
    "RunResult": "inkhorn.inference.run",
    "Score": "inkhorn.inference.scoring",
    "TokenChunk": "inkhorn.inference.outputs",
    "generate": "inkhorn.inference.api",
    "load": "inkhorn.inference.api",
}
if TYPE_CHECKING:
    from inkhorn.config.interventions import Intervention
    from inkhorn.config.model import ModelConfig
    from inkhorn.config.sampling import SamplingParams
    from inkhorn.errors import InkhornError
    from inkhorn.inference.api import Model, generate, load
    from inkhorn.inference.explain import Explanation
    from inkhorn.inference.outputs import Completion, TokenChunk
    from inkhorn.inference.run import RunResult
    from inkhorn.inference.scoring import Score
    from inkhorn.model import GPT

    __all__ = [
        "GPT",
        "Completion",
        "Explanation",
        "InkhornError",
        "Intervention",
        "Model",
        "ModelConfig",
        "RunResult",
        "SamplingParams",
        "Score",
        "TokenChunk",
        "generate",
        "load",
    ]


def __getattr__(name: str) -> Any:
    if name == "__all__":  # for `from inkhorn import *` and help(inkhorn), which without torch must not ask for GPT
        return __dir__()
    if name not in _HOME:
        raise AttributeError(f"module 'inkhorn' has no attribute {name!r}")
    try:
        return getattr(import_module(_HOME[name]), name)
    except ModuleNotFoundError as error:
        if error.name != "torch":
            raise
        # An AttributeError, so that hasattr, getattr with a default and inspect work.
        raise AttributeError("inkhorn.GPT needs torch: install inkhorn[train]") from error


def __dir__() -> list[str]:
    return sorted(_HOME if find_spec("torch") else _HOME.keys() - {"GPT"})
