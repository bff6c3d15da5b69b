"""Learning a byte-pair encoding from a text: GPT-2's kind, over bytes, so that it has a spelling for everything."""

from collections.abc import Iterable, Iterator

from inkhorn.config import require
from inkhorn.tokenizer import END_OF_TEXT, BPETokenizer, line_parts

LEAST = 257
"""256 bytes and `<|endoftext|>`"""

ENOUGH = 1 << 28
"""characters to learn from: of a longer text parts are taken, for its different words would fill the memory"""

_LONGEST_PART = 1 << 18  # characters; the library gathers 256 parts before it counts their words


def learn_bpe(chunks: Iterable[str], vocab_size: int) -> BPETokenizer:
    """Merge what stands together most often, until there are so many tokens; `<|endoftext|>` is the last.

    The text is cut into words by GPT-2's rule first, and only how often each word occurs is kept: memory grows with the
    number of different words, not with the text. The same text gives the same merges (Sennrich et al. 2016; over bytes,
    Radford et al. 2019).

    Args:
        chunks: the text; a word that is cut by a chunk's end counts as two.
        vocab_size: tokens in all. A short text may give fewer.

    """
    require(vocab_size >= LEAST, f"vocab_size must be at least {LEAST}, the bytes and {END_OF_TEXT}, not {vocab_size}")
    import tokenizers  # 20 ms

    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    inner.train_from_iterator(_parts(chunks), trainer)
    inner.add_special_tokens([END_OF_TEXT])
    return BPETokenizer(inner)


def _parts(chunks: Iterable[str]) -> Iterator[str]:
    """The text without `<|endoftext|>`, in short parts; a word without end is cut."""
    for chunk in chunks:
        for text in chunk.split(END_OF_TEXT):
            yield from line_parts(text, _LONGEST_PART)
