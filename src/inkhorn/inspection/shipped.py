"""Everything that the package has about the inside of the shipped model, made again from Shakespeare's works.

The head atlas and the means are measured on the held-out plays. The steering vectors are made from the training text.
"""

import random
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from inkhorn.data.shakespeare.held_out import TEST_PLAYS, hold_out

HELD_OUT = "The Taming of the Shrew"
"""The held-out text of the atlas: its first tokens are from this play."""
STEERING_TOKENS = 32_768
"""Tokens of each text of a steering vector: tragedies and comedies differ less than two scenes of either do."""
_SEED = 1

_COMEDIES = frozenset(
    {
        "the-two-gentlemen-of-verona",
        "the-merry-wives-of-windsor",
        "measure-for-measure",
        "the-comedy-of-errors",
        "much-ado-about-nothing",
        "loves-labours-lost",
        "a-midsummer-nights-dream",
        "the-merchant-of-venice",
        "as-you-like-it",
        "alls-well-that-ends-well",
        "twelfth-night",
        "the-winters-tale",
    }
)
_TRAGEDIES = frozenset(
    {
        "troilus-and-cressida",
        "coriolanus",
        "titus-andronicus",
        "romeo-and-juliet",
        "timon-of-athens",
        "julius-caesar",
        "macbeth",
        "hamlet",
        "king-lear",
        "othello",
        "antony-and-cleopatra",
    }
)
_KING = re.compile("KING|KING [A-Z ]+|FRENCH KING")
_CLOWN = re.compile(
    "(First |Second )?Clown|Fool|TOUCHSTONE|COSTARD|LAUNCE|LAUNCELOT|SPEED|DROMIO OF (SYRACUSE|EPHESUS)|POMPEY"
)


@dataclass(frozen=True)
class Speech:
    """One speech of a play."""

    play: str
    speaker: str
    words: str

    @property
    def capital_share(self) -> float | None:
        """Share of the lines after the first one that begin with a capital letter; None with fewer than two."""
        lines = self.words.split("\n")[1:]
        return sum(line.lstrip("'(-")[:1].isupper() for line in lines) / len(lines) if len(lines) > 1 else None


def _is_verse(speech: Speech) -> bool:
    return speech.capital_share == 1


def _is_prose(speech: Speech) -> bool:
    return speech.capital_share is not None and speech.capital_share <= 0.3


CONTRASTS: Mapping[str, tuple[str, Callable[[Speech], bool], str, Callable[[Speech], bool]]] = {
    "verse": ("verse", _is_verse, "prose", _is_prose),
    "tragedy": (
        "tragedy",
        lambda speech: speech.play in _TRAGEDIES,
        "comedy",
        lambda speech: speech.play in _COMEDIES,
    ),
    "king": (
        "a king",
        lambda speech: _KING.fullmatch(speech.speaker) is not None,
        "a clown",
        lambda speech: _CLOWN.fullmatch(speech.speaker) is not None,
    ),
}
"""The steering vectors: what they steer towards, and away from, with the speeches of each kind."""


def held_out_text(works: Mapping[str, str]) -> str:
    """The text that the atlas is measured on."""
    return "\n".join(hold_out(works, TEST_PLAYS)[1].values())


def contrast_texts(works: Mapping[str, str], name: str) -> tuple[str, str]:
    """The speeches of both kinds of a contrast in the training text, each in a random order that is always the same."""
    speeches = list(_speeches(hold_out(works, TEST_PLAYS)[0]))
    _, is_positive, _, is_negative = CONTRASTS[name]
    return _joined(filter(is_positive, speeches)), _joined(filter(is_negative, speeches))


def _speeches(works: Mapping[str, str]) -> Iterable[Speech]:
    for play, text in works.items():
        for part in text.split("\n\n"):
            speaker, colon, words = part.partition(":\n")
            if colon and "\n" not in speaker:
                yield Speech(play, speaker.strip(), words.strip("\n"))


def _joined(speeches: Iterable[Speech]) -> str:
    ordered = list(speeches)
    random.Random(_SEED).shuffle(ordered)
    return "".join(f"{each.speaker}:\n{each.words}\n\n" for each in ordered)
