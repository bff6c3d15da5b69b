"""The sheet that the figures are drawn on: the house's colours and letters, and text that every reader of SVG can take.

A figure stands in a README as a picture: no script runs in it and nothing is fetched. It has a paper of its own, for
the page around it may be dark when the reader's system is light. Colours are written out for both themes instead of as
CSS variables, which not every viewer knows.
"""

import html
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from string import Template

LIGHT = {
    "paper": "#fcfaf5",
    "leaf": "#f4eee2",  # a surface on the paper
    "ink": "#25211b",
    "pale": "#746b5d",
    "rule": "#ddd5c6",
    "accent": "#9c2f1f",
    "blue": "#3f6486",
}
DARK = {
    "paper": "#1a1815",
    "leaf": "#24211c",
    "ink": "#e4dccd",
    "pale": "#a0968a",
    "rule": "#3a352d",
    "accent": "#e58a6c",
    "blue": "#8db4d6",
}

SERIF = "'Iowan Old Style','Palatino Linotype',Palatino,P052,'Book Antiqua',Charter,Georgia,serif"
MONO = "ui-monospace,'SF Mono',Menlo,Consolas,'DejaVu Sans Mono',monospace"

Point = tuple[float, float]


def visible(text: str) -> str:
    """`text` in characters that XML can hold and an eye can see; the line feed stays.

    A model that has hardly learnt writes anything. Control characters become their pictures (␀, ␛); what has none, and
    the invisible marks that turn the direction of writing, become U+FFFD.
    """
    return "".join(character if character == "\n" else _visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    if code < 32:
        return chr(0x2400 + code)
    if code == 127:
        return "\u2421"
    unseen = unicodedata.category(character) in ("Cc", "Cf", "Cs", "Zl", "Zp") or code in (0xFFFE, 0xFFFF)
    return "\ufffd" if unseen else character


def escape(value: object) -> str:
    """`value` as XML text, fit for attributes too."""
    return html.escape(visible(str(value)))


def number(value: float) -> str:
    """A coordinate, as short as a tenth of a pixel needs."""
    return f"{value:.1f}".removesuffix(".0")


def text(x: float, y: float, words: object, kind: str = "") -> str:
    """Words at a place, of the CSS classes `kind`."""
    return phrase(x, y, [(words, "")], kind)


def phrase(x: float, y: float, parts: Iterable[tuple[object, str]], kind: str = "") -> str:
    """Words at a place whose parts have CSS classes of their own."""
    inner = "".join(
        f'<tspan class="{look}">{escape(words)}</tspan>' if look else escape(words) for words, look in parts
    )
    return f'<text x="{number(x)}" y="{number(y)}"{_of(kind)}>{inner}</text>'


def box(x: float, y: float, width: float, height: float, kind: str = "", radius: float = 4) -> str:
    """A rectangle with round corners."""
    place = " ".join(
        f'{name}="{number(value)}"' for name, value in (("x", x), ("y", y), ("width", width), ("height", height))
    )
    return f'<rect {place} rx="{number(radius)}"{_of(kind)}/>'


def path(d: str, kind: str = "") -> str:
    """A path."""
    return f'<path d="{d}"{_of(kind)}/>'


def way(points: list[Point], radius: float = 8) -> str:
    """The path data of a line through points, its corners rounded."""
    d = f"M{number(points[0][0])} {number(points[0][1])}"
    for before, corner, after in zip(points, points[1:], points[2:], strict=False):
        near, far = _towards(corner, before, radius), _towards(corner, after, radius)
        d += "L{} {}Q{} {} {} {}".format(*(number(value) for point in (near, corner, far) for value in point))
    return d + f"L{number(points[-1][0])} {number(points[-1][1])}"


def arrow(points: list[Point], kind: str, size: float = 5) -> str:
    """A line through points with a head at its end; the head has the class `head` beside the line's own."""
    tip, base = points[-1], _towards(points[-1], points[-2], 1.7 * size)
    across = ((tip[1] - base[1]) / 1.7, (base[0] - tip[0]) / 1.7)  # at right angles to the line, `size` long
    corners = [(base[0] + side * across[0], base[1] + side * across[1]) for side in (0.75, -0.75)]
    head = "M{} {}L{} {} {} {}Z".format(*(number(value) for point in (tip, *corners) for value in point))
    return path(way([*points[:-1], base]), kind) + path(head, f"{kind} head")


def _towards(start: Point, end: Point, distance: float) -> Point:
    """The point `distance` from `start` on the way to `end`, half the way at most."""
    dx, dy = end[0] - start[0], end[1] - start[1]
    length = (dx * dx + dy * dy) ** 0.5
    share = min(distance / length, 0.5) if length else 0.0
    return start[0] + share * dx, start[1] + share * dy


def _of(kind: str) -> str:
    return f' class="{kind}"' if kind else ""


def style(rules: str, colours: str) -> str:
    """A style sheet of `rules` for both themes and `colours`, in which `$ink` is the theme's ink, and so on."""
    light, dark = (Template(colours).substitute(theme).strip() for theme in (LIGHT, DARK))
    return f"{rules.strip()}\n{light}\n@media (prefers-color-scheme: dark) {{\n{dark}\n}}"


def sheet(width: int, height: int, title: str, about: str, look: str, parts: Iterable[str]) -> str:
    """A whole SVG file."""
    body = "\n".join(parts)
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    return f"""<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title about">
<title id="title">{escape(title)}</title>
<desc id="about">{escape(about)}</desc>
<style>
{look}
</style>
{body}
</svg>
"""


def save(markup: str, out: Path) -> None:
    """Write a figure and say so."""
    out.write_text(markup, encoding="utf-8", newline="\n")
    print(f"{out}: {len(markup.encode()):,} bytes")  # noqa: T201
