"""One forward pass with hooks: every activation by name, read or replaced."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from inkhorn.errors import require
from inkhorn.inference import display
from inkhorn.inference.edits import Edits
from inkhorn.inference.numpy_model import Array, Hook, HookPoint, KVCache, NumpyModel

HookName = str | Callable[[str], bool]
"""The name of an activation, or a function that says which names are meant."""


@dataclass(frozen=True, eq=False)
class RunResult:
    """The result of `Model.run`, for T tokens. A notebook lists the activations.

    Attributes:
        token_ids: the prompt's tokens.
        logits: (T, V): row t predicts token t + 1.
        activations: each activation by its name (`HookPoint` has names and shapes), as the hooks left it.
    """

    token_ids: tuple[int, ...]
    logits: Array
    activations: Mapping[str, Array]

    def __getitem__(self, name: str) -> Array:
        return self.activations[name]

    def __repr__(self) -> str:
        logits = display.shape(self.logits)
        return f"RunResult(num_tokens={len(self.token_ids)}, logits={logits}, {len(self.activations)} activations)"

    def _repr_html_(self) -> str:
        rows = [("logits", display.shape(self.logits))]
        rows += [(name, display.shape(array)) for name, array in self.activations.items()]
        return display.table_html(["activation", "shape"], rows)


def run(
    model: NumpyModel,
    token_ids: Sequence[int],
    hooks: Iterable[tuple[HookName, Hook]] = (),
    edits: Edits | None = None,
    names: Iterable[str] | Callable[[str], bool] | None = None,
) -> RunResult:
    """Run a model over some tokens; see `Model.run`. Raises UsageError if they do not fit into the context."""
    size, block_size = len(token_ids), model.config.block_size
    require(size <= block_size, f"the text has {size:,} tokens; this model reads at most {block_size:,}: shorten it")
    chain: list[tuple[Callable[[str], bool], Hook]] = [(_matcher(name), hook) for name, hook in hooks]
    if edits is not None:
        chain.append((_every, edits.hook()))
    wanted = _every if names is None else _matcher(names)
    activations: dict[str, Array] = {}

    def call(x: Array, point: HookPoint) -> Array | None:
        changed: Array | None = None
        for matches, hook in chain:
            if matches(point.name):
                replaced = hook(x, point)
                if replaced is not None:
                    changed = x = replaced
        if wanted(point.name):
            activations[point.name] = x.copy()
        return changed

    logits = model.forward(token_ids, KVCache(model.config), call, all_logits=True)
    return RunResult(tuple(token_ids), logits, activations)


def _matcher(names: HookName | Iterable[str]) -> Callable[[str], bool]:
    if callable(names):
        return names
    return frozenset([names] if isinstance(names, str) else names).__contains__


def _every(name: str) -> bool:  # noqa: ARG001
    return True
