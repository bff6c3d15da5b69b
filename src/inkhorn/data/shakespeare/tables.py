"""The tables of the corpus builder, kept as TOML files beside the code."""

import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

from inkhorn.errors import CorpusError


@cache
def load_table(name: str) -> dict[str, Any]:
    """Read NAME.toml."""
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


def apply_errata(slug: str, text: str) -> str:
    """Correct the printed text of a work by errata.toml; CorpusError if it lacks a passage that has a correction."""
    text = text.replace("{", "[").replace("}", "]")
    for printed, corrected in load_table("errata")["errata"].get(slug, ()):
        if printed not in text:
            raise CorpusError(f"the text of {slug} lacks {printed!r}, which errata.toml corrects: another edition?")
        text = text.replace(printed, corrected)
    misprints: dict[str, str] = load_table("errata")["misprints"]
    return re.sub(rf"\b(?:{'|'.join(misprints)})\b", lambda word: misprints[word[0]], text)
