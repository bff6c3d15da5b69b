"""Tests of `benchmarks/train_test_overlap.py`."""

import importlib
import json
import random
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT
from hypothesis import example, given
from hypothesis import strategies as st

from inkhorn.data.text import TextSource
from inkhorn.tokenizer.base import END_OF_TEXT

sys.path.insert(0, str(ROOT / "benchmarks"))  # the benchmarks are scripts that import one another
overlap = importlib.import_module("train_test_overlap")

WORDS = st.text("ab", max_size=40)  # a small alphabet, so that most short runs occur in both texts
PLAY = "QUILL:\nThe ink is dry;\n\nFIRST CLERK:\nand so am I.\n"


def naive(held_out: str, train: list[str], run: int) -> list[str]:
    """Reference implementation: maximal held-out passages covered by overlapping runs of the training text."""
    found = [i for i in range(len(held_out) - run + 1) if any(held_out[i : i + run] in text for text in train)]
    joined = {i for start in found for i in range(start + 1, start + run)}
    covered = {i for start in found for i in range(start, start + run)}
    cut = ""
    for i, letter in enumerate(held_out):
        cut += (letter if i in joined else "|" + letter) if i in covered else "|"
    return [passage for passage in cut.split("|") if passage]


@given(WORDS, st.lists(WORDS, max_size=3), st.integers(1, 9))
def test_passages_match_naive_search(held_out: str, train: list[str], run: int) -> None:
    works = {f"work {i}": text for i, text in enumerate(train)}
    found = overlap.passages({"held out": held_out}, works, run)
    assert sorted(passage.text for passage in found) == sorted(naive(held_out, train, run))
    for passage in found:
        assert passage.letters == len(passage.text)
        alone = [title for title, text in works.items() if overlap.passages({"": passage.text}, {"": text}, run)]
        assert passage.found_in == tuple(alone)
    assert [p.letters for p in found] == sorted((p.letters for p in found), reverse=True)


@given(WORDS, WORDS, st.integers(2, 6), st.randoms(use_true_random=False))
def test_normalization(held_out: str, train: str, run: int, rng: random.Random) -> None:
    def decorate(text: str) -> str:
        forms = {"a": ["a", "A", "á", "Â"], "b": ["b", "B", "ḅ", "𝐛"]}
        return "".join(rng.choice(["", " ", ",\n", " -- 7"]) + rng.choice(forms[letter]) for letter in text)

    expected = overlap.passages({"": held_out}, {"": train}, run)
    found = overlap.passages({"": decorate(held_out)}, {"": decorate(train)}, run)
    assert [overlap.letters(passage.text) for passage in found] == [passage.text for passage in expected]


@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("Ǆ ﬁ K İ é e\u0301 ß ½ №")
def test_positions_map_letters_to_characters(text: str) -> None:
    letters, positions = overlap.letters(text), overlap.positions(text)
    assert all("a" <= letter <= "z" for letter in letters)
    assert len(letters) == len(positions)
    assert all(letter in overlap.letters(text[i]) for letter, i in zip(letters, positions, strict=True))
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("starts", "spans"),
    [
        ([], []),
        ([4], [(4, 7)]),
        ([0, 1, 2], [(0, 5)]),
        ([0, 2], [(0, 5)]),
        ([0, 3], [(0, 3), (3, 6)]),  # adjacent, not overlapping
        ([0, 1, 9, 10, 20], [(0, 4), (9, 13), (20, 23)]),
    ],
)
def test_merge_joins_overlapping_runs(starts: list[int], spans: list[tuple[int, int]]) -> None:
    assert overlap.merge(starts, 3) == [range(*span) for span in spans]


def test_only_speaker_names_are_blanked() -> None:
    assert overlap.spoken(PLAY) == "      \nThe ink is dry;\n\n            \nand so am I.\n"
    for name in ("PAGE, SHALLOW AND SLENDER", "First and Second Servant", "MOTH", "Serving-man", "A CLERK"):
        assert not overlap.letters(overlap.spoken(f"{name}:\n"))
    for line in (
        "Thus cavils she with every thing she sees:\n",
        "QUILL: a word\n",
        "QUILL.\n",
        "Say\nBut:\n",
        "Say:-\n",
    ):
        assert overlap.spoken(line) == line


def test_passage_across_speaker_names() -> None:
    other = "The Clerk:\n'The inke' is -- No.\n\nQuill:\nThe INK is\ndry: And so, am I\n"
    (passage,) = overlap.passages({"desk": "Well.\n\n" + PLAY}, {"tale": "A tale.\n", "page": other}, 10)
    assert passage == overlap.Passage("The ink is dry;\n\nFIRST CLERK:\nand so am I", 19, "desk", ("page",))


def test_runs_do_not_cross_works() -> None:
    assert not overlap.passages({"x": "abcdef"}, overlap.works(f"abc{END_OF_TEXT}def", "y", {}), 4)
    assert not overlap.passages(overlap.works(f"abc{END_OF_TEXT}def", "y", {}), {"x": "abcdef"}, 4)


def test_works_are_named_by_title_or_number() -> None:
    assert overlap.works("a", "mine", {}) == {"mine": "a"}
    assert overlap.works(f"a{END_OF_TEXT}b", "mine", {"b": "hamlet"}) == {"mine 1": "a", "hamlet": "b"}


@pytest.mark.parametrize(("most", "code"), [(None, 0), (19, 0), (18, 1)])
def test_report_and_exit_code(
    most: int | None,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(PLAY + "\nQUILL:\nBut what is this?\n", encoding="utf-8")
    source = TextSource(name="tiny-shakespeare", pieces=lambda: [PLAY], val_pieces=lambda: ["Nothing of it.\n"])
    monkeypatch.setattr(overlap, "load_text_corpus", lambda name: source)
    flags = ["--corpus", "tiny-shakespeare", "--run", "12", *(["--fail-above", str(most)] if most else [])]

    def report(*more: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["overlap.py", *flags, *more])
        try:
            overlap.main()
        except SystemExit as ended:
            return int(str(ended.code)), capsys.readouterr().out
        return 0, capsys.readouterr().out

    ended, printed = report("--held-out", str(file))
    assert ended == code
    assert "19 letters of mine.txt, in tiny-shakespeare:\n    The ink is dry;\n\n    FIRST CLERK:\n" in printed
    facts = {"passages": 1, "held-out letters": 32, "letters in passages": 19, "share": 0.59375, "longest": 19}
    assert json.loads(printed.splitlines()[-1])["facts"] == facts

    ended, printed = report()
    assert ended == 0
    assert json.loads(printed.splitlines()[-1])["facts"]["passages"] == 0
