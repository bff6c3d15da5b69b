"""The vocabulary that goes with a checkpoint of others: what lies beside it, or what the user names."""

import pickle
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from inkhorn.convert.alphabet import with_alphabet
from inkhorn.convert.converted import Imported
from inkhorn.errors import CheckpointError, TokenizerError, UsageError
from inkhorn.tokenizer.base import Tokenizer, check_vocab_size
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import write_json

_AS_THEY_ARE = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")
_GPT2_SIZES = (50257, 50304)  # GPT-2's tokens, and nanoGPT's padding of them to a multiple of 64


@dataclass(frozen=True)
class Vocabulary:
    """A tokenizer, and the folder whose files hold it if these are to be kept as they are."""

    tokenizer: Tokenizer
    folder: Path | None = None

    def save(self, out: Path) -> None:
        """Write tokenizer.json and what transformers wants beside it."""
        if self.folder is None or not (self.folder / "tokenizer_config.json").is_file():
            self.tokenizer.save(out)
        for name in _AS_THEY_ARE:
            if self.folder is not None and (self.folder / name).is_file():
                shutil.copyfile(self.folder / name, out / name)


def choose(folder: Path, imported: Imported, text: Path | None, named: str | None) -> tuple[Imported, Vocabulary]:
    """The vocabulary, and the model fitted to it: rows in its order, ends of text named.

    Args:
        folder: where the checkpoint lies.
        imported: the model.
        text: what a model of characters was trained on; its alphabet is the vocabulary.
        named: a folder with a tokenizer.json, a meta.pkl of nanoGPT's, or gpt2 or openai-gpt.

    Raises UsageError where there is none, CheckpointError or TokenizerError where the two do not belong together.

    """
    if text is not None and named is not None:
        raise UsageError(f"give either --text {text} or --tokenizer {named}, not both")
    found = (
        _alphabet_of(text) if text is not None else _named(named) if named is not None else _beside(folder, imported)
    )
    if isinstance(found, list):
        imported, tokenizer = with_alphabet(imported, found)
        found = Vocabulary(tokenizer)
    if isinstance(found.tokenizer, CharTokenizer) and len(found.tokenizer.characters) == imported.config.vocab_size:
        imported, tokenizer = with_alphabet(imported, found.tokenizer.characters)
        found = Vocabulary(tokenizer)
    size, most = found.tokenizer.vocab_size, imported.config.vocab_size
    check_vocab_size(found.tokenizer, most)
    if size < most:
        note = f"{most:,} rows for {size:,} tokens: the other {most - size:,} are padding, and stay"
        imported = replace(imported, notes=(*imported.notes, note))
    return _with_ends(imported, found.tokenizer.eos_id), found


def _with_ends(imported: Imported, end: int | None) -> Imported:
    """Where the config names no end of text, the vocabulary's is meant."""
    config = imported.config
    bos = end if config.bos_token_id is None else config.bos_token_id
    eos = end if config.eos_token_id is None else config.eos_token_id
    return replace(imported, config=replace(config, bos_token_id=bos, eos_token_id=eos))


def _alphabet_of(text: Path) -> list[str]:
    from inkhorn.data.text import from_path

    return CharTokenizer(from_path(text).summary.alphabet).characters


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


def _beside(folder: Path, imported: Imported) -> Vocabulary | list[str]:
    if (folder / "tokenizer.json").is_file():
        return Vocabulary(load_tokenizer(folder), folder)
    if (folder / "vocab.json").is_file() and (folder / "merges.txt").is_file():
        from inkhorn.tokenizer.pretrained import gpt1_tokenizer, gpt2_tokenizer

        make = gpt2_tokenizer if imported.config.pre_norm else gpt1_tokenizer
        try:
            return Vocabulary(BPETokenizer(make(folder / "vocab.json", folder / "merges.txt")))
        except Exception as error:  # the library raises plain Exception
            raise TokenizerError(f"{folder}: vocab.json and merges.txt cannot be used: {error}") from None
    if (folder / "meta.pkl").is_file():
        return read_meta(folder / "meta.pkl")
    if imported.form == "nanoGPT" and imported.config.vocab_size in _GPT2_SIZES:
        return _named("gpt2")
    raise UsageError(
        f"{folder} has no vocabulary for this model of {imported.config.vocab_size:,} tokens: give --tokenizer (a "
        "folder with a tokenizer.json, nanoGPT's meta.pkl, gpt2 or openai-gpt), or --text, the file that a model of "
        "characters was trained on"
    )


class _PlainValues(pickle.Unpickler):
    """Reads numbers, strings, lists and dictionaries: what would import or call anything is refused."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"it asks for {module}.{name}")


def read_meta(path: Path) -> list[str]:
    """The characters of a meta.pkl of nanoGPT's by their ids, without running what a pickle might hold.

    Raises CheckpointError for one that is damaged, asks for code, or is no alphabet.
    """
    try:
        with path.open("rb") as file:
            meta = _PlainValues(file).load()
        stoi = {str(character): int(i) for character, i in meta["stoi"].items()}
    except (
        OSError,
        pickle.UnpicklingError,
        EOFError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        IndexError,
    ) as error:
        raise CheckpointError(f"{path} is no meta.pkl of characters (stoi), or no safe one: {error}") from None
    characters = sorted(stoi, key=stoi.__getitem__)
    if [stoi[c] for c in characters] != list(range(len(stoi))) or any(len(c) != 1 for c in characters):
        raise CheckpointError(f"{path}: its stoi does not number single characters from 0 on")
    return characters


def write_generation_config(folder: Path, imported: Imported) -> None:
    """What transformers' `generate` does unless told otherwise."""
    config = imported.config
    defaults = {"do_sample": True, "temperature": 0.8, "max_new_tokens": min(200, config.block_size // 2)}
    ends = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
    write_json(folder / "generation_config.json", defaults | ends)
