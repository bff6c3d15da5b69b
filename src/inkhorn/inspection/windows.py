"""A text in windows of one context, run through a model with a hook."""

from collections.abc import Iterator, Sequence

from inkhorn.errors import require
from inkhorn.inference.numpy_model import Hook, KVCache, NumpyModel

MAX_TOKENS = 8_192
"""Of a reference text, its first ones: the means and scores of a small model hardly change after that."""


def run_windows(model: NumpyModel, token_ids: Sequence[int], hook: Hook) -> Iterator[list[int]]:
    """Run each window of block_size tokens through the model; yields its tokens after the hook has seen it.

    Raises:
        UsageError: the text has fewer than two tokens.
    """
    require(len(token_ids) > 1, "the text is too short: it needs at least two tokens")
    size = model.config.block_size
    for start in range(0, min(len(token_ids), MAX_TOKENS), size):
        ids = list(token_ids[start : min(start + size, MAX_TOKENS)])
        model.forward(ids, KVCache(model.config), hook)
        yield ids
