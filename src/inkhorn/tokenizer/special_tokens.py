"""The settings of a tokenizer that transformers reads from the files beside tokenizer.json or vocab.json.

The rules are those of transformers 5: tokenizer_config.json names special tokens and lists added tokens;
special_tokens_map.json and added_tokens.json do the same in older folders. Tokens that the vocabulary lacks get the
next ids. The class GPT2Tokenizer builds its own pre-tokenizer from `add_prefix_space`, whatever tokenizer.json says.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.utils.files import read_json

if TYPE_CHECKING:
    import tokenizers

GPT2_CLASSES = ("GPT2Tokenizer", "GPT2TokenizerFast")
GPT2_DEFAULTS = dict.fromkeys(("bos_token", "eos_token", "unk_token"), END_OF_TEXT)
_NAMES = ("bos_token", "eos_token", "unk_token", "sep_token", "pad_token", "cls_token", "mask_token")
_LISTS = ("additional_special_tokens", "extra_special_tokens")


def read_optional(path: Path) -> dict[str, Any]:
    """A JSON object; empty if the file does not exist."""
    return read_json(path) if path.is_file() else {}


def read_tokenizer_config(folder: Path) -> dict[str, Any]:
    """tokenizer_config.json with the special tokens of special_tokens_map.json."""
    config = read_optional(folder / "tokenizer_config.json")
    if "added_tokens_decoder" in config:  # such a file is complete
        return config
    return config | read_optional(folder / "special_tokens_map.json")


def as_gpt2(spec: Mapping[str, Any], config: Mapping[str, Any]) -> dict[str, Any]:
    """A tokenizer.json with the pre-tokenizer, decoder and model options of the class GPT2Tokenizer."""
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    options: dict[str, Any] = {"dropout": None, "unk_token": None, "fuse_unk": False, "byte_fallback": False}
    options |= {"ignore_merges": False, "continuing_subword_prefix": "", "end_of_word_suffix": ""}
    prefix = {"add_prefix_space": bool(config.get("add_prefix_space", False))}
    parts = {"normalizer": None, "pre_tokenizer": byte_level | prefix, "decoder": byte_level}
    return {**spec, **parts, "model": {**spec["model"], **options}}


def add_tokens(inner: "tokenizers.Tokenizer", folder: Path, config: Mapping[str, Any], limit: int | None) -> list[str]:
    """Add the tokens that the files name and the vocabulary lacks; returns those that are left out.

    Args:
        limit: size of the model's vocabulary; tokens beyond it have no embedding and are left out.
    """
    import tokenizers

    named = [_as_token(config[name]) for name in _NAMES if config.get(name)]
    for name in _LISTS:
        listed = config.get(name) or []
        named += [_as_token(token) for token in (listed.values() if isinstance(listed, dict) else listed)]
    special = {token.content for token in named}
    decoder = {int(i): _as_token(token) for i, token in (config.get("added_tokens_decoder") or {}).items()}
    if "added_tokens_decoder" not in config:
        for content, i in read_optional(folder / "added_tokens.json").items():
            is_special = content in special
            decoder[int(i)] = tokenizers.AddedToken(content, special=is_special, normalized=not is_special)
    dropped = []
    known = {token.content for token in inner.get_added_tokens_decoder().values()}
    for token in [*(decoder[i] for i in sorted(decoder)), *named]:
        if token.content in known:
            continue
        known.add(token.content)
        if inner.token_to_id(token.content) is None and limit is not None and inner.get_vocab_size() >= limit:
            dropped.append(token.content)
            continue
        token.special = token.special or token.content in special
        (inner.add_special_tokens if token.special else inner.add_tokens)([token])
    return dropped


def _as_token(value: Any) -> "tokenizers.AddedToken":
    import tokenizers

    if not isinstance(value, Mapping):
        return tokenizers.AddedToken(str(value), special=True, normalized=False)
    options = {key: value[key] for key in ("lstrip", "rstrip", "single_word", "normalized") if key in value}
    return tokenizers.AddedToken(str(value["content"]), special=bool(value.get("special", True)), **options)
