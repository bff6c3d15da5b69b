"""The text that the chapters learn from."""

import sys
from pathlib import Path

from inkhorn.data.corpora import load_text_corpus
from inkhorn.data.text import from_path
from inkhorn.errors import InkhornError


def read_text() -> str:
    """Tiny Shakespeare, downloaded once, or the text file that is named on the command line of a chapter.

    Without a text the program ends with a message that says how to get one.
    """
    words = [word for word in sys.argv[1:] if not word.startswith("-")]
    named = words[0] if len(sys.argv) == 2 and words else None  # in a notebook sys.argv has flags of its own
    try:
        source = load_text_corpus("tiny-shakespeare") if named is None else from_path(Path(named))
        return "".join(source.pieces())
    except InkhornError as error:
        sys.exit(f"{error}\nThe chapters also take a text file: python CHAPTER.py FILE")
