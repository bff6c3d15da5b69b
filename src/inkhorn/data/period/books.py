"""Books in one file, separated by `<|endoftext|>`, each headed by its title and author in Markdown."""

import re
import unicodedata
from collections.abc import Iterator
from pathlib import Path

from inkhorn.data.text_file import read_text
from inkhorn.tokenizer.base import END_OF_TEXT

ARCHAIC_PER_10K = 6.0
"""A book with at least so many of the words below in 10,000 characters is period text."""

_ARCHAIC = re.compile(r"\b(?:thou|thee|hath|doth)\b", re.IGNORECASE)
_HEADER = re.compile(r"\A\s*# Title:.*?^-{5,}\n(?:_[^\n]*_\n)?", re.M | re.S)
_SHAKESPEARE = re.compile(r"^## Author:.*\bShakespeare\b", re.M)
_ASCII = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "“": "'",
        "”": "'",
        '"': "'",
        "—": "--",
        "–": "-",
        "…": "...",
        "\u00a0": " ",
        "æ": "ae",
        "œ": "oe",
    }
    | {"Æ": "Ae", "Œ": "Oe", "ß": "ss", "ø": "o", "Ø": "O", "\t": " "}
)
_SPEAKER = re.compile(r"^\*\*([A-Z][A-Z '&-]+)[.:]?\*\*[ ]*\n(?=\S)", re.M)
_STAGE_DIRECTION = re.compile(r"^_[^_\n]+_$", re.M)
_MARKS = re.compile(r"^[#>]+ *|^ +|[*_\\]+| +$", re.M)


def read_documents(path: Path) -> Iterator[str]:
    """The documents of a file, in order; the file may be compressed. Keeps one document in memory."""
    waiting = ""
    for piece in read_text(path):
        *whole, waiting = (waiting + piece).split(END_OF_TEXT)
        yield from whole
    if waiting.strip():
        yield waiting


def is_by_shakespeare(document: str) -> bool:
    """Whether the header names Shakespeare as the author."""
    header = _HEADER.match(document)
    return header is not None and _SHAKESPEARE.search(header[0]) is not None


def is_period(document: str) -> bool:
    """Whether the text is dense in thou, thee, hath and doth."""
    return len(_ARCHAIC.findall(document)) * 10_000 >= ARCHAIC_PER_10K * max(1, len(document))


def title(document: str) -> str:
    found = re.search(r"^# Title: *(.*?) *$", document, re.M)
    return found[1] if found else document.strip()[:40]


def clean(document: str) -> str:
    """The text of a book in the form of the works: ASCII, no Markdown, no header, speakers as `NAME:`.

    Stage directions between speeches are dropped, as in the works.
    """
    text = to_ascii(_HEADER.sub("", document, count=1))
    text, speeches = _SPEAKER.subn(r"\1:\n", text)
    if speeches:
        text = _STAGE_DIRECTION.sub("", text)
    text = re.sub(" {2,}", " ", _MARKS.sub("", text))
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n") + "\n"


def to_ascii(text: str) -> str:
    """Plain quotes and dashes, letters without accents; what is left outside ASCII is dropped."""
    text = unicodedata.normalize("NFKD", text.translate(_ASCII))
    return text.encode("ascii", "ignore").decode()
