"""OpenAI's tokenizers on difficult text, compared with transformers and with a slow reference BPE."""

import json
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import regex  # type: ignore[import-untyped]
from helpers.paths import DATA
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.tokenizer.base import END_OF_TEXT, bytes_to_unicode, split_on_lines
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.pretrained import gpt1_tokenizer, gpt2_tokenizer

GPT2 = (DATA / "gpt2-bpe" / "encoder.json", DATA / "gpt2-bpe" / "vocab.bpe")
GPT1 = (DATA / "gpt1-bpe" / "encoder_bpe_40000.json", DATA / "gpt1-bpe" / "vocab_40000.bpe")
HARD = {
    "emoji": "😀👍🏽👨‍👩‍👧‍👦🏳️‍🌈🇬🇧 ❤️‍🔥 ☃︎ 1️⃣ 🫠",
    "chinese": "天地玄黃，宇宙洪荒。「日月盈昃」 𠮷野家 カタカナ ﾊﾝｶｸ 한국어 띄어쓰기",
    "combining marks": "e\u0301 n\u0303o a\u0308\u0323 Z\u0351\u036b\u0343algo \u0301 \u0301x İstanbul ı ß ŉ ǆ",
    "other scripts": "Ἀχιλλεύς Привет שָׁלוֹם مرحبا बच्चा ภาษาไทย ქართული Ⅷ ५० ٣٤ ¼²³ ½x 1½",
    "tabs": "\tx\t\ty \t z\t\n\t\n  \t",
    "line ends": "a\r\nb\rc\n\r\nd\r\r\n \r\n\x0b\x0c\x85\u2028\u2029e",
    "nuls": "\0a\0\0 b \0\n\0 \x01\x07\x1b[0m\x7f\ufeff\ufffd\ufffe",
    "spaces": "a  b   c\u00a0\u00a0d\u200be\u3000f \u2009 g    \n    h     ",
    "long words": "a" * 9000 + " " + "Donaudampfschifffahrt" * 200 + " " + "0123456789" * 300 + "-" * 3000 + " " * 3000,
    "contractions": "don't DON'T I'll we've o'clock 'tis 's 'S ’s can’t it's'd 're''ve '",
    "mixed": "x86_64 3.14e-10 C++/C# <b>&amp;</b> foo@bar.org https://a.b/c?d=e#f $1,234.56 naïve-façade…—“q”",
    "ends of text": f"a{END_OF_TEXT}b {END_OF_TEXT} {END_OF_TEXT}{END_OF_TEXT}\n<|endoftext| >||endoftext|> <|END",
    "nothing": "",
}
ALPHABET = "aB'sтé\u0301日😀\u200d\ufe0f1½٣ \t\n\r\0\u00a0\u3000-_.,<|>"

pytestmark = pytest.mark.skipif(
    not GPT2[0].is_file(), reason="test data missing: set INKHORN_TEST_DATA to the folder with OpenAI's tokenizer files"
)


def merged(word: list[str], ranks: dict[tuple[str, str], int]) -> list[str]:
    """The symbols of a word after all merges, always merging the pair of lowest rank first."""
    while True:
        pairs = {pair: ranks[pair] for pair in pairwise(word) if pair in ranks}
        if not pairs:
            return word
        first, second = min(pairs, key=pairs.__getitem__)
        made: list[str] = []
        for symbol in word:
            if made and (made[-1], symbol) == (first, second):
                made[-1] = first + second
            else:
                made.append(symbol)
        word = made


@cache
def vocabulary_and_ranks(files: tuple[Path, Path]) -> tuple[dict[str, int], dict[tuple[str, str], int]]:
    """Token ids, and the rank of each pair."""
    vocabulary, merges = files
    pairs = [line.split() for line in merges.read_text(encoding="utf-8").split("\n")[1:] if line]
    return json.loads(vocabulary.read_text(encoding="utf-8")), {(a, b): rank for rank, (a, b) in enumerate(pairs)}


def slow_gpt2(text: str) -> list[int]:
    """Radford et al. 2019: words by a rule, their bytes as symbols, merged; `<|endoftext|>` is one token."""
    ids, ranks = vocabulary_and_ranks(GPT2)
    symbols = bytes_to_unicode()
    rule = regex.compile(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+")
    found: list[int] = []
    for i, part in enumerate(text.split(END_OF_TEXT)):
        if i:
            found.append(ids[END_OF_TEXT])
        for word in rule.findall(part):
            found += [ids[token] for token in merged([symbols[byte] for byte in word.encode()], ranks)]
    return found


def slow_gpt1(text: str) -> list[int]:
    """Radford et al. 2018, of lower-case ASCII: words and single punctuation marks, the last letter with `</w>`."""
    ids, ranks = vocabulary_and_ranks(GPT1)
    found: list[int] = []
    for word in regex.findall(r"[a-z0-9]+|[^\sa-z0-9]", text):
        found += [ids[token] for token in merged([*word[:-1], word[-1] + "</w>"], ranks)]
    return found


@cache
def ours(name: str) -> BPETokenizer:
    return BPETokenizer(gpt2_tokenizer(*GPT2) if name == "gpt2" else gpt1_tokenizer(*GPT1))


@cache
def theirs(name: str) -> object:
    from transformers import GPT2TokenizerFast, OpenAIGPTTokenizer

    vocabulary, merges = map(str, GPT2 if name == "gpt2" else GPT1)
    kind = GPT2TokenizerFast if name == "gpt2" else OpenAIGPTTokenizer
    return kind(vocab=vocabulary, merges=merges)


def their_ids(name: str, text: str) -> list[int]:
    return theirs(name)(text).input_ids  # type: ignore[operator]


@pytest.mark.parametrize("kind", HARD)
def test_difficult_text_matches_references(kind: str) -> None:
    text = HARD[kind]
    assert ours("gpt2").encode(text).tolist() == their_ids("gpt2", text)
    assert ours("gpt2").encode(text).tolist() == slow_gpt2(text)
    assert ours("gpt2").decode(ours("gpt2").encode(text)) == text
    assert ours("openai-gpt").encode(text).tolist() == their_ids("openai-gpt", text)


def test_difficult_texts_in_parts() -> None:
    text = "\n".join(HARD.values()) * 3
    assert ours("gpt2")._splits_on_lines
    assert len(list(split_on_lines(text))) > 2
    for name in ("gpt2", "openai-gpt"):
        assert ours(name).encode(text).tolist() == their_ids(name, text)


@settings(max_examples=300)
@given(st.text(st.sampled_from(ALPHABET), max_size=60))
def test_mixtures_equal_reference(text: str) -> None:
    assert ours("gpt2").encode(text).tolist() == slow_gpt2(text)


@settings(max_examples=300)
@given(st.text(max_size=60))
def test_any_text_equals_transformers(text: str) -> None:
    for name in ("gpt2", "openai-gpt"):
        normalized, _ = ours("gpt2").normalize(text)
        assert ours(name).encode(normalized).tolist() == their_ids(name, normalized)


@settings(max_examples=100)
@given(st.text(st.sampled_from("abcdefghij klmnopq rstuvwxyz 0123 .,!?'-\n"), max_size=200))
def test_gpt1_words_equal_reference(text: str) -> None:
    assert ours("openai-gpt").encode(text).tolist() == slow_gpt1(text)


def test_real_text_matches_references() -> None:
    path = DATA / "eval" / "lambada_test.jsonl"
    if not path.is_file():
        pytest.skip("test data missing: LAMBADA")
    with path.open(encoding="utf-8") as lines:
        passages = [json.loads(line)["text"] for _, line in zip(range(400), lines, strict=False)]
    text = "\n\n".join(passages)
    assert len(text) > 100_000
    assert ours("gpt2").encode(text).tolist() == slow_gpt2(text) == their_ids("gpt2", text)
    assert ours("openai-gpt").encode(text).tolist() == their_ids("openai-gpt", text)
