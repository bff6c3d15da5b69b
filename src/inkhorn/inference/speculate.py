"""Guessing what a text goes on with, from itself: where its last tokens stood before, what followed may follow again.

A guess costs little: the model takes in the last token and the guesses in one go, draws after each of them, and what
was drawn after a guess that turned out wrong is thrown away. The text is the same as without, for the random number of
a token depends on its place only. (Prompt look-up decoding, Saxena 2023; lossless as Leviathan et al. 2022.)
"""

from collections.abc import Sequence

LENGTHS = (16, 8, 4)
"""How many last tokens must have stood before: the longest that did is the best witness."""
TAIL = 8192
"""How much of a long prompt is looked at."""
MOST_PLACES = 65536
"""How many places are remembered at most."""
LONGEST_REST = 256


def standing(guesses: Sequence[int], drawn: Sequence[int]) -> int:
    """How many of the tokens drawn after the last token and after each guess stand: up to the first wrong guess.

    One more than there are, if none could be drawn after the last right guess.
    """
    count = 1
    for guess, token in zip(guesses, drawn, strict=False):
        if guess != token:
            break
        count += 1
    return count


class _Places:
    """Where each run of `length` tokens stood last, and how well guesses from there went."""

    def __init__(self, length: int) -> None:
        self.length = length
        self.after: dict[tuple[int, ...], int] = {}  # the place after the run
        self.size = 2  # how many tokens to guess next time
        self.failures = self.resting = 0

    def note(self, ids: Sequence[int], place: int) -> None:
        if place >= self.length:
            if len(self.after) >= MOST_PLACES:
                self.after.clear()
            self.after[tuple(ids[place - self.length : place])] = place

    def find(self, ids: Sequence[int]) -> int | None:
        """Where the last tokens stood before; None also while guesses from here rest."""
        place = self.after.get(tuple(ids[-self.length :]))
        if place is not None and self.resting:
            self.resting -= 1
            return None
        return place

    def told(self, guessed: int, right: int) -> None:
        """Guess more where all was right; where less than most was, less, and rest twice as long each time."""
        if 4 * right >= 3 * guessed:
            self.failures = 0
            self.size = 2 * guessed if right == guessed else self.size
        else:
            self.failures += 1
            self.resting = min(2**self.failures, LONGEST_REST)
            self.size = max(2, self.size // 2)


def _repeated(ids: Sequence[int], place: int, count: int) -> list[int]:
    """What follows `place`; past the end of the text, itself again."""
    found = list(ids[place : place + count])
    while len(found) < count:
        found += found[: count - len(found)]
    return found


class Lookup:
    """Guesses the tokens of one text, which only grows."""

    def __init__(self) -> None:
        self._places = [_Places(length) for length in LENGTHS]
        self._used = self._places[0]
        self._seen: int | None = None

    def guess(self, ids: Sequence[int], most: int) -> Sequence[int]:
        """At most so many tokens that may follow; often none."""
        first = max(0, len(ids) - TAIL) if self._seen is None else self._seen
        for end in range(first, len(ids)):  # not the end itself, where nothing followed yet
            for places in self._places:
                places.note(ids, end)
        self._seen = len(ids)
        for places in self._places:
            place = places.find(ids)
            if place is not None:
                self._used = places
                return _repeated(ids, place, min(most, places.size))
        return ()

    def told(self, guessed: int, right: int) -> None:
        """How many of the last guesses were right."""
        self._used.told(guessed, right)
