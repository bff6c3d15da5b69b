"""Texts of Shakespeare that are held out of training, for the final score and for choices."""

from collections.abc import Mapping

from inkhorn.errors import CorpusError

Part = tuple[str | None, str | None]
"""Where a held-out part of a work begins and ends (the text that follows it); None: with the work."""

_WHOLE: Part = (None, None)

TEST_PLAYS: Mapping[str, Part] = {"the-taming-of-the-shrew": _WHOLE, "the-tempest": _WHOLE}
"""Scored by the final model only."""

DEVELOPMENT_PLAYS: Mapping[str, Part] = {"twelfth-night": _WHOLE, "antony-and-cleopatra": _WHOLE}
"""For choices between recipes; part of the training text of the final model."""

PASSAGES: Mapping[str, Part] = {
    "king-lear": ("EDMUND:\nSave thee, Curan.", None),
    "loves-labours-lost": _WHOLE,
    "macbeth": (None, "LADY MACBETH:\n'They met me in the day of success"),
}
"""The test text of sup-computer's Shakespeare models: King Lear from Act II on, Love's Labour's Lost, and Macbeth up to
the end of I.4."""

POEM: Mapping[str, Part] = {"a-lovers-complaint": _WHOLE}
"""A short text to watch the final run by, so that it needs none of the plays above."""


def hold_out(works: Mapping[str, str], parts: Mapping[str, Part]) -> tuple[dict[str, str], dict[str, str]]:
    """Split works into the texts that are left and those that are held out, both by slug.

    Args:
        works: texts by slug.
        parts: what to hold out.
    """
    kept, held = dict(works), dict[str, str]()
    for slug, (start, end) in parts.items():
        text = kept.pop(slug)
        first, last = _find(slug, text, start, 0), _find(slug, text, end, len(text))
        held[slug] = text[first:last]
        if rest := text[:first] + text[last:]:
            kept[slug] = rest
    return kept, held


def _find(slug: str, text: str, passage: str | None, default: int) -> int:
    if passage is None:
        return default
    at = text.find(passage)
    if at < 0:
        raise CorpusError(f"the text of {slug} lacks {passage!r}, where a held-out passage begins or ends")
    return at
