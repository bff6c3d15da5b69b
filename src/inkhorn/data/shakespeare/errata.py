"""Corrections of the printed texts, from errata.toml."""

import re

from inkhorn.data.shakespeare.tables import load_table
from inkhorn.errors import CorpusError


def apply_errata(slug: str, text: str) -> str:
    """Correct the text of a work; CorpusError if it lacks a passage that has a correction."""
    text = text.replace("{", "[").replace("}", "]")
    for printed, corrected in load_table("errata")["errata"].get(slug, ()):
        if printed not in text:
            raise CorpusError(f"the text of {slug} lacks {printed!r}, which errata.toml corrects: another edition?")
        text = text.replace(printed, corrected)
    misprints: dict[str, str] = load_table("errata")["misprints"]
    return re.sub(rf"\b(?:{'|'.join(misprints)})\b", lambda word: misprints[word[0]], text)
