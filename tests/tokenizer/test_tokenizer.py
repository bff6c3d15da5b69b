"""Character tokenizers and byte-level BPE: round trips, and the same ids as transformers."""

import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer

from inkhorn.errors import CheckpointError, TokenizerError
from inkhorn.tokenizer.base import END_OF_TEXT, bytes_to_unicode
from inkhorn.tokenizer.bpe import BPETokenizer, train_bpe
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.tokenizer.normalize import UnknownCharacter
from inkhorn.utils.files import read_json, write_json

# Pieces that have broken tokenizers: the end token in full, doubled and cut short, line ends, combining marks, joined
# emoji, first and last characters of each length in UTF-8, GPT-2's symbols for bytes, controls, a byte order mark.
TRAPS = [
    END_OF_TEXT,
    "<|endoftext|",
    "|>",
    "<<|endoftext|>>",
    "\r\n",
    "\r",
    "e\u0301",
    "👩\u200d👩\u200d👧",
    "\x00",
    "\x7f",
    "\x80",
]
TRAPS += [
    "\u07ff",
    "\u0800",
    "\ud7ff",
    "\ue000",
    "\uffff",
    "\U00010000",
    "\U0010ffff",
    "Ġ",
    "Ċ",
    "Ā",
    "\ufeff",
    "  ",
    "\u00ad",
    "'s",
]
texts = st.lists(st.characters(codec="utf-8") | st.sampled_from(TRAPS), max_size=30).map("".join)


def char_tokenizer(*some: str) -> CharTokenizer:
    return CharTokenizer("".join(text.replace(END_OF_TEXT, "") for text in [*some, "a"]))


def transformers_one(tokenizer: Any) -> Any:
    """The tokenizer that AutoTokenizer loads from the folder."""
    with tempfile.TemporaryDirectory() as folder:
        tokenizer.save(Path(folder))
        return AutoTokenizer.from_pretrained(folder)


# Characters


@settings(max_examples=80)
@given(texts, texts, st.data())
@example("".join(TRAPS), "", None)
@example(END_OF_TEXT, "", None)
@example("", "", None)
def test_char_tokenizer_equals_transformers(text: str, more: str, data: st.DataObject | None) -> None:
    ours = char_tokenizer(text, more)
    theirs = transformers_one(ours)
    ids = ours.encode(text)
    assert ids.dtype == np.int32
    assert ours.decode(ids) == text
    assert b"".join(ours.token_bytes[i] for i in ids) == text.encode()
    assert len(ids) == len(text) - (len(END_OF_TEXT) - 1) * text.count(END_OF_TEXT)  # one id per character
    assert not ours.partial_ids & set(ids.tolist())
    assert theirs(text)["input_ids"] == ids.tolist()
    assert theirs.decode(ids.tolist()) == text
    assert len(theirs) == ours.vocab_size == len(ours.token_bytes)
    assert theirs.eos_token_id == theirs.bos_token_id == ours.eos_id == ours.vocab_size - 1
    if data is not None:  # ids in any order, pieces of characters among them
        anything = data.draw(st.lists(st.integers(0, ours.vocab_size - 1), max_size=20))
        assert theirs.decode(anything) == ours.decode(anything)


@given(texts)
def test_char_tokenizer_save_and_load(text: str) -> None:
    ours = char_tokenizer(text)
    with tempfile.TemporaryDirectory() as folder:
        ours.save(Path(folder))
        back = load_tokenizer(Path(folder))
    assert isinstance(back, CharTokenizer)
    assert back.characters == ours.characters
    assert back.token_bytes == ours.token_bytes
    assert back.partial_ids == ours.partial_ids
    assert (back.eos_id, back.vocab_size) == (ours.eos_id, ours.vocab_size)


def test_load_char_tokenizer_from_transformers(tmp_path: Path) -> None:
    ours = char_tokenizer("O Roméo 😀\n")
    transformers_one(ours).save_pretrained(tmp_path)
    back = load_tokenizer(tmp_path)
    assert isinstance(back, CharTokenizer)
    assert back.token_bytes == ours.token_bytes


def test_order_of_char_vocabulary() -> None:
    ours = CharTokenizer("b€aé\U0001f600")
    characters = [c.encode() for c in "abé€\U0001f600"]
    assert ours.token_bytes[:5] == characters  # by code point
    e, euro, face = "é".encode(), "€".encode(), "\U0001f600".encode()
    pieces = [*sorted({bytes([b]) for b in e + euro + face}), euro[:2], face[:2], face[:3]]
    assert ours.token_bytes[5:-1] == pieces
    assert ours.partial_ids == frozenset(range(5, 5 + len(pieces)))
    assert ours.token_bytes[-1] == b"<|endoftext|>"
    assert ours.eos_id == len(ours.token_bytes) - 1
    assert len(set(ours.token_bytes)) == len(ours.token_bytes)


def test_ascii_has_no_partial_ids() -> None:
    ours = CharTokenizer("cab")
    assert ours.vocab_size == 4
    assert not ours.partial_ids
    assert ours.encode("abc" + END_OF_TEXT + "a").tolist() == [0, 1, 2, 3, 0]


def test_alphabet_order() -> None:
    assert CharTokenizer("ab").characters == ["a", "b"]
    assert CharTokenizer("ab").token_bytes == CharTokenizer(["b", "a", "b"]).token_bytes


@given(texts)
def test_incomplete_end_of_text(text: str) -> None:
    """Parts of `<|endoftext|>` are ordinary characters."""
    ours = char_tokenizer(text, "<|endoftext|", ">")
    cut = "<|endof" + text.replace(END_OF_TEXT, "") + "text|>"
    assert ours.decode(ours.encode(cut)) == cut


def test_empty_alphabet() -> None:
    with pytest.raises(TokenizerError, match="at least one character"):
        CharTokenizer([])


@pytest.mark.parametrize("code", [0xD800, 0xDBFF, 0xDC80, 0xDFFF])
def test_lone_surrogates(code: int) -> None:
    surrogate = chr(code)
    with pytest.raises(TokenizerError, match=rf"'\\u{ord(surrogate):x}' is a lone surrogate"):
        CharTokenizer("ab" + surrogate)
    ours = CharTokenizer("abc\uffff")
    with pytest.raises(TokenizerError, match=f"U\\+{ord(surrogate):04X} no name\\) at character 1"):
        ours.encode("a" + surrogate)
    assert ours.normalize("a" + surrogate + "b") == ("ab", [UnknownCharacter(surrogate, 1, 1, "")])


@pytest.mark.parametrize("stranger", ["d", "\x00", "ÿ", "€", "\U0001f600"])
def test_unknown_character_names_its_position(stranger: str) -> None:
    for alphabet in ("abc", "abc\U0010ffff"):  # beyond the table's end, and in a gap of it
        ours = CharTokenizer(alphabet)
        with pytest.raises(TokenizerError, match=rf"U\+{ord(stranger):04X} .* at character 2 \(3 times\)"):
            ours.encode("ab" + stranger * 3)
        # The end tokens before it count with all their characters.
        with pytest.raises(TokenizerError, match=r"at character 27 \(2 times\)"):
            ours.encode("a" + END_OF_TEXT * 2 + stranger + END_OF_TEXT + stranger)


def test_normalize_reports_positions_across_markers() -> None:
    ours = CharTokenizer("e\n")
    text = "é\r\n" + END_OF_TEXT + "eé" + END_OF_TEXT + "\r"
    fitted, found = ours.normalize(text)
    assert fitted == "e\n" + END_OF_TEXT + "ee" + END_OF_TEXT + "\n"
    assert found == [UnknownCharacter("é", 0, 2, "e"), UnknownCharacter("\r", 1, 2, "\n")]
    assert ours.normalize(text, "drop")[0] == "\n" + END_OF_TEXT + "e" + END_OF_TEXT
    with pytest.raises(TokenizerError, match="2 different characters"):
        ours.normalize(text, "error")
    assert ours.normalize(END_OF_TEXT) == (END_OF_TEXT, [])


@given(texts, texts)
def test_normalized_text_can_be_encoded(alphabet: str, text: str) -> None:
    ours = char_tokenizer(alphabet)
    for policy in ("drop", "replace"):
        fitted, found = ours.normalize(text, policy)
        assert ours.decode(ours.encode(fitted)) == fitted
        assert all(text[unknown.position] == unknown.character for unknown in found)
    assert ours.normalize(alphabet, "error") == (alphabet, [])


def test_encode_long_text() -> None:
    ours = CharTokenizer("abc 😀")
    text = "ab c😀" * 200_000
    ids = ours.encode(text)
    assert len(ids) == 1_000_000
    assert ids[:5].tolist() == ours.encode(text[:5]).tolist()
    assert (ids.reshape(-1, 5) == ids[:5]).all()


def test_bytes_to_unicode_equals_library() -> None:
    assert len(set(bytes_to_unicode())) == 256
    assert set(bytes_to_unicode()) == set(pre_tokenizers.ByteLevel.alphabet())
    symbols = bytes_to_unicode()
    for text in ("é€😀 \n\x00", "".join(map(chr, range(256)))):
        pieces = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False).pre_tokenize_str(text)
        assert "".join(symbols[byte] for byte in text.encode()) == "".join(piece for piece, _ in pieces)


# Byte-pair encodings

CORPUS = [
    "To be, or not to be: that is the question. ",
    "Whether 'tis nobler in the mind to suffer — café, naïve, 😀 ",
] * 5


@pytest.fixture(scope="module")
def gpt2_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a byte-level BPE as GPT-2's, trained on a few lines."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=300, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator(CORPUS, trainer)
    folder = tmp_path_factory.mktemp("gpt2")
    BPETokenizer(inner).save(folder)
    return folder


def test_load_byte_level_bpe(gpt2_like: Path) -> None:
    ours = load_tokenizer(gpt2_like)
    assert isinstance(ours, BPETokenizer)
    assert ours.vocab_size == 300 == len(ours.token_bytes)
    assert ours.token_bytes[ours.eos_id or 0] == END_OF_TEXT.encode()
    assert b" t" in ours.token_bytes
    assert len(ours.encode(CORPUS[0])) < len(CORPUS[0])
    assert not ours.partial_ids


@given(text=texts)
@example(text="".join(CORPUS) + END_OF_TEXT)
def test_byte_level_bpe_equals_transformers(gpt2_like: Path, text: str) -> None:
    ours, theirs = load_once(load_tokenizer, gpt2_like), load_once(AutoTokenizer.from_pretrained, gpt2_like)
    ids = ours.encode(text)
    assert ids.dtype == np.int32
    assert ids.tolist() == theirs(text)["input_ids"]
    assert ours.decode(ids) == ours.decode(ids.tolist()) == theirs.decode(ids.tolist()) == text
    assert b"".join(ours.token_bytes[i] for i in ids) == text.encode()
    assert ours.normalize(text) == (text, [])
    assert len(theirs) == ours.vocab_size


_loaded: dict[tuple[Any, Path], Any] = {}


def load_once(load: Callable[[Path], Any], folder: Path) -> Any:
    if (load, folder) not in _loaded:
        _loaded[load, folder] = load(folder)
    return _loaded[load, folder]


def test_byte_level_bpe_reports_surrogates(gpt2_like: Path) -> None:
    ours = load_tokenizer(gpt2_like)
    assert ours.normalize("a\udc80b") == ("ab", [UnknownCharacter("\udc80", 1, 1, "")])
    with pytest.raises(TokenizerError, match=r"U\+DC80"):
        ours.normalize("a\udc80b", "error")


def test_bpe_save_and_load(gpt2_like: Path, tmp_path: Path) -> None:
    ours = load_tokenizer(gpt2_like)
    ours.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, BPETokenizer)
    assert again.token_bytes == ours.token_bytes
    assert again.encode(CORPUS[1]).tolist() == ours.encode(CORPUS[1]).tolist()


def test_vocab_size_with_gaps_in_ids(gpt2_like: Path, tmp_path: Path) -> None:
    spec = read_json(gpt2_like / "tokenizer.json")
    spec["model"]["vocab"]["Ġt"] = 400
    write_json(tmp_path / "tokenizer.json", spec)
    ours = load_tokenizer(tmp_path)
    assert ours.vocab_size == 401 == len(ours.token_bytes)
    assert ours.encode(" t").tolist() == [400]
    assert ours.token_bytes[400] == b" t"


def test_word_level_bpe_like_gpt1() -> None:
    """GPT-1's tokens end words with </w> and its é is a letter, not the byte E9; what it lacks is reported."""
    inner = tokenizers.Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    inner.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    inner.decoder = decoders.BPEDecoder(suffix="</w>")
    trainer = trainers.BpeTrainer(
        vocab_size=120, special_tokens=["<unk>"], end_of_word_suffix="</w>", show_progress=False
    )
    alone = " ".join(sorted({*"".join(CORPUS)}))  # every letter also as a word of its own, as in GPT-1's vocabulary
    inner.train_from_iterator([*CORPUS, "été", alone], trainer)
    ours = BPETokenizer(inner)
    assert ours.eos_id is None
    for word in ("été", "café", "the question"):
        ids = ours.encode(word)
        assert b"".join(ours.token_bytes[i] for i in ids) == (word + " ").encode()
        assert ours.decode(ids) == word
    fitted, found = ours.normalize("the ΔX \u2026é")
    assert [unknown.character for unknown in found] == ["Δ", "X", "\u2026"]
    assert fitted == "the  ...é"


# Damaged and unsupported files


def test_missing_or_unreadable_file(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no tokenizer\.json"):
        load_tokenizer(tmp_path)
    for content in (b"", b"{", b"[]", b"\xff\xff", b"\0" * 50):
        (tmp_path / "tokenizer.json").write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot read .*tokenizer\.json"):
            load_tokenizer(tmp_path)


@pytest.mark.parametrize(
    "spec",
    [
        {},
        {"model": None},
        {"model": {"type": "BPE"}},
        {"version": "1.0", "model": {"vocab": [], "type": "BPE", "merges": 3}},
    ],
)
def test_invalid_tokenizer_json(tmp_path: Path, spec: dict[str, Any]) -> None:
    write_json(tmp_path / "tokenizer.json", spec)
    with pytest.raises(TokenizerError, match=r"tokenizer\.json cannot be used"):
        load_tokenizer(tmp_path)


def test_truncated_tokenizer_json(tmp_path: Path) -> None:
    CharTokenizer("abé").save(tmp_path)
    content = (tmp_path / "tokenizer.json").read_bytes()
    for length in range(0, len(content) - 2, 37):
        (tmp_path / "tokenizer.json").write_bytes(content[:length])
        with pytest.raises((CheckpointError, TokenizerError)):
            load_tokenizer(tmp_path)


def lowercase(spec: dict[str, Any]) -> None:
    spec["normalizer"] = {"type": "Lowercase"}


def by_regex(spec: dict[str, Any]) -> None:
    spec["pre_tokenizer"]["use_regex"] = True


def two_ids_swapped(spec: dict[str, Any]) -> None:
    vocab = spec["model"]["vocab"]
    vocab["a"], vocab["b"] = vocab["b"], vocab["a"]


def a_gap(spec: dict[str, Any]) -> None:
    vocab = spec["model"]["vocab"]
    vocab["c"] = 40


def another_end(spec: dict[str, Any]) -> None:
    spec["added_tokens"][0]["content"] = "</s>"


@pytest.mark.parametrize("change", [lowercase, by_regex, two_ids_swapped, a_gap, another_end])
def test_other_vocabularies_load_as_bpe(tmp_path: Path, change: Callable[[Any], None]) -> None:
    """A tokenizer.json is loaded with the tokenizers library even if it looks like a character vocabulary."""
    CharTokenizer("abcC").save(tmp_path)
    spec = read_json(tmp_path / "tokenizer.json")
    change(spec)
    write_json(tmp_path / "tokenizer.json", spec)
    ours = load_tokenizer(tmp_path)
    assert isinstance(ours, BPETokenizer)
    inner = tokenizers.Tokenizer.from_str(json.dumps(spec))
    assert ours.encode("abcC").tolist() == inner.encode("abcC").ids


@pytest.mark.parametrize("ours", [CharTokenizer("abé日\n"), train_bpe(["a bé" * 50], 260)], ids=["char", "bpe"])
def test_saved_for_transformers(ours: CharTokenizer | BPETokenizer, tmp_path: Path) -> None:
    """What transformers needs beyond the ids: the names of the model's inputs, the context, and a padding token."""
    ours.save(tmp_path, 12)
    theirs = AutoTokenizer.from_pretrained(tmp_path)
    batch = theirs(["ab", "abé a" * 20], truncation=True, padding=True)
    assert sorted(batch) == ["attention_mask", "input_ids"]
    assert [len(ids) for ids in batch["input_ids"]] == [12, 12]
    assert sum(batch["attention_mask"][0]) == len(ours.encode("ab"))
    assert len(theirs) == ours.vocab_size
    # Versions of the tokenizers library before 0.20 read merges as strings only.
    merges = read_json(tmp_path / "tokenizer.json")["model"]["merges"]
    assert all(isinstance(merge, str) for merge in merges) or isinstance(ours, BPETokenizer)
