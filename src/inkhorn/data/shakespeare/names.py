"""Names of speakers in full, from names.toml.

Persons are in capitals (`KING LEAR`); speakers who are only a trade, a rank or a number are not (`First Citizen`), as
in tiny Shakespeare.
"""

import re
from collections.abc import Mapping
from functools import cache

from inkhorn.data.shakespeare.tables import load_table

_ORDINALS = {"1": "FIRST", "2": "SECOND", "3": "THIRD"}
_PARTICLES = {"AND": "and", "OF": "of"}


@cache
def _roles() -> frozenset[str]:
    return frozenset(load_table("names")["roles"].split())


def full_name(printed: str, names: Mapping[str, str]) -> str:
    """The full name of one or several speakers, printed without the full stop; `names` has a play's abbreviations."""
    name = names.get(printed, printed).upper().replace("&", "AND")
    if number := re.fullmatch(r"([123])\.? (.+)", name):
        name = f"{_ORDINALS[number[1]]} {number[2]}"
    *others, last = re.split(r",? AND |, ", name)
    words = f"{', '.join(others)} AND {last}".split() if others else last.split()
    if all(word in _roles() or word in _PARTICLES for word in words):
        return " ".join(_PARTICLES.get(word, word.capitalize()) for word in words)
    return " ".join(words)
