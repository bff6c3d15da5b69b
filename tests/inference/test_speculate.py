"""Guessing from the text itself, and that a guess never changes a text."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.inference.speculate import LENGTHS, Lookup, standing

TOKENS = st.lists(st.integers(0, 2), max_size=8)


@given(TOKENS, TOKENS, st.booleans())
def test_what_stands_is_drawn_after_right_tokens_only(guesses: list[int], drawn: list[int], fails: bool) -> None:
    drawn = drawn[: len(guesses)] if fails else [*drawn, *[0] * len(guesses)][: len(guesses) + 1]
    count = standing(guesses, drawn)
    assert guesses[: count - 1] == drawn[: count - 1]
    assert 1 <= count <= len(drawn) + 1
    if count <= min(len(guesses), len(drawn)):
        assert guesses[count - 1] != drawn[count - 1]


def test_what_followed_is_guessed() -> None:
    text = [*range(10, 20), 1, 2, 3, 4, 5, 6, 7, *range(30, 40), 1, 2, 3, 4]
    assert list(Lookup().guess(text, 8)) == [5, 6]
    assert list(Lookup().guess(text, 1)) == [5]
    assert list(Lookup().guess([*range(50)], 8)) == []
    assert list(Lookup().guess([1, 2, 3], 8)) == []


def test_the_longest_and_latest_place_is_taken() -> None:
    run = [*range(LENGTHS[1])]
    long_ago = [*run, 70, 71, 99, *run[-4:], 80, 81, 99, *run[-4:], 90, 91, 99]
    assert list(Lookup().guess([*long_ago, *run], 8)) == [70, 71], "eight tokens say more than four"
    assert list(Lookup().guess([*long_ago, 5, *run[-4:]], 8)) == [90, 91], "of equals the last"


def follow(lookup: Lookup, prompt: list[int], text: list[int], most: int = 8) -> tuple[int, int, int]:
    """Write a text that is known; returns calls, tokens guessed and right guesses."""
    ids, calls, guessed, right = list(prompt), 0, 0, 0
    while len(ids) < len(prompt) + len(text):
        rest = text[len(ids) - len(prompt) :]
        guesses = lookup.guess(ids, min(most, len(rest) - 1)) if len(rest) > 1 else ()
        count = standing(guesses, rest[: len(guesses) + 1])
        ids += rest[:count]
        calls += 1
        if guesses:
            guessed, right = guessed + len(guesses), right + count - 1
            lookup.told(len(guesses), count - 1)
    assert ids == [*prompt, *text]
    return calls, guessed, right


@pytest.mark.parametrize("period", [1, 3, 40])
def test_a_text_that_repeats_itself_needs_few_calls(period: int) -> None:
    chance = random.Random(0)
    verse = [chance.randrange(60) for _ in range(period)]
    calls, _, right = follow(Lookup(), verse * 2, verse * (240 // period))
    assert calls < 240 / 5
    assert right > 180


@pytest.mark.parametrize("alphabet", [2, 3, 60])
def test_a_text_that_does_not_is_soon_left_alone(alphabet: int) -> None:
    noise = random.Random(1)
    text = [noise.randrange(alphabet) for _ in range(4000)]
    lookup = Lookup()
    follow(lookup, [0], text[:2000])
    _, guessed, _ = follow(lookup, [0, *text[:2000]], text[2000:])
    assert guessed < 300, "of 2,000 tokens"


def test_a_long_prompt_is_not_read_whole_and_little_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkhorn.inference.speculate.TAIL", 50)
    monkeypatch.setattr("inkhorn.inference.speculate.MOST_PLACES", 60)
    lookup = Lookup()
    assert list(lookup.guess([1, 2, 3, 4, 5, *range(10, 70), 1, 2, 3, 4], 8)) == []
    text = [*range(1000)]
    for end in range(100, 1000, 10):
        lookup.guess(text[:end], 8)
    assert max(len(places.after) for places in lookup._places) <= 60
