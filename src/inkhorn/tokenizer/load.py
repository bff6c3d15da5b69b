"""Load the tokenizer of a folder."""

import json
from pathlib import Path
from typing import Any

from inkhorn.errors import TokenizerError
from inkhorn.tokenizer.base import END_OF_TEXT, Tokenizer, bytes_to_unicode
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.special_tokens import (
    GPT2_CLASSES,
    GPT2_DEFAULTS,
    add_tokens,
    as_gpt2,
    read_optional,
    read_tokenizer_config,
)
from inkhorn.utils.files import read_json


def load_tokenizer(folder: Path) -> Tokenizer:
    """Load a folder's `tokenizer.json`: a character vocabulary if it is one, else a BPE.

    Raises CheckpointError if the file is missing or unreadable, TokenizerError if its content is invalid.
    """
    spec = read_json(folder / "tokenizer.json")
    if (alphabet := _alphabet(spec)) is not None:
        return CharTokenizer(alphabet)
    import tokenizers  # takes 20 ms, which a character tokenizer saves

    config = read_tokenizer_config(folder)
    limit = read_optional(folder / "config.json").get("vocab_size")
    limit = limit if isinstance(limit, int) else None
    try:
        if config.get("tokenizer_class") in GPT2_CLASSES and spec["model"].get("type", "BPE") == "BPE":
            spec = as_gpt2(spec, config)
            config = GPT2_DEFAULTS | config
        dropped = []
        if limit is not None:
            added = spec.get("added_tokens") or []
            spec["added_tokens"] = [token for token in added if _has_row(token, limit)]
            dropped = [token["content"] for token in added if not _has_row(token, limit)]
        inner = tokenizers.Tokenizer.from_str(json.dumps(spec))
        dropped += [token for token in add_tokens(inner, folder, config, limit) if token not in dropped]
        return BPETokenizer(inner, dropped)
    except Exception as error:  # the library raises Exception itself
        raise TokenizerError(f"{folder / 'tokenizer.json'} cannot be used: {error}") from None


def effective_spec(tokenizer: Tokenizer, folder: Path) -> dict[str, Any]:
    """The tokenizer.json of a loaded tokenizer, with what the other files of its folder change."""
    if isinstance(tokenizer, BPETokenizer):
        return dict(json.loads(tokenizer.inner.to_str()))
    return read_json(folder / "tokenizer.json")


def _has_row(token: dict[str, Any], limit: int) -> bool:
    """False for an added token without embedding, such as a [PAD] that was added to the tokenizer alone."""
    return bool(token["id"] < limit or token["content"] == END_OF_TEXT)


def _alphabet(spec: dict[str, Any]) -> list[str] | None:
    """The alphabet, if tokenizer.json is a character vocabulary as CharTokenizer saves it."""
    byte_of = {symbol: byte for byte, symbol in enumerate(bytes_to_unicode())}
    try:
        vocab = sorted(spec["model"]["vocab"].items(), key=lambda item: int(item[1]))
        tokens = [bytes(byte_of[symbol] for symbol in token) for token, _ in vocab]
        characters = [text for token in tokens if len(text := token.decode(errors="ignore")) == 1]
        added = {token["content"]: token["id"] for token in spec["added_tokens"]}
        matches = spec["pre_tokenizer"].get("use_regex") is False and spec.get("normalizer") is None
        matches = matches and spec["model"]["type"] == "BPE" and [i for _, i in vocab] == list(range(len(vocab)))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not matches or not characters or added != {END_OF_TEXT: len(tokens)}:
        return None
    return characters if CharTokenizer(characters).token_bytes[:-1] == tokens else None
