"""From a training text: is it a play, and with which words do its parts begin? The web page shows them as prompts."""

import re
from collections import Counter
from collections.abc import Sequence

import numpy as np

from inkhorn.checkpoint.card import Layout, Opening, short_label
from inkhorn.data.dataset import Dataset
from inkhorn.tokenizer.base import END_OF_TEXT

NUM_OPENINGS = 4
_WINDOWS, _WINDOW_TOKENS = 64, 600
# A speaker's line, as views/text_view.js recognises it.
_SPEAKER = re.compile(r"[A-Z][A-Za-z',. -]{0,40}:")
_NUMERAL = re.compile("[IVX]+")
_MIN_CHARS, _MAX_CHARS = 8, 28


def describe(dataset: Dataset) -> tuple[Layout, tuple[Opening, ...]]:
    """The layout of the training text, and prompts from it: frequent speakers of a play, or first words of paragraphs.

    Reads 64 samples, evenly spaced. The same text gives the same prompts.
    """
    paragraphs = _paragraphs(dataset)
    speakers = [first for first, *rest in paragraphs if rest and _SPEAKER.fullmatch(first)]
    if speakers and 2 * len(speakers) >= len(paragraphs):
        names = [name for name, _ in Counter(speakers).most_common(NUM_OPENINGS)]
        return "play", tuple(Opening(name, _title(name[:-1])) for name in names)
    texts = [" ".join(lines) if " " in lines[0].strip() else "\n".join(lines) for lines in paragraphs]
    return "plain", tuple(Opening(text, short_label(text)) for text in _spread(_first_words(texts), NUM_OPENINGS))


def _title(name: str) -> str:
    """The name of a speaker in title case, with the number of a king as it is: "King Richard II"."""
    return " ".join(word if _NUMERAL.fullmatch(word) else word.title() for word in name.split(" "))


def _paragraphs(dataset: Dataset) -> list[list[str]]:
    """The lines of each sampled paragraph whose beginning is there; in a text without blank lines each line is one."""
    ids = dataset.train
    starts = np.linspace(0, max(0, len(ids) - _WINDOW_TOKENS), _WINDOWS).astype(int)
    found: list[list[str]] = []
    for start in sorted(set(starts.tolist())):
        text = dataset.tokenizer.decode(ids[start : start + _WINDOW_TOKENS].tolist()).replace(END_OF_TEXT, "\n\n")
        separator = "\n\n" if "\n\n" in text.strip() else "\n"
        parts = text.split(separator)
        found += [part.strip("\n").split("\n") for part in parts[1 if start else 0 :] if part.strip()]
    return found


def _first_words(paragraphs: Sequence[str]) -> list[str]:
    """The first words of paragraphs; of those that begin like a sentence, if there are enough."""
    found = list(dict.fromkeys(filter(None, map(_cut, paragraphs))))
    sentences = [text for text in found if text[0].isupper() and not text.isupper()]
    return sentences if len(sentences) >= NUM_OPENINGS else found


def _cut(paragraph: str) -> str:
    """The first words of a paragraph, together 8 to 28 characters; empty if it is too short."""
    text = paragraph.lstrip(" \ufffd")
    if len(text) <= _MIN_CHARS:
        return ""
    ends = [match.start() for match in re.finditer(r"\s", text[: _MAX_CHARS + 1]) if match.start() >= _MIN_CHARS]
    return text[: ends[-1]].rstrip() if ends else text[:_MAX_CHARS] if len(text) > _MAX_CHARS else ""


def _spread(texts: Sequence[str], count: int) -> list[str]:
    """`count` of some texts, evenly spaced."""
    return [texts[i * len(texts) // count] for i in range(count)] if len(texts) > count else list(texts)
