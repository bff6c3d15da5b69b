"""The vocabulary of an imported checkpoint: found in its folder, or given by the user."""

import pickle
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inkhorn.convert.converted import ConvertedModel, with_char_vocabulary
from inkhorn.data.text import from_path
from inkhorn.errors import CheckpointError, TokenizerError, UsageError
from inkhorn.tokenizer.base import Tokenizer, check_vocab_size
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.tokenizer.special_tokens import GPT2_DEFAULTS, add_tokens, read_tokenizer_config

_TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_GPT2_SIZES = (50257, 50304)  # GPT-2's vocabulary, and nanoGPT's padding of it to a multiple of 64


_DAMAGED = (
    *(OSError, pickle.UnpicklingError, EOFError, ValueError, LookupError, TypeError, AttributeError),
    *(OverflowError, MemoryError, RecursionError),  # of infinite numbers and of invalid lengths
)


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and the folder with its files if they are to be copied unchanged."""

    tokenizer: Tokenizer
    folder: Path | None = None

    def save(self, out: Path, model_max_length: int) -> None:
        """Write tokenizer.json and the other files that transformers reads."""
        if self.folder is None or not (self.folder / "tokenizer_config.json").is_file():
            self.tokenizer.save(out, model_max_length)
        for name in _TOKENIZER_FILES:
            if self.folder is not None and (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, out / name)


def choose(
    folder: Path, model: ConvertedModel, text: Path | None, named: str | None, *, encoding: str | None = None
) -> tuple[ConvertedModel, Vocabulary]:
    """Choose the vocabulary and adapt the model to it: the order of its rows, bos_token_id and eos_token_id.

    Args:
        folder: the checkpoint's folder.
        text: the training text of a character-level model; its characters are the vocabulary.
        named: a folder with a tokenizer.json, nanoGPT's meta.pkl, gpt2 or openai-gpt.
        encoding: of the text, by default UTF-8.

    Raises:
        UsageError: there is no vocabulary.
        CheckpointError: the vocabulary does not match the model.
        TokenizerError: the vocabulary cannot be used.
    """
    if text is not None and named is not None:
        raise UsageError(f"give either --text {text} or --tokenizer {named}, not both")
    found: Vocabulary | list[str]
    if text is not None:
        found = CharTokenizer(from_path(text, encoding=encoding).summary.alphabet).characters
    else:
        found = _in_folder(folder, model) if named is None else _named(named)
    if isinstance(found, list):
        model, tokenizer = with_char_vocabulary(model, found)
        found = Vocabulary(tokenizer)
    if isinstance(found.tokenizer, CharTokenizer) and len(found.tokenizer.characters) == model.config.vocab_size:
        model, tokenizer = with_char_vocabulary(model, found.tokenizer.characters)
        found = Vocabulary(tokenizer)
    size, most = found.tokenizer.vocab_size, model.config.vocab_size
    check_vocab_size(found.tokenizer, most)
    if size < most:
        note = f"{most:,} embedding rows for {size:,} tokens: the other {most - size:,} are padding and are kept"
        model = replace(model, notes=(*model.notes, note))
    if isinstance(found.tokenizer, BPETokenizer) and (dropped := found.tokenizer.dropped):
        note = f"{', '.join(dropped)}: left out of the vocabulary, because the model has no embedding for it"
        model = replace(model, notes=(*model.notes, note))
    config, end = model.config, found.tokenizer.eos_id
    bos = end if config.bos_token_id is None else config.bos_token_id
    eos = end if config.eos_token_id is None else config.eos_token_id
    return replace(model, config=replace(config, bos_token_id=bos, eos_token_id=eos)), found


def _named(name: str) -> Vocabulary | list[str]:
    path = Path(name)
    if path.is_dir():
        return Vocabulary(load_tokenizer(path), path)
    if path.is_file():
        if path.suffix == ".pkl":
            return read_meta(path)
        raise UsageError(f"--tokenizer {name} is a file: give the folder of a tokenizer.json, or nanoGPT's meta.pkl")
    from inkhorn.tokenizer.pretrained import pretrained_tokenizer

    return Vocabulary(pretrained_tokenizer(name))


def _in_folder(folder: Path, model: ConvertedModel) -> Vocabulary | list[str]:
    if (folder / "tokenizer.json").is_file():
        return Vocabulary(load_tokenizer(folder), folder)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        try:
            return Vocabulary(_from_vocab_and_merges(folder, model))
        except Exception as error:  # the library raises Exception itself
            raise TokenizerError(f"{folder}: vocab.json and merges.txt cannot be used: {error}") from None
    if (folder / "meta.pkl").is_file():
        return read_meta(folder / "meta.pkl")
    if model.source == "nanoGPT" and model.config.vocab_size in _GPT2_SIZES:
        return _named("gpt2")
    raise UsageError(
        f"{folder} has no vocabulary for this model of {model.config.vocab_size:,} tokens: give --tokenizer (a folder "
        "with a tokenizer.json, nanoGPT's meta.pkl, gpt2 or openai-gpt), or --text, the training text of a "
        "character-level model"
    )


def _from_vocab_and_merges(folder: Path, model: ConvertedModel) -> BPETokenizer:
    """A tokenizer as transformers' GPT2Tokenizer or OpenAIGPTTokenizer builds it from vocab.json and merges.txt."""
    import tokenizers

    from inkhorn.tokenizer.pretrained import gpt1_tokenizer

    vocab, merges = folder / "vocab.json", folder / "merges.txt"
    if not model.config.pre_norm:
        return BPETokenizer(gpt1_tokenizer(vocab, merges))
    config = GPT2_DEFAULTS | read_tokenizer_config(folder)
    inner = tokenizers.Tokenizer(tokenizers.models.BPE.from_file(str(vocab), str(merges)))
    prefix = bool(config.get("add_prefix_space", False))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    inner.decoder = tokenizers.decoders.ByteLevel()
    dropped = add_tokens(inner, folder, config, model.config.vocab_size)
    return BPETokenizer(inner, dropped)


class _PlainValues(pickle.Unpickler):
    """Reads numbers, strings, lists and dictionaries; refuses to import or call anything."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it would import {module}.{name}")


def read_meta(path: Path) -> list[str]:
    """The characters of nanoGPT's meta.pkl in the order of their ids, read without running code.

    Raises:
        CheckpointError: it is damaged, would run code, or holds no characters.
    """
    try:
        with path.open("rb") as file:
            meta = _PlainValues(file).load()
        stoi = {str(character): int(i) for character, i in meta["stoi"].items()}
    except _DAMAGED as error:
        raise CheckpointError(f"{path} is not a meta.pkl with characters (stoi), or not a safe one: {error}") from None
    characters = sorted(stoi, key=stoi.__getitem__)
    if [stoi[c] for c in characters] != list(range(len(stoi))) or any(len(c) != 1 for c in characters):
        raise CheckpointError(f"{path}: stoi does not number single characters from 0 on")
    return characters
