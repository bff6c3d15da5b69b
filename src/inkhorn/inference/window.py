"""Where the window of a text begins, once the text is longer than the block."""

from inkhorn.config.sampling import Overflow


def window_start(length: int, block_size: int, overflow: Overflow) -> int:
    """The first token that the model sees when a text has `length` tokens.

    `window` moves in strides of half a block, so that most tokens find the cache still good; `exact` keeps the last
    block_size tokens, as nanoGPT does; `stop` never moves.
    """
    beyond = length - block_size
    if beyond <= 0 or overflow == "stop":
        return 0
    stride = 1 if overflow == "exact" else max(1, block_size // 2)
    return -(-beyond // stride) * stride
