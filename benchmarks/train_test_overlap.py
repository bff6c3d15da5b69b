"""Find passages of the held-out text that also occur in the training text, longest first.

    python benchmarks/train_test_overlap.py [--corpus shakespeare] [--held-out tiny-shakespeare] [--run 30]

A held-out loss is meaningful only if the model was not trained on that text. Shakespeare repeats proverbs and formulas,
so some overlap is legitimate: passages are listed with the training works that contain them, for manual review. A
passage is the union of overlapping 30-letter runs that occur in the training text, so a long one may combine several
works.

`inkhorn.data.overlap` describes the comparison.
"""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import tyro
from common import Series, report

from inkhorn.data import shakespeare
from inkhorn.data.corpora import CORPORA, TextCorpus, load_text_corpus
from inkhorn.data.overlap import letters, passages, spoken
from inkhorn.data.text import from_path
from inkhorn.errors import require
from inkhorn.tokenizer.base import END_OF_TEXT


@dataclass
class Args:
    corpus: str = "shakespeare"
    """the training corpus"""
    held_out: str | None = None
    """another corpus (its held-out text) or a file to check; by default the corpus's own held-out text"""
    run: int = 30
    """minimum length of a match in letters"""
    fail_above: int | None = None
    """exit with status 1 if a passage has more letters than this"""

    def __post_init__(self) -> None:
        require(self.run >= 1, f"run is {self.run}; it must be at least 1")


def works(text: str, name: str, titles: Mapping[str, str]) -> dict[str, str]:
    """Split a text into works, keyed by known titles, else by the corpus name and a number."""
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
