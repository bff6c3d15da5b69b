"""Text to token ids and back: one token per character, or a byte-pair encoding.

Both are kept as Hugging Face's `tokenizer.json`, so that `AutoTokenizer` reads the folder and gives the same ids.

A character vocabulary takes the form of a byte-level BPE whose only merges build the characters of more than one byte:
ids 0.. are the characters by code point; then come the bytes of those longer characters, then their partly merged
beginnings (`partial_ids`: no text encodes to these, and they are never drawn); `<|endoftext|>` is last.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inkhorn.errors import CheckpointError
from inkhorn.tokenizer.normalize import UnknownCharacter, UnknownPolicy

END_OF_TEXT = "<|endoftext|>"
"""stands between texts, and has an id of its own in every vocabulary of ours"""

Ids = np.ndarray[Any, np.dtype[np.int32]]


class Tokenizer(Protocol):
    """What the rest of Inkhorn asks of a tokenizer."""

    vocab_size: int
    eos_id: int | None
    """`<|endoftext|>`: it stands between texts, starts an empty prompt and ends a text"""
    partial_ids: frozenset[int]
    """ids that are no text of their own, never drawn and left out of pictures"""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """Each token's text in UTF-8; a token may hold part of a character."""

    def encode(self, text: str) -> Ids:
        """Ids of a text; TokenizerError if the vocabulary lacks one of its characters. `<|endoftext|>` is one id."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of some ids; bytes that are no UTF-8 become U+FFFD."""

    def normalize(self, text: str, policy: UnknownPolicy = "replace") -> tuple[str, list[UnknownCharacter]]:
        """The text in characters that the vocabulary has, and what was done to the others."""

    def fingerprint(self) -> str:
        """All that encoding depends on, as text."""

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""


def tokenizer_config(end: str | None = END_OF_TEXT, unknown: str | None = END_OF_TEXT) -> dict[str, Any]:
    """The tokenizer_config.json of both kinds: without it AutoTokenizer adds a token of its own, as it does for one
    named here that the vocabulary lacks."""
    ends = {"bos_token": end, "eos_token": end, "unk_token": unknown}
    plain = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    return plain | ends | {"add_bos_token": False, "add_prefix_space": False, "model_max_length": int(1e30)}


def check_vocab_size(tokenizer: Tokenizer, vocab_size: int) -> None:
    """CheckpointError if a model of `vocab_size` lacks some of the tokenizer's ids; it may have more, as padding."""
    if tokenizer.vocab_size > vocab_size:
        sizes = f"tokenizer.json has {tokenizer.vocab_size} tokens, the model of config.json only {vocab_size}"
        raise CheckpointError(f"{sizes}: they do not belong together")


def bytes_to_unicode() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself where it is printable Latin-1, else the next from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def split_on_lines(text: str, most: float = math.inf) -> Iterator[str]:
    """A text cut before a line break that ends a word, where GPT-2's rule cuts words, too.

    Each part has _LONG characters or up to the next such place, but no more than `most`.
    """
    start = 0
    while start < len(text):
        found = _LINE_END.search(text, start + _LONG - 1)
        end = min(found.start() + 1 if found else len(text), start + most)
        yield text[start : int(end)]
        start = int(end)


def is_character(token: bytes) -> bool:
    """Whether a token is the UTF-8 form of exactly one character."""
    try:
        return len(token.decode()) == 1
    except UnicodeDecodeError:
        return False


_LONG = 1 << 14  # characters; what is longer is encoded in parts


_LINE_END = re.compile(r"\S\n")
