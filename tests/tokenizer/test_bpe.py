"""Byte-pair encodings: trained on a text, and OpenAI's."""

import json
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
import requests
import tokenizers
from helpers.paths import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import SamplingParams
from inkhorn.data import dataset, text
from inkhorn.errors import CorpusError, UsageError
from inkhorn.inference.engine import Engine
from inkhorn.tokenizer import bpe
from inkhorn.tokenizer.base import END_OF_TEXT, split_on_lines
from inkhorn.tokenizer.bpe import BPETokenizer, train_bpe
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.tokenizer.pretrained import pretrained_tokenizer
from inkhorn.utils.files import read_json

SPEECH = "the cat sat on the mat, and that was that.\nthe hat sat there too.\n\n"
TEXT = SPEECH * 20 + END_OF_TEXT + "naïve façades, 日本, 😀\n" * 5
HARD = (
    "Hello  world!\n\n\tIt's 1,234.56 \u2014 naïve façade, 日本語 😀\U0001f3f3\ufe0f\u200d\U0001f308 \u200b don't DON'T"
    " they'll\r\n  trailing  ¼²³ İı ﬁ \u0301x \xa0\xa0 \x00\x07 <|endoftext|> ||endoftext "
)
BPE = train_bpe([TEXT], 300)


def test_vocab_size() -> None:
    assert BPE.vocab_size == 300
    assert BPE.eos_id == 299
    assert sorted(BPE.token_bytes[:256]) == [bytes([byte]) for byte in range(256)]
    assert b"the" in BPE.token_bytes
    assert train_bpe(["a"], 1000).vocab_size == 257  # no pair occurs twice


def test_merges_do_not_depend_on_chunks() -> None:
    lines = [line + "\n" for line in TEXT.split("\n")]
    assert train_bpe([TEXT], 300).fingerprint() == BPE.fingerprint()
    assert train_bpe(TEXT.split(END_OF_TEXT), 300).fingerprint() == BPE.fingerprint()
    assert train_bpe(lines, 257).vocab_size == 257


@given(st.lists(st.sampled_from(["a", " ", "\n", "\n ", "é", END_OF_TEXT, "word " * 4000, "x" * 40_000])))
def test_training_parts_are_short(pieces: list[str]) -> None:
    text = "".join(pieces)
    parts = list(bpe._training_parts([text, text]))
    assert "".join(parts) == 2 * text.replace(END_OF_TEXT, "")
    assert all(0 < len(part) <= bpe._MAX_PART_CHARS for part in parts)


def test_long_word_is_split_for_training(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bpe, "_MAX_PART_CHARS", 1000)
    assert [len(part) for part in bpe._training_parts(["acgt" * 600])] == [1000, 1000, 400]


def test_vocab_size_limit() -> None:
    with pytest.raises(UsageError, match="at least 257"):
        train_bpe([TEXT], 256)


@given(st.text())
def test_round_trip(text: str) -> None:
    normalized, _ = BPE.normalize(text)
    assert BPE.decode(BPE.encode(normalized)) == normalized
    assert b"".join(BPE.token_bytes[i] for i in BPE.encode(normalized)).decode() == normalized


def test_save_and_load(tmp_path: Path) -> None:
    BPE.save(tmp_path)
    again = load_tokenizer(tmp_path)
    assert isinstance(again, BPETokenizer)
    assert again.encode(HARD).tolist() == BPE.encode(HARD).tolist()
    from transformers import AutoTokenizer

    assert AutoTokenizer.from_pretrained(tmp_path)(HARD).input_ids == BPE.encode(HARD).tolist()


def test_merges_are_saved_as_text(tmp_path: Path) -> None:
    """transformers before 4.45 cannot read merges that are pairs."""
    BPE.save(tmp_path)
    saved = (tmp_path / "tokenizer.json").read_text("utf-8")
    assert all(isinstance(merge, str) for merge in json.loads(saved)["model"]["merges"])
    assert tokenizers.Tokenizer.from_str(saved).to_str() == BPE.inner.to_str()


def test_merges_with_spaces_are_saved_as_pairs(tmp_path: Path) -> None:
    vocabulary = {"a": 0, " ": 1, "a ": 2}
    BPETokenizer(tokenizers.Tokenizer(tokenizers.models.BPE(vocabulary, [("a", " ")]))).save(tmp_path)
    assert read_json(tmp_path / "tokenizer.json")["model"]["merges"] == [["a", " "]]
    assert load_tokenizer(tmp_path).encode("a a").tolist() == [2, 0]


@settings(max_examples=30)
@given(st.integers(0, 40), st.sampled_from(["\n", "\n\n", " \n", "\r\n", "x\n y", "\n" * 9, "\t\n"]))
def test_encoding_in_parts(spaces: int, end: str) -> None:
    text = SPEECH.replace("\n", end) * 600 + " " * spaces + HARD
    assert (BPE._splits_on_lines and len(list(split_on_lines(text))) > 1) or "\n" not in end.lstrip(" \t\r")
    assert BPE.encode(text).tolist() == BPE.inner.encode(text, add_special_tokens=False).ids


def test_dataset_with_trained_bpe(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text(TEXT, encoding="utf-8")
    source = text.from_path(tmp_path / "text.txt")
    data = dataset.tokenize_to_disk(source, tmp_path / "cache", bpe_size=275)
    assert data.tokenizer.vocab_size == 275
    assert data.tokenizer.decode([*data.train[:], *data.val]) == TEXT
    assert data.val_bytes == len(data.tokenizer.decode(data.val).encode())
    assert data.bits_per_byte(np.log(2)) == pytest.approx(len(data.val) / data.val_bytes)
    again = dataset.tokenize_to_disk(source, tmp_path / "cache", bpe_size=275)
    assert again.sha256 == data.sha256
    assert dataset.tokenize_to_disk(source, tmp_path / "cache", bpe_size=270).sha256 != data.sha256


def test_long_training_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    letters = "abcdef"
    pieces = [letter * (1 << 22) for letter in letters]
    source = text.TextSource(name="long", pieces=lambda: pieces, val_pieces=lambda: "x")
    seen: list[str] = []

    def train(chunks: Iterable[str], size: int) -> BPETokenizer:
        seen.extend(chunk[0] for chunk in chunks)
        raise CorpusError("enough")

    monkeypatch.setattr(dataset, "train_bpe", train)
    for enough, expected in ((7 << 22, letters), (3 << 22, "ad"), (1 << 20, "a")):
        monkeypatch.setattr(dataset, "MAX_TRAIN_CHARS", enough)
        with pytest.raises(CorpusError, match="enough"):
            dataset.tokenize_to_disk(source, tmp_path, bpe_size=300)
        assert "".join(seen) == expected
        seen.clear()


def test_train_with_bpe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from inkhorn.cli.main import main

    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "text.txt").write_text(TEXT * 4, encoding="utf-8")
    run = ["train", "test", "--out", str(tmp_path / "run")]
    more = ["--text", str(tmp_path / "text.txt"), "--tokenizer", "bpe", "--vocab-size", "290", "--steps", "10"]
    assert main([*run, *more]) == 0
    assert main([*run, "--resume", "--steps", "12"]) == 0
    with Engine.from_pretrained(tmp_path / "run") as engine:
        assert engine.config.vocab_size == 290
        assert engine.submit("the cat", SamplingParams(seed=1, max_tokens=20)).result().num_tokens
    assert main(["train", "test", "--out", str(tmp_path / "other"), "--tokenizer", "nothing"]) == 2
    assert main(["train", "test", "--out", str(tmp_path / "other"), *more, "--init-from", "shakespeare"]) == 2


@pytest.fixture
def openai_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if not (DATA / "gpt2-bpe").is_dir():
        pytest.skip("test data missing: set INKHORN_TEST_DATA to the folder with OpenAI's tokenizer files")
    (tmp_path / "vocabularies").mkdir()
    for file in [*(DATA / "gpt2-bpe").iterdir(), *(DATA / "gpt1-bpe").iterdir()]:
        shutil.copyfile(file, tmp_path / "vocabularies" / file.name)
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path))
    return DATA


def test_openai_tokenizers_equal_transformers(openai_files: Path) -> None:
    from transformers import GPT2TokenizerFast, OpenAIGPTTokenizerFast

    gpt2, gpt1 = openai_files / "gpt2-bpe", openai_files / "gpt1-bpe"
    theirs = GPT2TokenizerFast(vocab=str(gpt2 / "encoder.json"), merges=str(gpt2 / "vocab.bpe"))
    ours = pretrained_tokenizer("gpt2")
    assert (ours.vocab_size, ours.eos_id) == (50_257, 50_256)
    assert ours.encode(HARD).tolist() == theirs(HARD).input_ids
    theirs = OpenAIGPTTokenizerFast(vocab=str(gpt1 / "encoder_bpe_40000.json"), merges=str(gpt1 / "vocab_40000.bpe"))
    ours = pretrained_tokenizer("openai-gpt")
    assert ours.vocab_size == 40_478
    text = HARD.replace(END_OF_TEXT, "")
    assert ours.encode(text).tolist() == theirs(text).input_ids


def test_tiny_shakespeare_token_count(openai_files: Path) -> None:
    text = (openai_files / "shakespeare" / "tiny.txt").read_text(encoding="utf-8")
    split = int(0.9 * len(text))
    ours = pretrained_tokenizer("gpt2")
    assert [len(ours.encode(part)) for part in (text[:split], text[split:])] == [301_966, 36_059]


def test_download_error_and_unknown_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path))

    def refuse(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no network")

    monkeypatch.setattr("requests.Session.send", refuse)
    with pytest.raises(CorpusError, match="put the file at"):
        pretrained_tokenizer("gpt2")
    with pytest.raises(UsageError, match="did you mean 'gpt2'"):
        pretrained_tokenizer("gpt-2")
