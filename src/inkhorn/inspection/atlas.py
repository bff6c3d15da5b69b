"""The head atlas of a model: what each head looks at, with examples, as the file inspection/heads.json."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference.activation_files import FOLDER
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.numpy_model import Array, HookPoint, NumpyModel
from inkhorn.inspection.head_scores import BEHAVIOURS, behaviour_masks, head_scores
from inkhorn.inspection.windows import MAX_TOKENS, run_windows
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.utils.files import read_json, write_json

FILE = "heads.json"
PAGE = "atlas.html"
NUM_EXAMPLES = 3
"""Heads with an example, for each behaviour."""
EXAMPLE_TOKENS = 64
"""Most tokens of an example."""
LEAST_BEFORE = 24
"""Tokens that come before the one of an example, so that the reader sees a context; fewer in a short text."""


@dataclass(frozen=True)
class Example:
    """A token of the text at which a head does what a behaviour describes, and where it looks from there.

    Attributes:
        layer, head: from 0.
        token: its index in the text.
        tokens: the text of the tokens up to this one, at most EXAMPLE_TOKENS.
        weights: the attention weight of each of them.
        marked: the indices of those that the behaviour names.
    """

    layer: int
    head: int
    token: int
    tokens: tuple[str, ...]
    weights: tuple[float, ...]
    marked: tuple[int, ...]


@dataclass(frozen=True)
class Atlas:
    """What every head of a model looks at.

    Attributes:
        text: the name of the text that the scores were measured on.
        num_tokens: how many tokens of it.
        scores: (n_layer, n_head) for each behaviour, to four decimals; None if the text has no place to show it.
        examples: for each behaviour those of the strongest heads, the strongest first.
    """

    text: str
    num_tokens: int
    scores: Mapping[str, Sequence[Sequence[float | None]]]
    examples: Mapping[str, Sequence[Example]]

    def strongest(self, behaviour: str) -> list[tuple[int, int, float]]:
        """Layer, head and score of every head, the one with the highest score first."""
        rows = self.scores[behaviour]
        found = [(i, j, x) for i, row in enumerate(rows) for j, x in enumerate(row) if x is not None]
        return sorted(found, key=lambda entry: -entry[2])

    def summary(self) -> dict[str, Any]:
        """The scores and what they mean, as the server's `GET /api/atlas`."""
        return {"text": self.text, "tokens": self.num_tokens, "behaviours": BEHAVIOURS, "scores": self.scores}


def make_atlas(model: NumpyModel, tokenizer: Tokenizer, token_ids: Sequence[int], text: str) -> Atlas:
    """Score every head on a text with this name, and look for examples."""
    scores = {name: _rounded(values) for name, values in head_scores(model, tokenizer, token_ids).items()}
    atlas = Atlas(text, min(len(token_ids), MAX_TOKENS), scores, {})
    wanted = {name: [(i, j) for i, j, _ in atlas.strongest(name)[:NUM_EXAMPLES]] for name in BEHAVIOURS}
    return Atlas(text, atlas.num_tokens, scores, _examples(model, tokenizer, token_ids, wanted))


def write_atlas(folder: Path, atlas: Atlas) -> Path:
    """Write heads.json into a checkpoint, with the digest of its weights; returns the file."""
    path = folder / FOLDER / FILE
    write_json(path, {"weights": weights_digest(folder), **atlas.summary(), "examples": _plain(atlas.examples)})
    return path


def has_atlas(folder: Path) -> bool:
    """Whether a checkpoint has an atlas."""
    return (folder / FOLDER / FILE).is_file()


def read_atlas(folder: Path) -> Atlas:
    """The atlas of a checkpoint.

    Raises:
        UsageError: it has none, or one that was made from other weights.
        CheckpointError: the file is damaged.
    """
    path = folder / FOLDER / FILE
    if not path.is_file():
        raise UsageError(f"this model has no head atlas: make it with inkhorn inspect {folder} --text FILE")
    content, expected = read_json(path), weights_digest(folder)
    if (found := content.get("weights")) != expected:
        message = f"{path} was made from other weights ({found}, not {expected})"
        raise UsageError(f"{message}: make it again with inkhorn inspect")
    try:
        examples = {name: tuple(map(_example, those)) for name, those in content["examples"].items()}
        scores = {name: content["scores"][name] for name in BEHAVIOURS}
        return Atlas(content["text"], content["tokens"], scores, examples)
    except (KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}; make it again with inkhorn inspect") from None


def _example(fields: Mapping[str, Any]) -> Example:
    values: dict[str, Any] = {name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()}
    return Example(**values)


def _plain(examples: Mapping[str, Sequence[Example]]) -> dict[str, list[dict[str, Any]]]:
    return {name: [asdict(example) for example in those] for name, those in examples.items()}


def _rounded(values: Array) -> list[list[float | None]]:
    return [[None if np.isnan(x) else round(float(x), 4) for x in row] for row in values]


def _examples(
    model: NumpyModel, tokenizer: Tokenizer, token_ids: Sequence[int], wanted: Mapping[str, Sequence[tuple[int, int]]]
) -> dict[str, list[Example]]:
    """For each behaviour and head the token at which the weights of the behaviour's tokens are largest.

    Only tokens count that the example shows; among equals the first.
    """
    patterns: dict[int, Array] = {}

    def keep(x: Array, point: HookPoint) -> None:
        layer = point.layer()
        if layer is not None and point.name.endswith("hook_pattern"):
            patterns[layer] = x  # (nh, T, T)

    best: dict[tuple[str, int, int], tuple[float, Example]] = {}
    start = 0
    for ids in run_windows(model, token_ids, keep):
        t = np.arange(len(ids))
        least = min(LEAST_BEFORE, len(ids) - 1)
        shown = (t[None, :] > t[:, None] - EXAMPLE_TOKENS) & (t[:, None] >= least)
        for name, mask in behaviour_masks(tokenizer, ids).items():
            for layer, head in wanted[name]:
                pattern = patterns[layer][head]
                sums = np.einsum("tj,tj->t", pattern, (mask & shown).astype(np.float32))
                row = int(sums.argmax())
                if sums[row] > best.get((name, layer, head), (0.0, None))[0]:
                    first = max(0, row + 1 - EXAMPLE_TOKENS)
                    texts = [tokenizer.token_bytes[i].decode("utf-8", "replace") for i in ids[first : row + 1]]
                    weights = tuple(round(float(x), 3) for x in pattern[row, first : row + 1])
                    marked = tuple(np.flatnonzero(mask[row, first : row + 1]).tolist())
                    example = Example(layer, head, start + row, tuple(texts), weights, marked)
                    best[name, layer, head] = float(sums[row]), example
        start += len(ids)
    return {
        name: [best[name, layer, head][1] for layer, head in heads if (name, layer, head) in best]
        for name, heads in wanted.items()
    }
