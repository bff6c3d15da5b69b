"""Byte-pair encoding by the `tokenizers` library, and the training of one."""

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from inkhorn.errors import require
from inkhorn.tokenizer.base import END_OF_TEXT, Ids, bytes_to_unicode, split_on_lines, tokenizer_config
from inkhorn.tokenizer.normalize import UnknownCharacter, UnknownPolicy, replace_unknown
from inkhorn.utils.files import write_json

if TYPE_CHECKING:
    import tokenizers


class BPETokenizer:
    """A byte-pair encoding, run by the tokenizer `inner` of the `tokenizers` library."""

    def __init__(self, inner: "tokenizers.Tokenizer") -> None:
        self.inner = inner
        self.vocab_size = 1 + max(inner.get_vocab().values())  # ids may have gaps
        self.eos_id: int | None = inner.token_to_id(END_OF_TEXT)
        self.partial_ids: frozenset[int] = frozenset()

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The text of each token. Byte-level vocabularies encode bytes as symbols; GPT-1's ends a word with `</w>`."""
        byte_level = type(self.inner.decoder).__name__ == "ByteLevel"
        byte_of = {symbol: byte for byte, symbol in enumerate(bytes_to_unicode())}
        special = {token.content for token in self.inner.get_added_tokens_decoder().values()}
        texts = [b""] * self.vocab_size
        for token, i in self.inner.get_vocab().items():
            if byte_level and token not in special and all(c in byte_of for c in token):
                texts[i] = bytes(byte_of[c] for c in token)
            else:
                texts[i] = (token if byte_level else token.replace("</w>", " ")).encode()
        return texts

    def encode(self, text: str) -> Ids:
        """Encode a text; the parts of a long one in parallel."""
        encodings = self.inner.encode_batch_fast(self._split(text), add_special_tokens=False)  # fast: without offsets
        return np.concatenate([np.array(part.ids, np.int32) for part in encodings])

    def _split(self, text: str) -> list[str]:
        """Split a text where no token can cross, if the pre-tokenizer splits at line breaks."""
        can_split = type(self.inner.pre_tokenizer).__name__ in ("ByteLevel", "BertPreTokenizer")
        return (can_split and list(split_on_lines(text))) or [text]

    def decode(self, ids: Iterable[int]) -> str:
        return str(self.inner.decode(list(ids), skip_special_tokens=False))

    def normalize(self, text: str, policy: UnknownPolicy = "replace") -> tuple[str, list[UnknownCharacter]]:
        """Replace or drop lone surrogates, and with GPT-1's vocabulary the characters that it lacks."""
        unknown = getattr(self.inner.model, "unk_token", None)

        def is_known(character: str) -> bool:
            if "\ud800" <= character <= "\udfff":
                return False
            return unknown is None or unknown not in self.inner.encode(character, add_special_tokens=False).tokens

        return replace_unknown(text, is_known, policy)

    def fingerprint(self) -> str:
        return str(self.inner.to_str())

    def save(self, folder: Path) -> None:
        self.inner.save(str(folder / "tokenizer.json"))
        end = None if self.eos_id is None else END_OF_TEXT
        unknown = getattr(self.inner.model, "unk_token", None)
        write_json(folder / "tokenizer_config.json", tokenizer_config(end, unknown or end))


MIN_VOCAB_SIZE = 257  # the 256 bytes and `<|endoftext|>`

MAX_TRAIN_CHARS = 1 << 28
"""Training text in characters. A longer text is sampled, because its distinct words would fill the memory."""

_MAX_PART_CHARS = 1 << 18  # the library buffers 256 parts before it counts their words


def train_bpe(chunks: Iterable[str], vocab_size: int) -> BPETokenizer:
    """Train a byte-level BPE (Sennrich et al. 2016; Radford et al. 2019); `<|endoftext|>` is the last token.

    The text is split into words by GPT-2's pre-tokenizer, and only the count of each word is kept: memory use grows
    with the number of distinct words, not with the text. The same text gives the same merges.

    Args:
        chunks: the text; a word across two chunks counts as two words.
        vocab_size: number of tokens, at least 257; a short text may give fewer.
    """
    least = f"{MIN_VOCAB_SIZE}, for the bytes and {END_OF_TEXT}"
    require(vocab_size >= MIN_VOCAB_SIZE, f"vocab_size must be at least {least}, not {vocab_size}")
    import tokenizers  # 20 ms

    inner = tokenizers.Tokenizer(tokenizers.models.BPE())
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=vocab_size - 1, initial_alphabet=alphabet, show_progress=False, min_frequency=2
    )
    inner.train_from_iterator(_training_parts(chunks), trainer)
    inner.add_special_tokens([END_OF_TEXT])
    return BPETokenizer(inner)


def _training_parts(chunks: Iterable[str]) -> Iterator[str]:
    """The text without `<|endoftext|>`, in short parts; a longer word is split."""
    for chunk in chunks:
        for text in chunk.split(END_OF_TEXT):
            yield from split_on_lines(text, _MAX_PART_CHARS)
