"""Draw docs/terminal.svg: a recording of a terminal in which the model writes.

    python docs/figures/terminal.py [--seed 7] [--words 60] [--show 'uvx inkhorn "ROMEO:"']

The command is run for real, in a pseudo-terminal, and each piece of what it writes is kept with its time. The start is
played at its own speed; the writing, which is over in half a second, is slowed down as many times as the foot of the
window says. Only the typing of the command is made up.

Each row of text stands still under a cover of the window's colour that moves right in steps, so a reader who wants no
motion, and a viewer that knows no animation, sees the whole text.
"""

import codecs
import os
import re
import shlex
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import tyro
from sheet import MONO, SERIF, box, save, sheet, style, text, visible

COLUMNS, ADVANCE, LINE, SIZE = 64, 9.9, 25, 16.5  # of the window, and a character's width, a row's height, the letters'
MARGIN, TOP, FOOT = 28, 62, 44
START, KEY, ENTER, PAUSE = 0.8, 0.06, 0.4, 6.0  # seconds: before the typing, a key, before Enter, after the end

Piece = tuple[float, str]


@dataclass
class Args:
    """What to record, and how to show it."""

    prompt: str = "ROMEO:"
    """what to begin with"""
    seed: int = 7
    words: int = 60
    """how much to write; the sentence is ended"""
    show: str = ""
    """the command line that the figure shows; without it the prompt and the seed"""
    seconds: float = 7.0
    """about how long the writing should last"""
    out: Path = Path(__file__).parents[1] / "terminal.svg"
    """where to write the figure"""


@dataclass
class Row:
    """A row of the screen.

    Attributes:
        start: when the cursor came to it.
        characters: what stands in it.
        times: when each of them appeared.
        dim: whether it is printed pale.
        end: when the cursor left it.

    """

    start: float
    characters: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    dim: bool = False
    end: float = 0.0


def record(command: list[str]) -> list[Piece]:
    """Run a command in a terminal of its own: what it wrote, each piece with the seconds since the start."""
    import pty  # not on Windows, where a recording cannot be made but this file can be read

    start = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    pieces, decoder, cut = [], codecs.getincrementaldecoder("utf-8")("replace"), ""
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # what Linux says instead of an end of file
            data = b""
        if not data:
            break
        words, cut = halved(cut + decoder.decode(data))
        pieces.append((time.perf_counter() - start, words))
    os.close(terminal)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("the command failed: " + "".join(words for _, words in pieces))
    pieces.append((time.perf_counter() - start, cut))
    return pieces


def halved(words: str) -> tuple[str, str]:
    """What can be shown already, and the beginning of an escape sequence whose end is still to come."""
    cut = re.search(r"\x1b(\[[0-9;]*)?\Z", words)
    return (words[: cut.start()], cut[0]) if cut else (words, "")


def screen(pieces: Sequence[Piece], columns: int = COLUMNS) -> list[Row]:
    """The rows that a terminal shows, long lines broken at its edge; of the colours only pale is kept."""
    rows = [Row(start=pieces[0][0])]
    dim = False

    def new_row(now: float) -> None:
        rows[-1].end = now
        rows.append(Row(start=now))

    for now, words in pieces:
        for token in re.findall(r"\x1b\[[0-9;]*[A-Za-z]|[\s\S]", words):
            if token.startswith("\x1b["):
                dim = {"\x1b[2m": True, "\x1b[0m": False}.get(token, dim)
            elif token == "\n":
                new_row(now)
            elif token != "\r":
                if len(rows[-1].characters) == columns:
                    new_row(now)
                rows[-1].characters.append(visible(token))
                rows[-1].times.append(now)
                rows[-1].dim = dim
    rows[-1].end = pieces[-1][0]
    return rows


def typed(command: str) -> tuple[Row, float]:
    """The row of the command line, key by key, and when Enter is pressed."""
    line = ["$", " ", *visible(command)]
    times = [0.0, 0.0, *(START + KEY * i for i in range(len(command)))]
    enter = times[-1] + ENTER
    return Row(start=0.0, characters=line, times=times, end=enter), enter


def slowed(pieces: Sequence[Piece], factor: float, enter: float) -> list[Piece]:
    """The recording on the figure's clock: the start as it was, from the first writing on `factor` times as long."""
    first = pieces[0][0]
    return [(enter + first + factor * (now - first), words) for now, words in pieces]


def draw(pieces: Sequence[Piece], command: str, made_with: str = "", seconds: float = 7.0) -> str:
    """The whole figure.

    Args:
        pieces: what the terminal received, from `record`.
        command: the command line that is shown.
        made_with: flags that the recording was made with and the shown command was not, from `unlike`.
        seconds: about how long the writing should last.

    """
    writing = pieces[-1][0] - pieces[0][0]
    factor = max(1, round(seconds / writing)) if writing > 0 else 1
    first, enter = typed(command)
    played = slowed(pieces, factor, enter)
    rows = [first, *screen(played)]
    rows[1].start = enter
    while len(rows) > 1 and not rows[-1].characters:
        rows.pop()  # the line feed at the end has opened one more
    done = played[-1][0]
    rows.append(Row(start=done, characters=["$"], times=[done], end=done))
    whole = done + PAUSE
    width, height = round(2 * MARGIN + COLUMNS * ADVANCE), TOP + LINE * len(rows) + FOOT
    caption = f"recorded with {made_with}; " if made_with else "recorded; "
    caption += f"the writing slowed {factor} times" if factor > 1 else "at its own speed"
    parts = [
        box(0, 0, width, height, "paper", 10),
        box(0.5, 0.5, width - 1, height - 1, "edge", 10),
        f'<path class="rule" d="M1 {TOP - 24}H{width - 1}M1 {height - FOOT + 12}H{width - 1}"/>',
        *[f'<circle class="button" cx="{24 + 18 * i}" cy="19" r="5"/>' for i in range(3)],
        text(width / 2, 24, "inkhorn", "middle title"),
        text(width / 2, height - 11, caption, "middle caption"),
        # A nested svg cuts off what leaves it: the covers go out to the right.
        f'<svg x="{MARGIN}" y="{TOP}" width="{COLUMNS * ADVANCE:g}" height="{LINE * len(rows)}">',
        *[line_of(row, index) for index, row in enumerate(rows)],
        *[cover(index) for index in range(len(rows))],
        block("rest", LINE * (len(rows) - 1), 2 * ADVANCE),
        "</svg>",
    ]
    said = "\n".join("".join(row.characters) for row in rows[:-1])
    moving = "\n".join([*(motion(row, index, whole) for index, row in enumerate(rows)), at_rest(done, whole)])
    look = style(RULES, COLOURS) + f"\n@media (prefers-reduced-motion: no-preference) {{\n{moving}\n}}"
    return sheet(width, height, "Inkhorn writing in a terminal", said, look, parts)


def line_of(row: Row, index: int) -> str:
    """A row's text, as wide as so many columns whatever the viewer's font."""
    characters = "".join(row.characters).rstrip()
    if not characters:
        return ""
    kind = "dim" if row.dim else "typed" if index == 0 else ""
    words = text(0, LINE * index + 18, characters, kind)
    if len(characters) == 1:
        return words
    length = f'<text textLength="{len(characters) * ADVANCE:.1f}" lengthAdjust="spacingAndGlyphs" xml:space="preserve"'
    return words.replace("<text", length, 1)


def cover(index: int) -> str:
    """What hides the part of a row that is not yet written, with the cursor at its edge."""
    y = LINE * index
    sheet_of_row = f'<rect class="paper" y="{y}" width="{COLUMNS * ADVANCE:g}" height="{LINE}"/>'
    return f'<g class="cover" id="c{index}">{sheet_of_row}{block(f"k{index}", y)}</g>'


def block(name: str, y: float, x: float = 0.0) -> str:
    """A cursor in the row at `y`."""
    return f'<rect class="cursor" id="{name}" x="{x:g}" y="{y + 3:g}" width="{ADVANCE:g}" height="{LINE - 6}"/>'


def motion(row: Row, index: int, whole: float) -> str:
    """The animation of a row's cover and of its cursor, in percents of the whole."""
    edges = {0.0: 0.0}  # percent: columns that are shown from then on
    for column, now in enumerate(row.times, start=1):
        edges[percent(now, whole)] = column * ADVANCE
    edges[percent(row.end, whole)] = COLUMNS * ADVANCE
    steps = "".join(f"{at:g}%{{transform:translateX({edge:g}px)}}" for at, edge in edges.items())
    start, end = percent(row.start, whole), percent(row.end, whole)
    blink = "".join(f"{at:g}%{{opacity:{seen}}}" for at, seen in {0.0: 0, start: 1, end: 0}.items())
    played = f"{whole:g}s step-end infinite"
    rules = f"@keyframes c{index}{{{steps}}}#c{index}{{animation:c{index} {played}}}"
    return rules + f"@keyframes k{index}{{{blink}}}#k{index}{{animation:k{index} {played}}}"


def at_rest(done: float, whole: float) -> str:
    """The cursor after the last prompt, which blinks."""
    blinks = {0.0: 0} | {percent(done + 0.6 * i, whole): 1 - i % 2 for i in range(int(PAUSE / 0.6))}
    steps = "".join(f"{at:g}%{{opacity:{seen}}}" for at, seen in blinks.items())
    return f"@keyframes rest{{{steps}}}#rest{{animation:rest {whole:g}s step-end infinite}}"


def percent(now: float, whole: float) -> float:
    """A time as a share of the whole, fine enough for a millisecond or two."""
    return round(100 * now / whole, 2)


RULES = f"""
text {{ font: {SIZE}px {MONO}; white-space: pre; }}
.title, .caption {{ font-family: {SERIF}; font-size: 15px; }} .caption {{ font-style: italic; }}
.middle {{ text-anchor: middle; }} .edge {{ fill: none; }} .button {{ fill: none; stroke-width: 1.2; }}
.cover {{ transform: translateX({COLUMNS * ADVANCE:g}px); }}
"""
COLOURS = """
text { fill: $ink; } .title, .caption, .dim { fill: $pale; } .typed { fill: $accent; }
.paper { fill: $paper; } .edge, .rule { stroke: $rule; } .button { stroke: $pale; } .cursor { fill: $ink; }
"""


def unlike(shown: str, flags: Mapping[str, str]) -> str:
    """Those of the recording's flags that the shown command lacks, or has with another value.

    Args:
        shown: a command line.
        flags: names with their values, "" for one that has none.

    """
    words = [part for word in shlex.split(shown) for part in (word.split("=", 1) if word[:2] == "--" else [word])]
    given = dict(pairwise([*words, ""]))  # each word with the one after it; of a flag given twice the later
    return " ".join(
        f"{flag} {value}".strip()
        for flag, value in flags.items()
        if flag not in given or (value and given[flag] != value)
    )


def main() -> None:
    """Record and draw."""
    args = tyro.cli(Args, description=__doc__)
    flags = {"--seed": str(args.seed), "--words": str(args.words), "--end-at-sentence": ""}
    arguments = [part for flag, value in flags.items() for part in (flag, value) if part]
    pieces = record([sys.executable, "-m", "inkhorn", args.prompt, *arguments])
    shown = args.show or f'inkhorn "{args.prompt}" --seed {args.seed}'
    save(draw(pieces, shown, unlike(shown, flags), args.seconds), args.out)


if __name__ == "__main__":
    main()
