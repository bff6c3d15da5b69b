"""A bound on what a JSON body makes the parser build.

json.loads holds the event loop, and with it every stream: for a body of 4 MiB of empty lists, for seconds.
Its time follows the number of values, not the size, so they are counted first, in NumPy. The largest valid requests,
such as 100,000 token ids or 10,000 messages with parts, stay below the bounds.
"""

import numpy as np
from starlette.exceptions import HTTPException

MAX_VALUES, MAX_CONTAINERS, MAX_MEMBERS, MAX_LITERAL = 250_000, 50_000, 50_000, 400
CHECKED_BYTES = 100_000
"""A smaller body cannot hold enough to matter."""

_BREAKS = np.zeros(256, bool)
_BREAKS[list(b' \t\r\n,:[]{}"')] = True  # what ends a number


def check_json_size(body: bytes) -> None:
    """Raise HTTPException 400 if a JSON text has too many values or too long a number; invalid JSON may pass."""
    if b"\0" in body:  # in UTF-8 no valid text has one; other encodings could hide their quotes
        raise HTTPException(400, "the request body is not JSON in UTF-8")
    data = np.frombuffer(body, np.uint8)
    outside = (np.cumsum(_quotes(body, data), dtype=np.int32) & 1) == 0  # of strings

    def count(characters: bytes) -> int:
        return sum(int(np.count_nonzero(outside & (data == character))) for character in characters)

    breaks = np.flatnonzero(_BREAKS[data] | ~outside)
    literal = int(np.diff(breaks, prepend=-1, append=len(data)).max()) - 1
    for what, found, most in (
        ("values", count(b","), MAX_VALUES),
        ("lists and objects", count(b"[{"), MAX_CONTAINERS),
        ("members of objects", count(b":"), MAX_MEMBERS),
        ("characters in one number", literal, MAX_LITERAL),
    ):
        if found > most:
            raise HTTPException(400, f"the request body has {found:,} {what}; at most {most:,} are accepted")


def _quotes(body: bytes, data: np.ndarray) -> np.ndarray:
    """Where a string begins or ends: quotes that no odd number of backslashes precedes."""
    quotes = data == ord('"')
    if b"\\" in body:
        places = np.flatnonzero(quotes)
        places = places[places > 0]
        other = np.where(data == ord("\\"), np.int32(-1), np.arange(len(data), dtype=np.int32))
        last_other = np.maximum.accumulate(other)[places - 1]  # the last character before it that is no backslash
        quotes[places[(places - 1 - last_other) % 2 == 1]] = False
    return quotes
