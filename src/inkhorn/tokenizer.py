"""Text to token ids and back: one token per character, or a byte-pair encoding.

Both are kept as Hugging Face's `tokenizer.json`, so that `AutoTokenizer` reads the folder and gives the same ids.

A character vocabulary takes the form of a byte-level BPE whose only merges build the characters of more than one byte:
ids 0.. are the characters by code point; then come the bytes of those longer characters, then their partly merged
beginnings (`piece_ids`: no text encodes to these, and they are never drawn); `<|endoftext|>` is last.
"""

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from inkhorn.errors import CheckpointError, TokenizerError
from inkhorn.unknown import Unknown, UnknownPolicy, code_points, replace_unknown
from inkhorn.weights import read_json, write_json

if TYPE_CHECKING:
    import tokenizers

_LONG = 1 << 14  # characters; what is longer is encoded in parts
_LINE_END = re.compile(r"\S\n")

END_OF_TEXT = "<|endoftext|>"
"""stands between texts, and has an id of its own in every vocabulary of ours"""

Ids = np.ndarray[Any, np.dtype[np.int32]]


class Tokenizer(Protocol):
    """What the rest of Inkhorn asks of a tokenizer."""

    vocab_size: int
    eos_id: int | None
    """`<|endoftext|>`: it stands between texts, starts an empty prompt and ends a text"""
    piece_ids: frozenset[int]
    """ids that are no text of their own, never drawn and left out of pictures"""

    @property
    def token_bytes(self) -> Sequence[bytes]:
        """Each token's text in UTF-8; a token may hold part of a character."""

    def encode(self, text: str) -> Ids:
        """Ids of a text; TokenizerError if the vocabulary lacks one of its characters. `<|endoftext|>` is one id."""

    def decode(self, ids: Iterable[int]) -> str:
        """Text of some ids; bytes that are no UTF-8 become U+FFFD."""

    def fit(self, text: str, policy: UnknownPolicy = "nearest") -> tuple[str, list[Unknown]]:
        """The text in characters that the vocabulary has, and what was done to the others."""

    def spec(self) -> str:
        """All that encoding depends on, as text."""

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""


def byte_symbols() -> list[str]:
    """GPT-2's printable stand-in for each byte: itself where it is printable Latin-1, else the next from U+0100 on."""
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = iter(range(0x100, 0x200))
    return [chr(byte) if byte in printable else chr(next(others)) for byte in range(256)]


class CharTokenizer:
    """One token per character of a given alphabet.

    Args:
        characters: the alphabet, in any order; duplicates are ignored.

    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = sorted(set(characters))
        if not self.characters:
            raise TokenizerError("a character vocabulary needs at least one character")
        surrogates = [c for c in self.characters if "\ud800" <= c <= "\udfff"]
        if surrogates:
            raise TokenizerError(f"{surrogates[0]!a} is half of a character, not text: is the file really UTF-8?")
        long = [c.encode() for c in self.characters if ord(c) >= 0x80]
        pieces = sorted({bytes([byte]) for c in long for byte in c})
        pieces += sorted({c[:end] for c in long for end in range(2, len(c))}, key=lambda part: (len(part), part))
        self.token_bytes: list[bytes] = [c.encode() for c in self.characters] + pieces + [END_OF_TEXT.encode()]
        self.vocab_size = len(self.token_bytes)
        self.eos_id: int | None = self.vocab_size - 1
        self.piece_ids = frozenset(range(len(self.characters), self.vocab_size - 1))
        self._known = frozenset(self.characters)

    @classmethod
    def from_chunks(cls, chunks: Iterable[str]) -> "CharTokenizer":
        """The alphabet of a text that is read in chunks."""
        alphabet: set[str] = set()
        for chunk in chunks:
            alphabet.update(chunk.replace(END_OF_TEXT, ""))
        if not alphabet:
            raise TokenizerError("the text is empty, so there is no character to build a vocabulary from")
        return cls(alphabet)

    @cached_property
    def _table(self) -> Ids:
        """Id of each code point, -1 where there is none; one more place for all code points beyond the last."""
        codes = np.array([ord(c) for c in self.characters])
        table = np.full(codes[-1] + 2, -1, np.int32)
        table[codes] = np.arange(len(codes), dtype=np.int32)
        return table

    def encode(self, text: str) -> Ids:
        """Ids of a text, `<|endoftext|>` in it being one id; TokenizerError names characters that are not known."""
        table = self._table
        parts = [table[np.minimum(code_points(part), len(table) - 1)] for part in text.split(END_OF_TEXT)]
        end = np.array([self.eos_id], np.int32)
        ids: Ids = np.concatenate([piece for part in parts for piece in (part, end)][:-1])
        if ids.size and ids.min() < 0:
            self.fit(text, "error")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        """Text of some ids; bytes that are no whole character become U+FFFD."""
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", "replace")

    def fit(self, text: str, policy: UnknownPolicy = "nearest") -> tuple[str, list[Unknown]]:
        """The text in characters that the vocabulary has, and what was done to the others."""
        if END_OF_TEXT not in text:
            return replace_unknown(text, self._known.__contains__, policy)
        # The whole text at once, so that positions and counts are the text's; a known character hides the end tokens.
        filler = self.characters[-1] * len(END_OF_TEXT)
        _, found = replace_unknown(text.replace(END_OF_TEXT, filler), self._known.__contains__, policy)
        fitted = [replace_unknown(part, self._known.__contains__, policy)[0] for part in text.split(END_OF_TEXT)]
        return END_OF_TEXT.join(fitted), found

    def spec(self) -> str:
        """All that encoding depends on."""
        return "".join(self.characters)

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json, which transformers' AutoTokenizer reads as they are."""
        symbols = byte_symbols()

        def spelled(token: bytes) -> str:
            return "".join(symbols[byte] for byte in token)

        vocab = {spelled(token): i for i, token in enumerate(self.token_bytes[:-1])}
        merges = {
            (c.encode()[:end], c.encode()[end : end + 1]) for c in self.characters for end in range(1, len(c.encode()))
        }
        end = {"id": self.eos_id, "content": END_OF_TEXT, "special": True}
        end |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        write_json(
            folder / "tokenizer.json",
            {
                "version": "1.0",
                "truncation": None,
                "padding": None,
                "added_tokens": [end],
                "normalizer": None,
                "pre_tokenizer": byte_level,
                "post_processor": None,
                "decoder": byte_level,
                "model": {
                    "type": "BPE",
                    "dropout": None,
                    "unk_token": None,
                    "continuing_subword_prefix": None,
                    "end_of_word_suffix": None,
                    "fuse_unk": False,
                    "byte_fallback": False,
                    "ignore_merges": False,
                    "vocab": vocab,
                    "merges": [[spelled(a), spelled(b)] for a, b in sorted(merges, key=lambda m: (len(m[0]), m))],
                },
            },
        )
        write_json(folder / "tokenizer_config.json", tokenizer_config())


def tokenizer_config(end: str | None = END_OF_TEXT, unknown: str | None = END_OF_TEXT) -> dict[str, Any]:
    """The tokenizer_config.json of both kinds: without it AutoTokenizer adds a token of its own, as it does for one
    named here that the vocabulary lacks."""
    ends = {"bos_token": end, "eos_token": end, "unk_token": unknown}
    plain = {"tokenizer_class": "PreTrainedTokenizerFast", "clean_up_tokenization_spaces": False}
    return plain | ends | {"add_bos_token": False, "add_prefix_space": False, "model_max_length": int(1e30)}


def line_parts(text: str, most: float = math.inf) -> Iterator[str]:
    """A text cut before a line break that ends a word, where GPT-2's rule cuts words, too.

    Each part has _LONG characters or up to the next such place, but no more than `most`.
    """
    start = 0
    while start < len(text):
        found = _LINE_END.search(text, start + _LONG - 1)
        end = min(found.start() + 1 if found else len(text), start + most)
        yield text[start : int(end)]
        start = int(end)


class BPETokenizer:
    """A byte-pair encoding kept as `tokenizer.json`, run by the `tokenizers` library.

    Args:
        inner: the library's tokenizer.

    """

    def __init__(self, inner: "tokenizers.Tokenizer") -> None:
        self.inner = inner
        self.vocab_size = 1 + max(inner.get_vocab().values())  # ids may have gaps
        self.eos_id: int | None = inner.token_to_id(END_OF_TEXT)
        self.piece_ids: frozenset[int] = frozenset()

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """Each token's text: byte-level vocabularies spell bytes, GPT-1's end a word with `</w>`."""
        byte_level = type(self.inner.decoder).__name__ == "ByteLevel"
        byte_of = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
        special = {token.content for token in self.inner.get_added_tokens_decoder().values()}
        texts = [b""] * self.vocab_size
        for token, i in self.inner.get_vocab().items():
            if byte_level and token not in special and all(c in byte_of for c in token):
                texts[i] = bytes(byte_of[c] for c in token)
            else:
                texts[i] = (token if byte_level else token.replace("</w>", " ")).encode()
        return texts

    def encode(self, text: str) -> Ids:
        """Ids of a text; a long one in parts, several at once."""
        found = self.inner.encode_batch_fast(self._parts(text), add_special_tokens=False)  # fast: without offsets
        return np.concatenate([np.array(part.ids, np.int32) for part in found])

    def _parts(self, text: str) -> list[str]:
        """A text cut where no token can lie across, if words are cut at line breaks; else the whole."""
        if type(self.inner.pre_tokenizer).__name__ not in ("ByteLevel", "BertPreTokenizer"):
            return [text]
        return list(line_parts(text)) or [text]

    def decode(self, ids: Iterable[int]) -> str:
        """Text of some ids."""
        return str(self.inner.decode(list(ids), skip_special_tokens=False))

    def fit(self, text: str, policy: UnknownPolicy = "nearest") -> tuple[str, list[Unknown]]:
        """Any text but lone surrogates (undecodable input) fits a byte-level vocabulary; GPT-1's lacks characters."""
        unknown = getattr(self.inner.model, "unk_token", None)

        def is_known(character: str) -> bool:
            if "\ud800" <= character <= "\udfff":
                return False
            return unknown is None or unknown not in self.inner.encode(character, add_special_tokens=False).tokens

        return replace_unknown(text, is_known, policy)

    def spec(self) -> str:
        """All that encoding depends on."""
        return str(self.inner.to_str())

    def save(self, folder: Path) -> None:
        """Write tokenizer.json and tokenizer_config.json."""
        self.inner.save(str(folder / "tokenizer.json"))
        end = None if self.eos_id is None else END_OF_TEXT
        unknown = getattr(self.inner.model, "unk_token", None)
        write_json(folder / "tokenizer_config.json", tokenizer_config(end, unknown or end))


def require_fit(tokenizer: Tokenizer, vocab_size: int) -> None:
    """CheckpointError if a model of `vocab_size` lacks some of the tokenizer's ids; it may have more, as padding."""
    if tokenizer.vocab_size > vocab_size:
        sizes = f"tokenizer.json has {tokenizer.vocab_size} tokens, the model of config.json only {vocab_size}"
        raise CheckpointError(f"{sizes}: they do not belong together")


def load_tokenizer(folder: Path) -> Tokenizer:
    """Read a folder's `tokenizer.json`: a character vocabulary if it is one, else a BPE.

    Raises CheckpointError for a missing or unreadable file, TokenizerError for one that cannot be used.
    """
    spec = read_json(folder / "tokenizer.json")
    alphabet = _alphabet(spec)
    if alphabet is not None:
        return CharTokenizer(alphabet)
    import tokenizers  # only a BPE needs the library: 20 ms that a first character should not wait for

    try:
        return BPETokenizer(tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json")))
    except Exception as error:  # the library raises plain Exception
        raise TokenizerError(f"{folder / 'tokenizer.json'} cannot be used: {error}") from None


def _alphabet(spec: dict[str, Any]) -> list[str] | None:
    """The characters of a tokenizer.json that is a character vocabulary with just our ids, else None."""
    byte_of = {symbol: byte for byte, symbol in enumerate(byte_symbols())}
    try:
        spelled = sorted(spec["model"]["vocab"].items(), key=lambda item: int(item[1]))
        tokens = [bytes(byte_of[symbol] for symbol in token) for token, _ in spelled]
        characters = [token.decode() for token in tokens if _is_character(token)]
        added = {token["content"]: token["id"] for token in spec["added_tokens"]}
        plain = spec["pre_tokenizer"].get("use_regex") is False and spec.get("normalizer") is None
        plain = plain and spec["model"]["type"] == "BPE" and [i for _, i in spelled] == list(range(len(spelled)))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not plain or not characters or added != {END_OF_TEXT: len(tokens)}:
        return None
    return characters if CharTokenizer(characters).token_bytes[:-1] == tokens else None


def _is_character(token: bytes) -> bool:
    try:
        return len(token.decode()) == 1
    except UnicodeDecodeError:
        return False
