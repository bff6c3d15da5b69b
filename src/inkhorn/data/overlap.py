"""Passages of one text that also occur in another, found by comparing letters, and their removal.

A held-out loss means something only if the model was not trained on the text. Only letters are compared, in lower case
and without accents, so editions, punctuation and line breaks do not matter. Speaker names are ignored: editions spell
them differently (KATHARINA, KATARINA), which would hide shared dialogue, and names around very short speeches would
match by chance. A run may therefore span a name. A speaker name is the first line of a speech if it consists of
capitalized words and a colon.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

SPEAKER = re.compile(r"(?:\A|(?<=\n\n))[A-Z][A-Za-z'-]*(?:,? (?:[A-Z][A-Za-z'-]*|and|of|the))*:$", re.M)

_NOT_LETTERS = re.compile("[^a-z]+")
_STEP = 8  # letters between the positions that a search looks up
_GAP = 400  # letters: shared passages that are closer belong to one scene in two editions
_MAX_PARAGRAPH = 2000  # characters; of a longer paragraph only the shared lines are removed


@dataclass(frozen=True)
class Passage:
    """A passage of one text, covered by overlapping runs of others."""

    text: str  # in the original spelling
    letters: int
    work: str
    found_in: tuple[str, ...]  # titles of the others


def spoken(text: str) -> str:
    """Replace speaker names with spaces, keeping the length."""
    return SPEAKER.sub(lambda name: " " * len(name[0]), text)


def letters(text: str) -> str:
    """The letters a to z of a text, in lower case, without accents."""
    return _NOT_LETTERS.sub("", unicodedata.normalize("NFKD", text).lower())


def positions(text: str) -> list[int]:
    """The character index of each letter of `letters(text)`."""
    if text.isascii():
        return [match.start() for match in re.finditer("[a-zA-Z]", text)]
    return [index for index, character in enumerate(text) for _ in letters(character)]


def merge(starts: Iterable[int], run: int) -> list[range]:
    """Merge overlapping runs of a fixed length, given sorted start indices; adjacent runs stay separate."""
    merged: list[range] = []
    for start in starts:
        if merged and start < merged[-1].stop:
            merged[-1] = range(merged[-1].start, start + run)
        else:
            merged.append(range(start, start + run))
    return merged


def passages(held_out: Mapping[str, str], train: Mapping[str, str], run: int) -> list[Passage]:
    """Return the passages of the held-out works that occur in the training works, longest first.

    Runs are compared as strings, which rules out hash collisions, and never span two works.
    """
    index = RunIndex(held_out, run)
    found: dict[str, set[str]] = {}
    for title, work in train.items():
        text = letters(spoken(work))
        for i in index.matches(text):
            found.setdefault(text[i : i + run], set()).add(title)
    listed = []
    for title, work in held_out.items():
        text, indices = letters(spoken(work)), positions(spoken(work))
        for span in merge((i for i in _starts(text, run) if text[i : i + run] in found), run):
            pieces = [text[i : i + run] for i in range(span.start, span.stop - run + 1)]
            titles = set().union(*(found.get(piece, ()) for piece in pieces))
            printed = work[indices[span.start] : indices[span.stop - 1] + 1]
            listed.append(Passage(printed, len(span), title, tuple(sorted(titles))))
    return sorted(listed, key=lambda passage: -passage.letters)


class RunIndex:
    """All runs of letters of some works, to be searched for in other texts.

    Args:
        works: texts by title.
        run: length of a run in letters.
    """

    def __init__(self, works: Mapping[str, str], run: int) -> None:
        self.run, self.titles = run, dict[str, set[str]]()
        # A run that starts anywhere contains a shorter piece that starts at a multiple of the step.
        self._step = min(_STEP, run)
        self._piece = run - self._step + 1
        self._pieces = set[str]()
        for title, work in works.items():
            text = letters(spoken(work))
            for i in _starts(text, run):
                self.titles.setdefault(text[i : i + run], set()).add(title)
            self._pieces.update(text[i : i + self._piece] for i in _starts(text, self._piece))

    def matches(self, text: str) -> Iterator[int]:
        """The starts of all runs in a text of letters that the works have, in order."""
        last = len(text) - self.run
        for at in range(0, len(text) - self._piece + 1, self._step):
            if text[at : at + self._piece] in self._pieces:
                for i in range(max(0, at - self._step + 1), min(at, last) + 1):
                    if text[i : i + self.run] in self.titles:
                        yield i


def remove_shared(text: str, index: RunIndex, title: str) -> tuple[str, list[Passage]]:
    """Remove what a text shares with the works of an index; returns the rest and the removed passages in order.

    Whole paragraphs are removed, so that no scraps are left. Passages with few letters between them are removed as
    one: editions of the same scene differ in single words.
    """
    blanked = spoken(text)
    stripped = letters(blanked)
    starts = list(index.matches(stripped))
    if not starts:
        return text, []
    indices = positions(blanked)
    spans = merge(starts, index.run)
    joined = [spans[0]]
    for span in spans[1:]:
        if span.start - joined[-1].stop < _GAP:
            joined[-1] = range(joined[-1].start, span.stop)
        else:
            joined.append(span)
    removed, kept, done = [], [], 0
    for span in joined:
        first, last = _whole_paragraphs(text, indices[span.start], indices[span.stop - 1] + 1)
        first = max(first, done)
        found = {work for i in starts if i in span for work in index.titles[stripped[i : i + index.run]]}
        removed.append(Passage(text[first:last], len(span), title, tuple(sorted(found))))
        kept.append(text[done:first])
        done = last
    return "".join([*kept, text[done:]]), [passage for passage in removed if passage.text]


def _whole_paragraphs(text: str, first: int, last: int) -> tuple[int, int]:
    """The range extended to whole paragraphs, and the blank line after them; to whole lines in a long paragraph."""
    start, end = text.rfind("\n\n", 0, first), text.find("\n\n", last)
    start, end = (0 if start < 0 else start + 2), (len(text) if end < 0 else end + 2)
    if first - start > _MAX_PARAGRAPH:
        start = text.rfind("\n", 0, first) + 1
    if end - last > _MAX_PARAGRAPH:
        line = text.find("\n", last)
        end = len(text) if line < 0 else line + 1
    return start, end


def _starts(text: str, run: int) -> range:
    return range(len(text) - run + 1)
