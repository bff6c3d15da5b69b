"""Replace characters outside the vocabulary, and report them.

Byte-level encoders drop or garble such characters silently, so this runs before encoding.
"""

import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from inkhorn.errors import TokenizerError

UnknownPolicy = Literal["error", "drop", "replace"]

# Replacements as a person would type them; the first one in the vocabulary is used. Accents need no entry: Unicode's
# decomposition splits é into e and a combining mark.
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
    **{pair[0]: (pair[1:],) for pair in ("œoe", "ŒOe", "æae", "ÆAe", "ßss", "øo", "ØO", "ðth", "þth", "&and")},
}


@dataclass(frozen=True)
class UnknownCharacter:
    """A character outside the vocabulary: its first position, its count, and its replacement (empty if dropped)."""

    character: str
    position: int
    count: int
    replacement: str

    def __str__(self) -> str:
        name = unicodedata.name(self.character, "no name")
        times = f" ({self.count} times)" if self.count > 1 else ""
        action = f"replaced by {self.replacement!r}" if self.replacement else "dropped"
        return f"{self.character!a} (U+{ord(self.character):04X} {name}) at character {self.position}{times}: {action}"


def code_points(text: str) -> "np.ndarray[tuple[int], np.dtype[np.uint32]]":
    """The text as an array of Unicode code points; lone surrogates (undecodable input bytes) are kept."""
    return np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32)


def replace_unknown(
    text: str, is_known: Callable[[str], bool], policy: UnknownPolicy = "replace"
) -> tuple[str, list[UnknownCharacter]]:
    """Remove the characters outside a vocabulary from a text.

    Args:
        text: any text.
        is_known: whether the vocabulary has a character.
        policy: `error` refuses the text; `drop` removes unknown characters; `replace` replaces each by its closest
            match (straight quotes for curly ones, e for é), or drops it if there is none.

    Returns:
        The text in known characters, and the unknown ones in order of their first position.

    Raises:
        TokenizerError: the policy is `error` and a character is unknown.
    """
    if policy not in ("error", "drop", "replace"):
        raise TokenizerError(f"the policy for unknown characters must be error, drop or replace, not {policy!r}")
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
        more = f"; and {len(found) - 5} more" if len(found) > 5 else ""
        kinds = "a character" if len(found) == 1 else f"{len(found)} different characters"
        raise TokenizerError(f"the vocabulary lacks {kinds} in the text: {few}{more}")
    table = {ord(unknown.character): unknown.replacement for unknown in found}
    if table.get(ord("\r")) == "\n":
        text = text.replace("\r\n", "\n")  # one line break, not two
    return text.translate(table), found


def _closest_form(character: str, is_known: Callable[[str], bool]) -> str:
    base = "".join(c for c in unicodedata.normalize("NFKD", character) if not unicodedata.combining(c))
    for form in (*_LOOKALIKES.get(character, ()), base, *_LOOKALIKES.get(base, ())):
        if form and all(is_known(c) for c in form):
            return form
    return " " if character.isspace() and is_known(" ") else ""
