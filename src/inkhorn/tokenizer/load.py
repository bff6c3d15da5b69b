"""Text to token ids and back: one token per character, or a byte-pair encoding.

Both are kept as Hugging Face's `tokenizer.json`, so that `AutoTokenizer` reads the folder and gives the same ids.

A character vocabulary takes the form of a byte-level BPE whose only merges build the characters of more than one byte:
ids 0.. are the characters by code point; then come the bytes of those longer characters, then their partly merged
beginnings (`partial_ids`: no text encodes to these, and they are never drawn); `<|endoftext|>` is last.
"""

from pathlib import Path
from typing import Any

from inkhorn.errors import TokenizerError
from inkhorn.tokenizer.base import END_OF_TEXT, Tokenizer, bytes_to_unicode, is_character
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.utils.files import read_json


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
    byte_of = {symbol: byte for byte, symbol in enumerate(bytes_to_unicode())}
    try:
        spelled = sorted(spec["model"]["vocab"].items(), key=lambda item: int(item[1]))
        tokens = [bytes(byte_of[symbol] for symbol in token) for token, _ in spelled]
        characters = [token.decode() for token in tokens if is_character(token)]
        added = {token["content"]: token["id"] for token in spec["added_tokens"]}
        plain = spec["pre_tokenizer"].get("use_regex") is False and spec.get("normalizer") is None
        plain = plain and spec["model"]["type"] == "BPE" and [i for _, i in spelled] == list(range(len(spelled)))
    except (KeyError, TypeError, ValueError, AttributeError):
        return None
    if not plain or not characters or added != {END_OF_TEXT: len(tokens)}:
        return None
    return characters if CharTokenizer(characters).token_bytes[:-1] == tokens else None
