"""Where the window of a text begins, once the text is longer than the block."""

from inkhorn.config.sampling import ContextOverflow


def window_start(length: int, block_size: int, context_overflow: ContextOverflow) -> int:
    """The first token that the model sees when a text has `length` tokens.

    `shift` moves in strides of half a block, so that the KV cache stays valid for most tokens; `recompute` keeps the
    last block_size tokens, as nanoGPT does; `stop` never moves.
    """
    beyond = length - block_size
    if beyond <= 0 or context_overflow == "stop":
        return 0
    stride = 1 if context_overflow == "recompute" else max(1, block_size // 2)
    return -(-beyond // stride) * stride
