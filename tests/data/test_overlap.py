"""Passages that two texts share, by letters, and their removal."""

import random

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from inkhorn.data import overlap

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


def shared(text: str, held_out: str, run: int = 10) -> tuple[str, list[overlap.Passage]]:
    return overlap.remove_shared(text, overlap.RunIndex({"held out": held_out}, run), "mine")


@given(WORDS, st.lists(WORDS, min_size=1, max_size=3), st.integers(1, 20))
def test_matches_equal_naive_search(text: str, held_out: list[str], run: int) -> None:
    index = overlap.RunIndex({str(i): work for i, work in enumerate(held_out)}, run)
    starts = range(len(text) - run + 1)
    assert list(index.matches(text)) == [i for i in starts if any(text[i : i + run] in work for work in held_out)]


@given(st.lists(st.text("ab \n", max_size=30), max_size=6).map("\n\n".join), WORDS, st.integers(3, 9))
def test_nothing_shared_is_left_within_a_paragraph(text: str, held_out: str, run: int) -> None:
    index = overlap.RunIndex({"": held_out}, run)
    rest, removed = overlap.remove_shared(text, index, "")
    for paragraph in rest.split("\n\n"):
        assert not list(index.matches(overlap.letters(overlap.spoken(paragraph))))
    assert sorted(rest + "".join(passage.text for passage in removed)) == sorted(text)


def test_whole_speeches_are_removed() -> None:
    text = "BLOT:\nI come.\n\n" + PLAY + "\nBLOT:\nI go.\n"
    rest, (passage,) = shared(text, "the ink is dry and so am i")
    assert rest == "BLOT:\nI come.\n\nBLOT:\nI go.\n"
    assert (passage.text, passage.letters, passage.work) == (PLAY + "\n", 19, "mine")
    assert passage.found_in == ("held out",)
    assert shared(text, "something else entirely") == (text, [])


def test_scene_of_another_edition_is_removed_whole() -> None:
    scene = "".join(f"QUILL:\nThis is line {word} of it all.\n\n" for word in ("one", "two", "three", "four"))
    other = scene.replace("line two of", "verse deux for").replace("line three", "l. drei")
    text = "PROLOGUE:\nBefore.\n\n" + other + "EPILOGUE:\nAfter.\n"
    rest, (passage,) = shared(text, scene, 14)
    assert rest == "PROLOGUE:\nBefore.\n\nEPILOGUE:\nAfter.\n"
    assert passage.text == other


def test_long_paragraph_loses_only_its_lines() -> None:
    lines = [f"a verse of the poem, which is number {number}\n" for number in range(200)]
    text = "".join([*lines[:100], "Secondly, the clerk swallowed his pen!\n", *lines[100:]])
    rest, (passage,) = shared(text, "the clerk swallowed his pen")
    assert rest == "".join(lines)
    assert passage.text == "Secondly, the clerk swallowed his pen!\n"
