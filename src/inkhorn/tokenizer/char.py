"""Character tokenizer: one token per character.

The vocabulary is saved as a byte-level BPE whose only merges build the characters of more than one byte. The ids are:
the characters in order of code point; the bytes of the longer characters, then their partly merged prefixes
(`partial_ids`: no text encodes to them, and they are never sampled); `<|endoftext|>` last.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.errors import TokenizerError
from inkhorn.tokenizer.base import END_OF_TEXT, Ids, bytes_to_unicode, tokenizer_config, utf8_stream
from inkhorn.tokenizer.normalize import UnknownCharacter, UnknownPolicy, code_points, replace_unknown
from inkhorn.utils.files import write_json


class CharTokenizer:
    """One token per character of an alphabet.

    Args:
        characters: the alphabet in any order; duplicates are ignored.
    """

    def __init__(self, characters: Iterable[str]) -> None:
        self.characters = sorted(set(characters))
        if not self.characters:
            raise TokenizerError("the text is empty: a character vocabulary needs at least one character")
        surrogates = [c for c in self.characters if "\ud800" <= c <= "\udfff"]
        if surrogates:
            raise TokenizerError(f"{surrogates[0]!a} is a lone surrogate, not a character: is the file valid UTF-8?")
        long = [c.encode() for c in self.characters if ord(c) >= 0x80]
        pieces = sorted({bytes([byte]) for c in long for byte in c})
        pieces += sorted({c[:end] for c in long for end in range(2, len(c))}, key=lambda part: (len(part), part))
        self.token_bytes: list[bytes] = [c.encode() for c in self.characters] + pieces + [END_OF_TEXT.encode()]
        self.vocab_size = len(self.token_bytes)
        self.eos_id: int | None = self.vocab_size - 1
        self.partial_ids = frozenset(range(len(self.characters), self.vocab_size - 1))
        self._known = frozenset(self.characters)

    @cached_property
    def _table(self) -> Ids:
        """Id of each code point, -1 if it has none; the last entry is for all larger code points."""
        codes = np.array([ord(c) for c in self.characters])
        table = np.full(codes[-1] + 2, -1, np.int32)
        table[codes] = np.arange(len(codes), dtype=np.int32)
        return table

    def encode(self, text: str) -> Ids:
        table = self._table
        parts = [table[np.minimum(code_points(part), len(table) - 1)] for part in text.split(END_OF_TEXT)]
        end = np.array([self.eos_id], np.int32)
        ids: Ids = np.concatenate([piece for part in parts for piece in (part, end)][:-1])
        if ids.size and ids.min() < 0:
            self.normalize(text, "error")
        return ids

    def decode(self, ids: Iterable[int]) -> str:
        return b"".join(self.token_bytes[i] for i in ids).decode("utf-8", "replace")

    def decode_stream(self, prompt: Sequence[int] = ()) -> Callable[[int], str]:  # noqa: ARG002
        return utf8_stream(self.token_bytes)

    def normalize(self, text: str, policy: UnknownPolicy = "replace") -> tuple[str, list[UnknownCharacter]]:
        if END_OF_TEXT not in text:
            return replace_unknown(text, self._known.__contains__, policy)
        # Report positions and counts of the full text, with a known character in place of the markers.
        filler = self.characters[-1] * len(END_OF_TEXT)
        _, found = replace_unknown(text.replace(END_OF_TEXT, filler), self._known.__contains__, policy)
        normalized = [replace_unknown(part, self._known.__contains__, policy)[0] for part in text.split(END_OF_TEXT)]
        return END_OF_TEXT.join(normalized), found

    def fingerprint(self) -> str:
        return "".join(self.characters)

    def save(self, folder: Path, model_max_length: int | None = None) -> None:
        symbols = bytes_to_unicode()

        def to_symbols(token: bytes) -> str:
            return "".join(symbols[byte] for byte in token)

        vocab = {to_symbols(token): i for i, token in enumerate(self.token_bytes[:-1])}
        merges = {(c[:end], c[end : end + 1]) for c in map(str.encode, self.characters) for end in range(1, len(c))}
        end = {"id": self.eos_id, "content": END_OF_TEXT, "special": True}
        end |= dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
        byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
        model: dict[str, Any] = {"type": "BPE"} | dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix"))
        model |= {"end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False}
        model["vocab"] = vocab
        # As strings, which the tokenizers library reads in every version; it reads pairs since 0.20.
        model["merges"] = [f"{to_symbols(a)} {to_symbols(b)}" for a, b in sorted(merges, key=lambda m: (len(m[0]), m))]
        spec: dict[str, Any] = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": [end]}
        spec |= {"normalizer": None, "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level}
        spec["model"] = model
        write_json(folder / "tokenizer.json", spec)
        write_json(folder / "tokenizer_config.json", tokenizer_config(model_max_length))
