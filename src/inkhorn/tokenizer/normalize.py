"""Characters that a vocabulary lacks: found on the text itself, replaced by a stated rule, and reported by name.

A byte-level encoder drops or mangles such characters without a word, so this runs before encoding.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from inkhorn.errors import TokenizerError

UnknownPolicy = Literal["error", "drop", "replace"]

# What a writer without the character would type; the first alternative that the vocabulary has is taken. Accents need
# no entry: Unicode's own decomposition splits é into e and a mark.
_LOOKALIKES = {
    **dict.fromkeys("\u201c\u201d\u201e\u201f\u00ab\u00bb\u2033", ('"', "'")),
    '"': ("'",),
    **dict.fromkeys("\u2018\u2019\u201a\u201b\u2039\u203a\u2032`\u00b4", ("'",)),
    **dict.fromkeys("\u2010\u2011\u2012\u2212\u00ad", ("-",)),
    **dict.fromkeys("\u2013\u2014\u2015", ("--", "-")),
    **dict.fromkeys("({", ("[",)),
    **dict.fromkeys(")}", ("]",)),
    "\u2026": ("...", "."),
    "\t": (" ",),
    "\r": ("\n",),
    "_": (" ",),
    "\u0153": ("oe",),
    "\u0152": ("Oe",),
    "\u00e6": ("ae",),
    "\u00c6": ("Ae",),
    "\u00df": ("ss",),
    "\u00f8": ("o",),
    "\u00d8": ("O",),
    "\u00f0": ("th",),
    "\u00fe": ("th",),
    "&": ("and",),
}


@dataclass(frozen=True)
class UnknownCharacter:
    """One character that the vocabulary lacks, where it first stands, how often, and what was written instead."""

    character: str
    position: int
    count: int
    replacement: str

    def __str__(self) -> str:
        name = unicodedata.name(self.character, "no name")
        often = f" ({self.count} times)" if self.count > 1 else ""
        done = f"replaced by {self.replacement!r}" if self.replacement else "dropped"
        return f"{self.character!a} (U+{ord(self.character):04X} {name}) at character {self.position}{often}: {done}"


def code_points(text: str) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    """The text as an array of Unicode code points; lone surrogates (undecodable input bytes) pass through."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def replace_unknown(
    text: str, is_known: Callable[[str], bool], policy: UnknownPolicy = "replace"
) -> tuple[str, list[UnknownCharacter]]:
    """Make `text` fit a vocabulary.

    Args:
        text: any text.
        is_known: whether the vocabulary has a character.
        policy: `error` refuses the text, `drop` removes unknown characters, `replace` writes what a typist would
            (straight quotes for curly ones, e for é) and drops what has no such form.

    Returns:
        The text in known characters only, and what was done, by first position.

    Raises:
        TokenizerError: the policy is `error` and a character is unknown.

    """
    if policy not in ("error", "drop", "replace"):
        raise TokenizerError(f"what to do with unknown characters must be error, drop or replace, not {policy!r}")
    if all(is_known(character) for character in set(text)):
        return text, []
    codes, first, counts = np.unique(code_points(text), return_index=True, return_counts=True)
    found = []
    for code, position, count in sorted(zip(codes, first, counts, strict=True), key=lambda item: int(item[1])):
        character = chr(code)
        if not is_known(character):
            replacement = _closest_form(character, is_known) if policy == "replace" else ""
            found.append(UnknownCharacter(character, int(position), int(count), replacement))
    if policy == "error":
        few = "; ".join(str(unknown).rpartition(":")[0] for unknown in found[:5])
        more = f"; and {len(found) - 5} more kinds" if len(found) > 5 else ""
        kinds = "a character" if len(found) == 1 else f"{len(found)} kinds of character"
        raise TokenizerError(f"the vocabulary lacks {kinds} in the text: {few}{more}")
    table = {ord(unknown.character): unknown.replacement for unknown in found}
    if table.get(ord("\r")) == "\n":
        text = text.replace("\r\n", "\n")  # one line break, not two
    return text.translate(table), found


def _closest_form(character: str, is_known: Callable[[str], bool]) -> str:
    plain = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    for form in (*_LOOKALIKES.get(character, ()), plain, *_LOOKALIKES.get(plain, ())):
        if form and all(is_known(c) for c in form):
            return form
    return " " if character.isspace() and is_known(" ") else ""
