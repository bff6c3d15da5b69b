"""Tests of the measures of generated text in `benchmarks/`."""

import importlib
import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data.text import TextSource

sys.path.insert(0, str(ROOT / "benchmarks"))  # the benchmarks are scripts that import one another
measures = importlib.import_module("text_measures")
quality = importlib.import_module("text_quality")
judge = importlib.import_module("judge")

SOUNDS = {
    word: [tuple(form.split()) for form in forms]
    for word, forms in {
        "shall": ["SH AE1 L"],
        "i": ["AY1"],
        "compare": ["K AH0 M P EH1 R"],
        "thee": ["DH IY1"],
        "to": ["T UW1"],
        "a": ["AH0"],
        "summer's": ["S AH1 M ER0 Z"],
        "day": ["D EY1"],
        "be": ["B IY1"],
        "or": ["AO1 R"],
        "not": ["N AA1 T"],
        "that": ["DH AE1 T"],
        "is": ["IH1 Z"],
        "the": ["DH AH0"],
        "question": ["K W EH1 S CH AH0 N"],
        "loved": ["L AH1 V D"],
        "hamlet": ["HH AE1 M L AH0 T"],
    }.items()
}


@pytest.mark.parametrize(
    ("line", "scans"),
    [
        ("Shall I compare thee to a summer's day", True),
        ("To be, or not to be, that is the question", True),  # eleven syllables with a weak end
        ("Compare a summer's day to thee, shall I", True),
        ("Hamlet shall be or not compare to thee", True),  # a trochee at the beginning
        ("Shall I to Hamlet be compare or not a day", False),
        ("To be or not to be that is question a", False),
        ("A summer's day", False),
        ("Shall I compare thee to a zephyr's day", None),
    ],
)
def test_pentameter(line: str, scans: bool | None) -> None:
    assert measures.is_pentameter(line, SOUNDS) is scans


def test_pentameter_share_and_spelling() -> None:
    assert measures.syllable_patterns("lov'd", SOUNDS) == {"?"}
    lines = [
        "Shall I compare thee to a summer's day",
        "To be a day to thee.",
        "and not this",
        "Shall zephyrs be or not",
    ]
    text = "HAMLET:\n" + "\n".join(lines) + "\n"
    assert measures.pentameter_share(text, SOUNDS) == 0.5


@given(st.text("ab", max_size=60), st.text("ab", max_size=60), st.integers(1, 4))
def test_longest_recited(text: str, source: str, anchor: int) -> None:
    parts = (text[i:j] for i in range(len(text)) for j in range(i + 1, len(text) + 1))
    expected = max((len(part) for part in parts if part in source), default=0)
    found = measures.Recitation(source, anchor).longest(text)
    assert found <= expected
    if expected >= 2 * anchor - 1:
        assert found == expected


def test_words_and_casts() -> None:
    assert measures.vocabulary_share("To be or Not to wibble", frozenset({"to", "be", "or", "not"})) == 5 / 6
    known = frozenset(measures.word_ngrams("to be or not to be"))
    assert measures.new_share("To be, or not to die", known) == pytest.approx(1 / 3)
    casts = [frozenset({"HAMLET", "GHOST"}), frozenset({"ROMEO"})]
    scene = "HAMLET:\nHo.\n\nROMEO:\nHo.\n\nGHOST:\nHo.\n\nHAMLET:\nNo.\n"
    assert measures.cast_share(scene, casts) == 0.75
    assert measures.cast_share("no speech", casts) is None


def test_minimal_pairs_differ_in_one_word() -> None:
    for pair in measures.PAIRS:
        right, wrong = pair.right.split(), pair.wrong.split()
        assert len(right) == len(wrong)
        assert sum(a != b for a, b in zip(right, wrong, strict=True)) == 1, pair
    assert len(set(measures.PAIRS)) == len(measures.PAIRS) >= 25


def test_grammar_share_counts_ties_half() -> None:
    pairs = [measures.MinimalPair("a", "b"), measures.MinimalPair("c", "c c"), measures.MinimalPair("ddd", "d")]
    assert measures.grammar_share(lambda text: -float(len(text)), pairs) == pytest.approx((0.5 + 1 + 0) / 3)


def test_auc_tells_texts_apart() -> None:
    dice = random.Random(1)

    def texts(words: str) -> list[str]:
        return [" ".join(dice.choices(words.split(), k=120)) for _ in range(8)]

    one, other = texts("king queen night moon star"), texts("bolt screw nail drill vice")
    assert quality.auc(one, other, folds=2) == 1.0
    assert quality.auc(one, texts("king queen night moon star"), folds=2) < 0.85


@pytest.mark.parametrize("count", [1, 3, 100])
def test_passages(count: int) -> None:
    text = "".join(f"line number {number}\n" for number in range(400)) + "<|endoftext|>The end.\n"
    found = judge.passages(text, 1000, count)
    assert len(found) == min(count, len(text) // 1000)
    for passage in found:
        assert len(passage) == 1000
        assert passage.startswith("line")
        assert "<|endoftext|>" not in passage


@pytest.mark.slow
def test_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    speech = "HAMLET:\nTo be, or not to be, that is the question:\nWhether 'tis nobler in the mind to suffer\n\n"
    source = TextSource(name="shakespeare", pieces=lambda: [speech * 40], val_pieces=lambda: [speech * 60])
    monkeypatch.setattr(quality, "load_text_corpus", lambda name: source)
    monkeypatch.setattr(quality, "pronunciations", lambda: SOUNDS)
    flags = ["--samples", "6", "--n-chars", "500", "--temperatures", "0.8", "--save", str(tmp_path / "samples")]
    monkeypatch.setattr(sys, "argv", ["text_quality.py", *flags])
    quality.main()
    facts: dict[str, Any] = json.loads(capsys.readouterr().out.splitlines()[-1])["facts"]
    means = facts["means"]
    assert means["held-out Shakespeare: words of Shakespeare"] > 0.95  # a passage ends in the middle of a word
    assert means["held-out Shakespeare: longest recited, characters"] == 500
    assert means["held-out Shakespeare: new word 4-grams"] < 0.05
    assert 0 < means["temperature 0.8: words of Shakespeare"] < 1
    assert facts["AUC at temperature 0.8"] > 0.9
    assert 0 <= facts["AUC of the training text"] < 0.9  # the same speech as in the held-out text
    assert 0.5 < facts["minimal pairs"] <= 1
    assert (tmp_path / "samples" / "temperature-0.8.txt").read_text().count("--- seed") == 6
