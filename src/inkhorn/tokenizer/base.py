"""The tokenizer interface, and helpers of its implementations.

Every tokenizer is saved as Hugging Face's `tokenizer.json`, so that `AutoTokenizer` loads the folder and gives the same
ids.
"""

import codecs
import math
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from inkhorn.errors import CheckpointError
from inkhorn.tokenizer.normalize import UnknownCharacter, UnknownPolicy

END_OF_TEXT = "<|endoftext|>"  # separates texts. It has its own id in every vocabulary that Inkhorn builds.

Ids = np.ndarray[Any, np.dtype[np.int32]]

_PART_CHARS = 1 << 14

_LINE_END = re.compile(r"\S\n")


class Tokenizer(Protocol):
    vocab_size: int
    eos_id: int | None
    """`<|endoftext|>`: separates texts, starts an empty prompt and ends a generated text."""
    partial_ids: frozenset[int]
    """Ids of incomplete characters. No text encodes to them, and they are never sampled."""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """The UTF-8 text of each token, which may be a part of a character."""

    def encode(self, text: str) -> Ids:
        """Encode a text, with `<|endoftext|>` as one id; TokenizerError for a character outside the vocabulary."""

    def decode(self, ids: Iterable[int]) -> str:
        """Decode ids; invalid UTF-8 becomes U+FFFD."""

    def decode_stream(self, prompt: Sequence[int] = ()) -> Callable[[int], str]:
        """A function that takes the tokens after `prompt` one by one and returns the text that each one completes.

        The joined result is `decode(prompt + tokens)` without `decode(prompt)`, except for an incomplete character at
        the end.
        """

    def normalize(self, text: str, policy: UnknownPolicy = "replace") -> tuple[str, list[UnknownCharacter]]:
        """Replace or drop the characters outside the vocabulary; returns the text and a report of the changes."""

    def fingerprint(self) -> str:
        """A text that is equal for two tokenizers only if they encode every text alike."""

    def save(self, folder: Path, model_max_length: int | None = None) -> None:
        """Write tokenizer.json and tokenizer_config.json.

        Args:
            folder: it must exist.
            model_max_length: context of the model in tokens, to which transformers cuts a text with `truncation=True`.
        """


def utf8_stream(token_bytes: Sequence[bytes]) -> Callable[[int], str]:
    """A decode stream of a vocabulary in which each token has the same bytes in every context."""
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return lambda token_id: decoder.decode(token_bytes[token_id])


def tokenizer_config(
    model_max_length: int | None, end: str | None = END_OF_TEXT, unknown: str | None = END_OF_TEXT
) -> dict[str, Any]:
    """The content of tokenizer_config.json.

    AutoTokenizer adds a token to the vocabulary if this file is missing, or names a token that the vocabulary lacks.
    Without `model_input_names` transformers 4 returns `token_type_ids`, for which GPT-2 adds the embedding of token 0
    to every position. A batch is padded with the end token; the attention mask hides it.
    """
    config: dict[str, Any] = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    config |= {"bos_token": end, "eos_token": end, "unk_token": unknown, "pad_token": end}
    config |= {"add_bos_token": False, "add_prefix_space": False}
    config["model_input_names"] = ["input_ids", "attention_mask"]
    return config if model_max_length is None else config | {"model_max_length": model_max_length}


def check_vocab_size(tokenizer: Tokenizer, vocab_size: int) -> None:
    """Raise CheckpointError if a model of `vocab_size` lacks some of the tokenizer's ids; it may have more."""
    if tokenizer.vocab_size > vocab_size:
        raise CheckpointError(
            f"tokenizer.json has {tokenizer.vocab_size} tokens, but the model of config.json only {vocab_size}: "
            "they do not belong together"
        )


def bytes_to_unicode() -> list[str]:
    """GPT-2's printable symbol for each byte: the Latin-1 character if printable, else the next from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


def split_on_lines(text: str, max_chars: float = math.inf) -> Iterator[str]:
    """Split a text before line breaks that follow a word, where GPT-2's pre-tokenizer splits, too.

    Each part ends at the first such line break after 16,384 characters, or has max_chars.
    """
    start = 0
    while start < len(text):
        match = _LINE_END.search(text, start + _PART_CHARS - 1)
        end = min(match.start() + 1 if match else len(text), start + max_chars)
        yield text[start : int(end)]
        start = int(end)
