"""What each attention head looks at: the mean attention weight that it gives to some kinds of earlier tokens.

Previous token, duplicate token and induction heads are described by Olsson et al. 2022, "In-context Learning and
Induction Heads".
"""

import re
from collections.abc import Sequence

import numpy as np

from inkhorn.inference.numpy_model import Array, HookPoint, NumpyModel
from inkhorn.inspection.windows import run_windows
from inkhorn.tokenizer.base import Tokenizer

BEHAVIOURS = {
    "previous_token": "the token before",
    "duplicate_token": "earlier occurrences of the same token",
    "induction": "the tokens that followed earlier occurrences of the same token",
    "first_token": "the first token of the context",
    "line_start": "the last line break",
    "speaker_name": "the name of the speaker, the last line that ends with a colon",
}
"""Each behaviour, and where the head looks."""

_SPEAKER = re.compile(r"^[^\n:]{1,40}:$", re.MULTILINE)


def head_scores(model: NumpyModel, tokenizer: Tokenizer, token_ids: Sequence[int]) -> dict[str, Array]:
    """The score of every head for every behaviour: (n_layer, n_head), between 0 and 1.

    A score is the attention weight that the tokens of a behaviour get together, averaged over the positions that have
    such tokens; NaN if no position has any.
    """
    patterns: dict[int, Array] = {}

    def keep(x: Array, point: HookPoint) -> None:
        layer = point.layer()
        if layer is not None and point.name.endswith("hook_pattern"):
            patterns[layer] = x  # (nh, T, T)

    shape = model.config.n_layer, model.config.n_head
    sums = {name: np.zeros(shape) for name in BEHAVIOURS}
    counts = dict.fromkeys(BEHAVIOURS, 0)
    for ids in run_windows(model, token_ids, keep):
        for name, mask in behaviour_masks(tokenizer, ids).items():
            rows = mask.any(1)
            counts[name] += int(rows.sum())
            for layer, pattern in patterns.items():
                sums[name][layer] += np.einsum("htj,tj->h", pattern, mask.astype(np.float32))
    return {name: total / counts[name] if counts[name] else np.full(shape, np.nan) for name, total in sums.items()}


def behaviour_masks(tokenizer: Tokenizer, ids: Sequence[int]) -> dict[str, Array]:
    """For each behaviour a mask (T, T): row t marks the tokens before t that it looks at."""
    size = len(ids)
    tokens = np.array(ids)
    t, j = np.arange(size)[:, None], np.arange(size)[None, :]
    same = (tokens[:, None] == tokens[None, :]) & (j < t)
    followed = np.zeros_like(same)
    followed[:, 1:] = same[:, :-1]
    texts = [tokenizer.token_bytes[i].decode("utf-8", "replace") for i in ids]
    breaks = np.array(["\n" in text for text in texts])
    last_break = np.maximum.accumulate(np.where(breaks, np.arange(size), -1))
    before = np.concatenate([[-1], last_break[:-1]])  # the last line break before each token
    return {
        "previous_token": j == t - 1,
        "duplicate_token": same,
        "induction": followed & (j < t),
        "first_token": (j == 0) & (t > 0),
        "line_start": (j == before[:, None]) & (before[:, None] >= 0),
        "speaker_name": _speakers(texts),
    }


def _speakers(texts: Sequence[str]) -> Array:
    """Row t marks the tokens of the last speaker's line that ended before token t."""
    size = len(texts)
    ends = np.cumsum([len(text) for text in texts])
    starts = ends - [len(text) for text in texts]
    mask = np.zeros((size, size), bool)
    for name in _SPEAKER.finditer("".join(texts)):
        mask[starts >= name.end()] = (starts < name.end()) & (ends > name.start())
    return mask
