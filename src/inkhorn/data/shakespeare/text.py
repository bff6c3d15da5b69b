"""A play as its editors print it, turned into tiny Shakespeare's form; and a poem freed of its headings.

tiny Shakespeare is nothing but speeches: the speaker and a colon on a line, the words on the lines below, a blank line
before the next speaker. So the list of persons, the headings of acts and scenes and all stage directions go; a speech
that a direction interrupts becomes one again; line breaks stay, indents go.
"""

import re
from collections.abc import Mapping

from inkhorn.data.shakespeare.names import full_name

# The innermost one, for there are brackets in brackets. One that is never closed ends with its paragraph.
_DIRECTION = re.compile(r"[ ]*\[[^\[\]]*?(?:\]|(?=\n\n)|\Z)", re.MULTILINE)
_FIRST_HEADING = re.compile(r"^(?:ACT|Act) (?:I|1|FIRST)\b.*$|^(?:THE )?(?:PROLOGUE|INDUCTION)\.?$", re.MULTILINE)
_HEADING = re.compile(r"(?:ACT|Act|SCENE|Scene)\b")
_FURNITURE = re.compile(r"THE END|SONG\.?|Song\.|THRENOS\.|[@*_ .,;-]+")
_SONG_NUMBER = re.compile(r" {5,}[IVX]+\.?")  # not a line that says no more than `I.`
_POEM_NUMBER = re.compile(r"[IVXLC]+\.?")
# `KING LEAR.`, `2 MURDERER.`, `FIRST and SECOND LORDS.`, with or without the full stop, and perhaps words after it.
_SPEAKER = re.compile(r"((?:[123]\.? |[A-Z]\. )?[A-Z][A-Z',& -]*[A-Z](?:,? and [A-Z][A-Z ]*[A-Z])*)(?:\.(?: (.+))?)?")


def speeches(text: str, names: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The speeches of a printed play: speaker and lines, in order.

    Args:
        text: the play, from its title on. A speaker stands at the start of a paragraph, in capitals or as in `names`.
        names: how this play prints a speaker, without the full stop -> the name in full.

    Words between a heading and the first speaker below it describe the scene and are dropped.

    """
    start = _FIRST_HEADING.search(text)
    text = text[start.start() if start else 0 :]
    removed = 1
    while removed:
        text, removed = _DIRECTION.subn("", text)
    found: list[tuple[str, list[str]]] = []
    words: list[str] | None = None  # of the present speaker; None below a heading
    above, in_heading = "", False
    for printed in text.split("\n"):
        line = tidy_line(printed)
        fresh, above = not above, line
        if not line:
            in_heading = False
        elif _FURNITURE.fullmatch(line) or _SONG_NUMBER.fullmatch(printed):
            above = ""
        elif fresh and (speaker := _speaker(line, names)):
            words = [speaker[1]] if speaker[1] else []
            found.append((speaker[0], words))
            in_heading = False
        elif fresh and _HEADING.match(line):
            in_heading, words = True, None
        elif words is not None and not in_heading:
            words.append(line)
    return [(name, lines) for name, lines in found if lines]


def _speaker(line: str, names: Mapping[str, str]) -> tuple[str, str] | None:
    """Name in full and the words on the same line, if the line names a speaker."""
    printed = line.removesuffix(".")
    if printed in names:
        return full_name(printed, names), ""
    match = _SPEAKER.fullmatch(line)
    if match is None or _HEADING.match(line):
        return None
    return full_name(match[1], names), match[2] or ""


def tidy_line(line: str) -> str:
    """A line in tiny's typography: no indent, double space or mark of italics; single quotes; `--` without spaces."""
    line = re.sub(r"\s+", " ", line.replace('"', "'").replace("_", " ")).strip()
    line = re.sub(r" ?-- ?", "--", line)
    line = re.sub(r" +(?=[,;:.?!])", "", line)
    line = re.sub(r"[,;:]{2,}", lambda marks: ";" if ";" in marks[0] else marks[0][-1], line)
    return re.sub(r"([,;:])(?=[A-Za-z(])", r"\1 ", line)


def play(text: str, names: Mapping[str, str]) -> str:
    """A printed play in tiny Shakespeare's form, ending with one newline."""
    return "\n\n".join(f"{name}:\n" + "\n".join(lines) for name, lines in speeches(text, names)) + "\n"


def poem(text: str) -> str:
    """A printed poem, or poems, without title and numbers; stanzas stay apart. Ends with one newline."""
    _, _, text = text.partition("by William Shakespeare\n")
    lines = [tidy_line(line) for line in text.split("\n")]
    lines = [line for line in lines if not line or not (_FURNITURE.fullmatch(line) or _POEM_NUMBER.fullmatch(line))]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"
