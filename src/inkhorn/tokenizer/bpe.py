"""Tokenizers of the `tokenizers` library, and the training of a byte-pair encoding."""

import json
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from inkhorn.errors import require
from inkhorn.tokenizer.base import END_OF_TEXT, Ids, bytes_to_unicode, split_on_lines, tokenizer_config, utf8_stream
from inkhorn.tokenizer.normalize import UnknownCharacter, UnknownPolicy, replace_unknown
from inkhorn.utils.files import write_json

if TYPE_CHECKING:
    import tokenizers


_BYTE_TOKEN = re.compile("<0x([0-9A-F]{2})>")  # of a vocabulary with byte fallback
_DECODE_CONTEXT = 64
"""Tokens before a new one that its decoding takes into account."""

_SURROGATE = re.compile("[\ud800-\udfff]")


class BPETokenizer:
    """A byte-pair encoding, or any other tokenizer, run by `inner` of the `tokenizers` library.

    Truncation and padding that a tokenizer.json asks for are switched off, as transformers does for a call without
    these options.

    Attributes:
        dropped: tokens that the files name and that are left out, because the model has no embedding for them.
    """

    def __init__(self, inner: "tokenizers.Tokenizer", dropped: Sequence[str] = ()) -> None:
        inner.no_truncation()
        inner.no_padding()
        self.inner, self.dropped = inner, tuple(dropped)
        self.vocab_size = 1 + max(inner.get_vocab().values())  # ids may have gaps
        self.eos_id: int | None = inner.token_to_id(END_OF_TEXT)
        self.partial_ids: frozenset[int] = frozenset()

    @cached_property
    def _byte_level(self) -> bool:
        """Whether each token stands for the same bytes in every context."""
        return type(self.inner.decoder).__name__ == "ByteLevel"

    @cached_property
    def token_bytes(self) -> list[bytes]:
        """The text of each token in the middle of a text. Byte-level vocabularies encode bytes as symbols."""
        byte_of = {symbol: byte for byte, symbol in enumerate(bytes_to_unicode())}
        texts = [b""] * self.vocab_size
        for token, i in self.inner.get_vocab().items():
            if not self._byte_level:
                texts[i] = self._text_after_letter(token)
            elif all(c in byte_of for c in token):
                texts[i] = bytes(byte_of[c] for c in token)
            else:
                texts[i] = token.encode()
        return texts

    def _text_after_letter(self, token: str) -> bytes:
        """What the decoder makes of a token that follows the letter a."""
        decoder = self.inner.decoder
        if match := _BYTE_TOKEN.fullmatch(token):
            return bytes([int(match[1], 16)])
        if decoder is None:
            return f" {token}".encode()  # the library joins the tokens by spaces
        if type(decoder).__name__ == "BPEDecoder":
            return token.replace("</w>", " ").encode()  # the decoder itself leaves out the last space of a text
        return str(decoder.decode(["a", token])).removeprefix("a").encode()

    def encode(self, text: str) -> Ids:
        """Encode a text; the parts of a long one in parallel."""
        parts = list(split_on_lines(text)) if self._splits_on_lines else [text]
        encodings = self.inner.encode_batch_fast(parts or [text], add_special_tokens=False)  # fast: without offsets
        return np.concatenate([np.array(part.ids, np.int32) for part in encodings])

    @cached_property
    def _splits_on_lines(self) -> bool:
        """Whether every step of the tokenizer works on each part of `split_on_lines` as on the full text.

        A prefix space, a normalizer that looks at the beginning or end of its input, or an added token that includes
        white space around it does not.
        """
        pre_tokenizer, normalizer = self.inner.pre_tokenizer, type(self.inner.normalizer).__name__
        kind = type(pre_tokenizer).__name__
        gpt2 = kind == "ByteLevel" and pre_tokenizer.use_regex and not pre_tokenizer.add_prefix_space
        gpt2 = gpt2 and normalizer == "NoneType"
        bert = kind == "BertPreTokenizer" and normalizer in ("NoneType", "BertNormalizer")
        return (gpt2 or bert) and not any(
            token.lstrip or token.rstrip or token.single_word or "\n" in token.content
            for token in self.inner.get_added_tokens_decoder().values()
        )

    def decode(self, ids: Iterable[int]) -> str:
        return str(self.inner.decode(list(ids), skip_special_tokens=False))

    def decode_stream(self, prompt: Sequence[int] = ()) -> Callable[[int], str]:
        if self._byte_level:
            return utf8_stream(self.token_bytes)
        # Other decoders look at the neighbors of a token. Only the last tokens are decoded again for each new one: the
        # work must not grow with the text.
        ids, text = self._decode_context(prompt)
        done = len(text)

        def add(token_id: int) -> str:
            nonlocal done, ids
            ids.append(token_id)
            text = self.decode(ids)
            stable = len(text.rstrip("\ufffd"))  # bytes at the end may be a part of a character
            start, done = done, max(done, stable)
            new = text[start:done]
            if len(ids) > 2 * _DECODE_CONTEXT and (done == len(text) or len(ids) > 4 * _DECODE_CONTEXT):
                pending = len(text) - done
                ids, text = self._decode_context(ids)
                done = len(text) - pending
            return new

        return add

    def _decode_context(self, ids: Sequence[int]) -> tuple[list[int], str]:
        """The last tokens of a text, and what they decode to; they do not begin inside a character."""
        for size in range(_DECODE_CONTEXT, _DECODE_CONTEXT + 4):
            context = list(ids[-size:])
            text = self.decode(context)
            if not text.startswith("\ufffd"):
                break
        return context, text

    def normalize(self, text: str, policy: UnknownPolicy = "replace") -> tuple[str, list[UnknownCharacter]]:
        """Replace or drop lone surrogates and the characters that the vocabulary lacks.

        A text that the tokenizer encodes without loss is not changed.
        """
        if _SURROGATE.search(text) is None and self._is_lossless(text):
            return text, []
        return replace_unknown(text, self._is_known, policy)

    def _is_known(self, character: str) -> bool:
        return _SURROGATE.match(character) is None and self._is_lossless(character)

    @cached_property
    def _unknown_token(self) -> str | None:
        model = self.inner.model
        if type(model).__name__ == "Unigram":
            unk_id = json.loads(self.inner.to_str())["model"].get("unk_id")
            return None if unk_id is None else self.inner.id_to_token(unk_id)
        if type(model).__name__ == "WordLevel":  # an unknown word says nothing about its characters
            return None
        return getattr(model, "unk_token", None)

    @cached_property
    def _can_lose_characters(self) -> bool:
        """A BPE without unknown token, and without all 256 bytes, skips what it does not have."""
        model = self.inner.model
        if type(model).__name__ != "BPE" or self._unknown_token is not None or model.byte_fallback:
            return False
        return not (self._byte_level_input and set(bytes_to_unicode()) <= self.inner.get_vocab().keys())

    @cached_property
    def _byte_level_input(self) -> bool:
        return "ByteLevel" in str(self.inner.pre_tokenizer)

    def _is_lossless(self, text: str) -> bool:
        """Whether the encoding has no unknown token, and every character that is left after normalization."""
        if self._unknown_token is not None:
            unknown = self.inner.token_to_id(self._unknown_token)
            literal = text.count(self._unknown_token)
            return int(np.count_nonzero(self.encode(text) == unknown)) <= literal
        if not self._can_lose_characters:
            return True
        known = self._characters
        if len(text) > 1:
            return all(self._is_known(character) for character in set(text))
        normalized = self.inner.normalizer.normalize_str(text) if self.inner.normalizer else text
        pieces = self.inner.pre_tokenizer.pre_tokenize_str(normalized) if self.inner.pre_tokenizer else [(normalized,)]
        return text in known or all(c in known for piece in pieces for c in piece[0])

    @cached_property
    def _characters(self) -> frozenset[str]:
        return frozenset(token for token in self.inner.get_vocab() if len(token) == 1)

    def fingerprint(self) -> str:
        return str(self.inner.to_str())

    def save(self, folder: Path, model_max_length: int | None = None) -> None:
        write_json(folder / "tokenizer.json", _with_merges_as_text(json.loads(self.inner.to_str())))
        end = None if self.eos_id is None else END_OF_TEXT
        unknown = getattr(self.inner.model, "unk_token", None)
        prefix = {"add_prefix_space": bool(getattr(self.inner.pre_tokenizer, "add_prefix_space", False))}
        write_json(folder / "tokenizer_config.json", tokenizer_config(model_max_length, end, unknown or end) | prefix)


def _with_merges_as_text(spec: dict[str, Any]) -> dict[str, Any]:
    """A tokenizer.json whose merges are "a b" instead of ["a", "b"], which transformers before 4.45 cannot read."""
    merges = spec["model"].get("merges")
    if not merges or any(" " in part for merge in merges for part in merge):  # a space needs the pair
        return spec
    return spec | {"model": spec["model"] | {"merges": [" ".join(merge) for merge in merges]}}


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
