"""Does the held-out text of a corpus stand in its training text? Every passage that does, longest first.

    python benchmarks/train_test_overlap.py [--corpus shakespeare] [--held-out tiny-shakespeare] [--run 30]

A loss on held-out text means something only if that text was not trained on. Shakespeare repeats proverbs and formulas,
so some passages are his own doing: they are listed with the works that they stand in, for a person to judge. Each is
made of runs of 30 letters that stand in the training text, joined where they overlap; so a long one may be pieced
together from more than one work.

Only letters count, lower-case and without accents, so that editions, punctuation and line breaks make no difference.
Names of speakers do not count either. Each edition spells them its own way (KATHARINA, KATARINA), which would hide that
the same dialogue stands in both; and names before speeches of three words would be runs that agree without saying
anything. What is said before and after a name is then one run: two plays agree if what is spoken in them agrees.
A line is a name if it is the first of a speech, and words that begin with capitals, and a colon.
"""

import re
import sys
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from common import Series, report

from inkhorn.data import shakespeare
from inkhorn.data.corpora import CORPORA, TextCorpus, load_text_corpus
from inkhorn.data.text import from_path
from inkhorn.errors import require
from inkhorn.tokenizer.base import END_OF_TEXT

SPEAKER = re.compile(r"(?:\A|(?<=\n\n))[A-Z][A-Za-z'-]*(?:,? (?:[A-Z][A-Za-z'-]*|and|of|the))*:$", re.M)


@dataclass
class Args:
    corpus: str = "shakespeare"
    """the corpus that is trained on"""
    held_out: str | None = None
    """what must not stand in its training text, if not its own held-out text: that of another corpus, or a file"""
    run: int = 30
    """the fewest letters that count as the same text"""
    fail_above: int | None = None
    """exit with 1 if a passage has more letters than this"""

    def __post_init__(self) -> None:
        require(self.run >= 1, f"run is {self.run}; it must be at least 1")


@dataclass(frozen=True)
class Passage:
    """Held-out text whose every letter is in a run that stands in the training text."""

    text: str  # as printed
    letters: int
    work: str
    found_in: tuple[str, ...]  # training works


def spoken(text: str) -> str:
    """The text with its speakers' names blanked, at the same length."""
    return SPEAKER.sub(lambda name: " " * len(name[0]), text)


def letters(text: str) -> str:
    """The letters a to z of a text, lower-case, without accents."""
    return re.sub("[^a-z]", "", unicodedata.normalize("NFKD", text).lower())


def positions(text: str) -> list[int]:
    """Where in the text each of its letters comes from."""
    return [place for place, character in enumerate(text) for _ in letters(character)]


def merge(starts: Iterable[int], run: int) -> list[range]:
    """Runs that begin at these places, in order; joined where they overlap, not where they only touch."""
    merged: list[range] = []
    for start in starts:
        if merged and start < merged[-1].stop:
            merged[-1] = range(merged[-1].start, start + run)
        else:
            merged.append(range(start, start + run))
    return merged


def passages(held_out: Mapping[str, str], train: Mapping[str, str], run: int) -> list[Passage]:
    """The passages of the held-out works that stand in the training works, longest first.

    Runs are compared as strings, so there is no chance of a hash's collision; and within works, so none is made of the
    end of one and the beginning of the next.
    """
    sought = {text[i : i + run] for text in map(letters, map(spoken, held_out.values())) for i in _starts(text, run)}
    found: dict[str, set[str]] = {}
    for title, work in train.items():
        text = letters(spoken(work))
        for i in _starts(text, run):
            if (piece := text[i : i + run]) in sought:
                found.setdefault(piece, set()).add(title)
    listed = []
    for title, work in held_out.items():
        text, places = letters(spoken(work)), positions(spoken(work))
        for span in merge((i for i in _starts(text, run) if text[i : i + run] in found), run):
            pieces = [text[i : i + run] for i in range(span.start, span.stop - run + 1)]
            titles = set().union(*(found.get(piece, ()) for piece in pieces))
            printed = work[places[span.start] : places[span.stop - 1] + 1]
            listed.append(Passage(printed, len(span), title, tuple(sorted(titles))))
    return sorted(listed, key=lambda passage: -passage.letters)


def _starts(text: str, run: int) -> range:
    return range(len(text) - run + 1)


def works(text: str, name: str, titles: Mapping[str, str]) -> dict[str, str]:
    """The works of a text by their titles, which are known by the text; else by the corpus's name and their number."""
    parts = text.split(END_OF_TEXT)
    numbers = [f" {i}" for i in range(1, len(parts) + 1)] if len(parts) > 1 else [""]
    return {titles.get(part, name + number): part for part, number in zip(parts, numbers, strict=True)}


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    titles: dict[str, str] = {}
    if "shakespeare" in (args.corpus, args.held_out):
        corpus = CORPORA["shakespeare"]
        assert isinstance(corpus, TextCorpus)
        titles = {text: slug for slug, text in shakespeare.works(corpus.download()).items()}
    source = load_text_corpus(args.corpus)
    other = args.held_out or args.corpus
    named = other in CORPORA
    held_out_text = "".join(load_text_corpus(other).val_chunks() if named else from_path(Path(other)).pieces())
    held_out = works(held_out_text, other if named else Path(other).name, titles)
    listed = passages(held_out, works("".join(source.train_chunks()), source.name, titles), args.run)
    for passage in listed:
        print(f"\n{passage.letters} letters of {passage.work}, in {', '.join(passage.found_in)}:")
        print("\n".join(f"    {line}".rstrip() for line in passage.text.split("\n")))
    lengths = [passage.letters for passage in listed]
    n_letters = sum(len(letters(spoken(work))) for work in held_out.values())
    report(
        f"Held-out text of {other} in the training text of {args.corpus}, runs of {args.run} letters",
        [Series("length of the passages", "letters", tuple(lengths))] if lengths else [],
        {
            "passages": len(lengths),
            "held-out letters": n_letters,
            "letters in passages": sum(lengths),
            "share": round(sum(lengths) / max(1, n_letters), 6),
            "longest": max(lengths, default=0),
        },
    )
    if args.fail_above is not None and max(lengths, default=0) > args.fail_above:
        sys.exit(1)


if __name__ == "__main__":
    main()
