"""A text in windows of one context, run through a model with a hook."""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from inkhorn.errors import require
from inkhorn.inference.numpy_model import Hook, KVCache, NumpyModel

MAX_TOKENS = 8_192
"""Of a reference text, its first ones: the means and scores of a small model hardly change after that."""


class Enough(Exception):
    """Raised by a hook that needs nothing more of a window."""


def run_windows(
    model: NumpyModel, token_ids: Sequence[int], hook: Hook, max_tokens: int = MAX_TOKENS
) -> Iterator[list[int]]:
    """Run each window of block_size tokens through the model; yields its tokens after the hook has seen it.

    Raises:
        UsageError: the text has fewer than two tokens.
    """
    require(len(token_ids) > 1, "the text is too short: it needs at least two tokens")
    size = model.config.block_size
    for start in range(0, min(len(token_ids), max_tokens), size):
        ids = list(token_ids[start : min(start + size, max_tokens)])
        with suppress(Enough):
            model.forward(ids, KVCache(model.config), hook)
        yield ids
