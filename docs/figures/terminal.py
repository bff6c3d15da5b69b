"""Draw docs/terminal.svg: an animated recording of `inkhorn "ROMEO:"` in a terminal.

    python docs/figures/terminal.py [--prompt ROMEO:] [--seed 7] [--words 60] [--seconds 7]

The command runs in a pseudo-terminal, and the time of each piece of output is recorded. Generation takes a fraction of
a second, so it is slowed down by the factor in the caption; only the typing of the command is invented. Each row is
static text under a cover that moves right: without animation, or with reduced motion, the whole text is visible.
"""

import codecs
import html
import os
import re
import shlex
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import tyro

COLUMNS, CHAR_WIDTH, LINE_HEIGHT, MARGIN, TOP, FOOT = 64, 9.9, 25, 28, 62, 44
TYPING_START, KEY, ENTER, PAUSE = 0.8, 0.06, 0.4, 6.0  # seconds
WIDTH = round(2 * MARGIN + COLUMNS * CHAR_WIDTH)
STYLE = """
text { font: 16.5px ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace; white-space: pre; }
.title, .caption { font-family: Georgia,serif; font-size: 15px; text-anchor: middle; } .caption { font-style: italic; }
.edge { fill: none; } .button { fill: none; stroke-width: 1.2; }
text { fill: #25211b; } .title, .caption { fill: #746b5d; } .typed { fill: #9c2f1f; } .paper { fill: #fcfaf5; }
.edge, .rule { stroke: #ddd5c6; } .button { stroke: #746b5d; } .cursor { fill: #25211b; }
@media (prefers-color-scheme: dark) {
text { fill: #e4dccd; } .title, .caption { fill: #a0968a; } .typed { fill: #e58a6c; } .paper { fill: #1a1815; }
.edge, .rule { stroke: #3a352d; } .button { stroke: #a0968a; } .cursor { fill: #e4dccd; }
}
"""

Piece = tuple[float, str]
"""Seconds since the start, and what was written."""


@dataclass
class Args:
    """What to record."""

    prompt: str = "ROMEO:"
    """the prompt"""
    seed: int = 7
    """the random seed"""
    words: int = 60
    """words to generate; the last sentence is completed"""
    seconds: float = 7.0
    """approximate duration of the animation"""
    out: Path = Path(__file__).parents[1] / "terminal.svg"
    """where to write the figure"""


@dataclass
class Row:
    """A row of the screen: its characters, the time each appears, and when the cursor is in it."""

    start: float
    characters: list[str] = field(default_factory=list)
    times: list[float] = field(default_factory=list)
    end: float = 0.0


def record(command: list[str]) -> list[Piece]:
    """Run a command in a pseudo-terminal."""
    import pty  # not on Windows

    start = time.perf_counter()
    child, terminal = pty.fork()
    if child == 0:
        os.execv(command[0], command)
    pieces, decoder = [], codecs.getincrementaldecoder("utf-8")("replace")
    while True:
        try:
            data = os.read(terminal, 4096)
        except OSError:  # Linux raises it at the end of the output
            data = b""
        pieces.append((time.perf_counter() - start, decoder.decode(data)))
        if not data:
            break
    os.close(terminal)
    if os.waitpid(child, 0)[1] != 0:
        raise RuntimeError("the command failed: " + "".join(text for _, text in pieces))
    return pieces


def screen(pieces: Sequence[Piece]) -> list[Row]:
    """The rows that the terminal shows, without colours. Unprintable characters become U+FFFD."""
    rows = [Row(start=pieces[0][0])]
    for now, text in pieces:
        for character in re.sub(r"\r|\x1b\[[0-9;]*[A-Za-z]", "", text):
            if character == "\n" or len(rows[-1].characters) == COLUMNS:
                rows[-1].end = now
                rows.append(Row(start=now))
            if character != "\n":
                rows[-1].characters.append(character if character.isprintable() else "\ufffd")
                rows[-1].times.append(now)
    rows[-1].end = pieces[-1][0]
    return rows if rows[-1].characters else rows[:-1]


def draw(pieces: Sequence[Piece], command: str, seconds: float = 7.0) -> str:
    """The figure as SVG."""
    duration = pieces[-1][0] - pieces[0][0]
    factor = max(1, round(seconds / duration)) if duration > 0 else 1
    keys = [TYPING_START + KEY * i for i in range(len(command))]
    enter = (keys[-1] if keys else 0.0) + ENTER
    first = pieces[0][0]
    rows = [Row(0.0, ["$", " ", *command], [0.0, 0.0, *keys], enter)]
    rows += screen([(enter + first + factor * (now - first), text) for now, text in pieces])
    if len(rows) > 1:
        rows[1].start = enter
    done = rows[-1].end
    rows.append(Row(done, ["$"], [done], done + PAUSE))
    height = TOP + LINE_HEIGHT * len(rows) + FOOT
    text = [_text(row, i) for i, row in enumerate(rows)]
    covers = [_cover(i) for i in range(len(rows))]
    motion = "\n".join(_keyframes(row, i, done + PAUSE) for i, row in enumerate(rows))
    description = html.escape("\n".join("".join(row.characters) for row in rows[:-1]))
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title about">
<title id="title">Inkhorn in a terminal</title>
<desc id="about">{description}</desc>
<style>{STYLE}.cover {{ transform: translateX({COLUMNS * CHAR_WIDTH:g}px); }}
@media (prefers-reduced-motion: no-preference) {{
{motion}
}}</style>
<rect width="{WIDTH}" height="{height}" rx="10" class="paper"/>
<rect x=".5" y=".5" width="{WIDTH - 1}" height="{height - 1}" rx="10" class="edge"/>
<path class="rule" d="M1 {TOP - 24}H{WIDTH - 1}M1 {height - FOOT + 12}H{WIDTH - 1}"/>
{"".join(f'<circle class="button" cx="{24 + 18 * i}" cy="19" r="5"/>' for i in range(3))}
<text x="{WIDTH / 2:g}" y="24" class="title">inkhorn</text>
<text x="{WIDTH / 2:g}" y="{height - 11}" class="caption">recorded; generation slowed down {factor} times</text>
<svg x="{MARGIN}" y="{TOP}" width="{COLUMNS * CHAR_WIDTH:g}" height="{LINE_HEIGHT * len(rows)}">
{"".join(text)}
{"".join(covers)}
</svg>
</svg>
"""


def _text(row: Row, index: int) -> str:
    """A row's text, stretched to its columns in any font."""
    text = "".join(row.characters).rstrip()
    length = f' textLength="{len(text) * CHAR_WIDTH:.1f}" lengthAdjust="spacingAndGlyphs"' if len(text) > 1 else ""
    kind = ' class="typed"' if index == 0 else ""
    return f'<text y="{LINE_HEIGHT * index + 18}"{length}{kind} xml:space="preserve">{html.escape(text)}</text>\n'


def _cover(index: int) -> str:
    """The cover of a row's text that has not appeared yet, with the cursor at its left edge."""
    y = LINE_HEIGHT * index
    paper = f'<rect class="paper" y="{y}" width="{COLUMNS * CHAR_WIDTH:g}" height="{LINE_HEIGHT}"/>'
    cursor = f'<rect class="cursor" id="k{index}" y="{y + 3}" width="{CHAR_WIDTH}" height="{LINE_HEIGHT - 6}"/>'
    return f'<g class="cover" id="c{index}">{paper}{cursor}</g>\n'


def _keyframes(row: Row, index: int, total: float) -> str:
    """The animation of a row's cover, and of its cursor, which is visible while it is in the row."""

    def percent(now: float) -> float:
        return round(100 * now / total, 2)

    edges = {0.0: 0.0} | {percent(now): column * CHAR_WIDTH for column, now in enumerate(row.times, start=1)}
    if row.end < total:
        edges[percent(row.end)] = COLUMNS * CHAR_WIDTH
    steps = "".join(f"{at:g}%{{transform:translateX({edge:g}px)}}" for at, edge in edges.items())
    visible = {0.0: 0, percent(row.start): 1, percent(row.end): 0 if row.end < total else 1}
    cursor = "".join(f"{at:g}%{{opacity:{shown}}}" for at, shown in visible.items())
    timing = f"{total:g}s step-end infinite"
    rules = f"@keyframes c{index}{{{steps}}}#c{index}{{animation:c{index} {timing}}}"
    return rules + f"@keyframes k{index}{{{cursor}}}#k{index}{{animation:k{index} {timing}}}"


def main() -> None:
    """Record and draw."""
    args = tyro.cli(Args, description=__doc__)
    flags = ["--seed", str(args.seed), "--words", str(args.words), "--end-at-sentence"]
    pieces = record([sys.executable, "-m", "inkhorn", args.prompt, *flags])
    command = " ".join(["inkhorn", f'"{args.prompt}"' if args.prompt.isascii() else shlex.quote(args.prompt), *flags])
    args.out.write_text(draw(pieces, command, args.seconds), encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
