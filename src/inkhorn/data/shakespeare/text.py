"""Convert a printed play to the format of tiny Shakespeare, and remove the headings of a poem.

tiny Shakespeare has only speeches: the speaker and a colon on a line, the words on the next lines, a blank line before
the next speaker. The list of persons, the headings of acts and scenes and all stage directions are removed; a speech
that a direction interrupts is joined again; line breaks are kept, indentation is not.
"""

import re
from collections.abc import Mapping

from inkhorn.data.shakespeare.names import full_name

# Matches innermost brackets, because they can be nested. A bracket without end is closed by its paragraph.
_DIRECTION = re.compile(r"[ ]*\[[^\[\]]*?(?:\]|(?=\n\n)|\Z)", re.MULTILINE)
_FIRST_HEADING = re.compile(r"^(?:ACT|Act) (?:I|1|FIRST)\b.*$|^(?:THE )?(?:PROLOGUE|INDUCTION)\.?$", re.MULTILINE)
_HEADING = re.compile(r"(?:ACT|Act|SCENE|Scene)\b")
_NON_TEXT = re.compile(r"THE END|SONG\.?|Song\.|THRENOS\.|[@*_ .,;-]+")
_SONG_NUMBER = re.compile(r" {5,}[IVX]+\.?")  # indented, unlike a spoken line `I.`
_POEM_NUMBER = re.compile(r"[IVXLC]+\.?")
# `KING LEAR.`, `2 MURDERER.`, `FIRST and SECOND LORDS.`, with or without the full stop, and perhaps words after it.
_SPEAKER = re.compile(r"((?:[123]\.? |[A-Z]\. )?[A-Z][A-Z',& -]*[A-Z](?:,? and [A-Z][A-Z ]*[A-Z])*)(?:\.(?: (.+))?)?")


def speeches(text: str, names: Mapping[str, str]) -> list[tuple[str, list[str]]]:
    """The speeches of a printed play: (speaker, lines) in order.

    Text between a heading and the first speaker below it describes the scene and is dropped.

    Args:
        text: the play with its title. The first paragraph of a speech starts with the speaker, in capitals or as in
            `names`.
        names: printed name of a speaker, without the full stop -> full name.
    """
    start = _FIRST_HEADING.search(text)
    text = text[start.start() if start else 0 :]
    removed = 1
    while removed:
        text, removed = _DIRECTION.subn("", text)
    found: list[tuple[str, list[str]]] = []
    words: list[str] | None = None  # of the current speaker; None below a heading
    previous, in_heading = "", False
    for printed in text.split("\n"):
        line = clean_line(printed)
        starts_paragraph, previous = not previous, line
        if not line:
            in_heading = False
        elif _NON_TEXT.fullmatch(line) or _SONG_NUMBER.fullmatch(printed):
            previous = ""
        elif starts_paragraph and (speaker := _speaker(line, names)):
            words = [speaker[1]] if speaker[1] else []
            found.append((speaker[0], words))
            in_heading = False
        elif starts_paragraph and _HEADING.match(line):
            in_heading, words = True, None
        elif words is not None and not in_heading:
            words.append(line)
    return [(name, lines) for name, lines in found if lines]


def _speaker(line: str, names: Mapping[str, str]) -> tuple[str, str] | None:
    """The full name and the words on the same line, if the line names a speaker."""
    printed = line.removesuffix(".")
    if printed in names:
        return full_name(printed, names), ""
    match = _SPEAKER.fullmatch(line)
    if match is None or _HEADING.match(line):
        return None
    return full_name(match[1], names), match[2] or ""


def clean_line(line: str) -> str:
    """A line without indentation, double spaces and italics, with single quotes and `--` without spaces."""
    line = re.sub(r"\s+", " ", line.replace('"', "'").replace("_", " ")).strip()
    line = re.sub(r" ?-- ?", "--", line)
    line = re.sub(r" +(?=[,;:.?!])", "", line)
    line = re.sub(r"[,;:]{2,}", lambda match: ";" if ";" in match[0] else match[0][-1], line)
    return re.sub(r"([,;:])(?=[A-Za-z(])", r"\1 ", line)


def clean_play(text: str, names: Mapping[str, str]) -> str:
    """A printed play in the format of tiny Shakespeare, ending with one newline."""
    return "\n\n".join(f"{name}:\n" + "\n".join(lines) for name, lines in speeches(text, names)) + "\n"


def clean_poem(text: str) -> str:
    """A printed poem, or several, without titles and numbers, ending with one newline. Blank lines separate stanzas."""
    _, _, text = text.partition("by William Shakespeare\n")
    lines = [clean_line(line) for line in text.split("\n")]
    lines = [line for line in lines if not line or not (_NON_TEXT.fullmatch(line) or _POEM_NUMBER.fullmatch(line))]
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip("\n") + "\n"
