"""The sheet that a report is set on: figures, tables, samples and their style, all in one HTML file.

Everything here is given plain values and knows nothing of training.
"""

import html
import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from inkhorn.training.report.chart import Chart, svg

# What HTML cannot hold, and a model may well write: control characters (line feed and tab stay), halves of pairs.
_UNPRINTABLE = dict.fromkeys((*range(9), *range(11, 32), *range(127, 160), *range(0xD800, 0xE000)), "\ufffd")

NO_VALUE = "–"


def said(number: float, form: Callable[[float], str]) -> str:
    """A number in words; a dash for nan, which was not measured."""
    return NO_VALUE if math.isnan(number) else form(number)


def duration(seconds: float) -> str:
    """A time in the one or two units that matter."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes, hours = round(seconds / 60), round(seconds / 3600)
    if minutes < 100:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if hours < 48 else f"{hours // 24} d {hours % 24} h"


def escape(value: object) -> str:
    """`value` as HTML text, fit for attributes too."""
    return html.escape(str(value).translate(_UNPRINTABLE))


def figure(chart: Chart, caption: str = "", small: bool = False) -> str:
    """A chart with its caption; a small one is meant to stand beside another.

    A large one is drawn for a desk and for a phone: text in a picture that shrinks with the screen cannot be read.
    """
    if small:
        pictures = svg(chart, 340, 180, "both")
    else:
        pictures = svg(chart, 684, 400, "desk") + svg(chart, 350, 320, "phone")
    words = f"<figcaption>{escape(caption)}</figcaption>" if caption else ""
    return f"<figure>{pictures}{words}</figure>"


def figures(rows: Iterable[tuple[str, str]]) -> str:
    """The row of headline figures: (value, what it is)."""
    cells = "".join(f"<div><dt>{escape(what)}</dt><dd>{escape(value)}</dd></div>" for value, what in rows)
    return f'<dl class="figures">{cells}</dl>'


def table(caption: str, rows: Mapping[str, Any]) -> str:
    """Names and values, as a configuration has them; empty without any."""
    said = {None: NO_VALUE, True: "yes", False: "no"}
    body = ""
    for name, value in rows.items():
        words = said[value] if value is None or isinstance(value, bool) else value
        words = ", ".join(map(str, words)) if isinstance(words, list) else words
        body += f'<tr><th scope="row">{escape(name)}</th><td>{escape(words)}</td></tr>'
    heading = f"<caption>{escape(caption)}</caption>" if caption else ""
    return f"<table>{heading}<tbody>{body}</tbody></table>" if body else ""


def paragraph(words: str) -> str:
    """Running text."""
    return f"<p>{escape(words)}</p>"


def columns(*parts: str) -> str:
    """Side by side where there is room, else one below the other; empty if all are."""
    body = "".join(f"<div>{part}</div>" for part in parts if part)
    return f'<div class="pair">{body}</div>' if body else ""


def entries(rows: Iterable[tuple[str, str]]) -> str:
    """A list of things that happened: (when, what)."""
    body = "".join(f"<li><b>{escape(when)}</b> {escape(what)}</li>" for when, what in rows)
    return f"<ul>{body}</ul>" if body else ""


def command(lines: Iterable[str]) -> str:
    """What to type into a terminal."""
    return '<pre class="command">' + escape("\n".join(lines)) + "</pre>"


def sample(heading: str, note: str, text: str, is_open: bool) -> str:
    """What the model wrote, line breaks kept, under a heading that opens and closes it."""
    summary = f"<summary><span>{escape(heading)}</span><i>{escape(note)}</i></summary>"
    # HTML drops one line feed after <pre>, so one of ours goes before the text.
    return f"<details{' open' if is_open else ''}>{summary}<pre>\n{escape(text)}</pre></details>"


def section(heading: str, *parts: str) -> str:
    """A section; empty if it has nothing to show."""
    body = "".join(parts)
    return f"<section><h2>{escape(heading)}</h2>{body}</section>" if body else ""


def page(title: str, lede: str, body: str) -> str:
    """The whole file. It asks for nothing from outside, and tells the browser to refuse to."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta http-equiv="Content-Security-Policy" content="{policy}">
<title>{escape(title)} · Inkhorn</title>
<style>{STYLE}</style>
</head>
<body>
<main>
<header>
<p class="kicker">Inkhorn · a training run</p>
<h1>{escape(title)}</h1>
<p class="lede">{escape(lede)}</p>
</header>
{body}
</main>
</body>
</html>
"""


STYLE = """
:root { color-scheme: light dark;
  --paper: #fcfaf5; --ink: #25211b; --pale: #746b5d; --rule: #ddd5c6; --accent: #9c2f1f; --blue: #3f6486; }
@media (prefers-color-scheme: dark) {
  :root { --paper: #1a1815; --ink: #e4dccd; --pale: #a0968a; --rule: #3a352d; --accent: #e58a6c; --blue: #8db4d6; }
}
* { box-sizing: border-box; }
html { background: var(--paper); color: var(--ink); font-size: 18px; text-size-adjust: 100%;
  font-family: "Iowan Old Style", "Palatino Linotype", Palatino, P052, "Book Antiqua", Charter, Georgia, serif; }
body { margin: 0; line-height: 1.5; font-variant-numeric: oldstyle-nums; text-rendering: optimizeLegibility; }
main { max-width: 38rem; margin: 0 auto; padding: 4.5rem 0 6rem; }
header { text-align: center; }
.kicker, dt, summary span, caption { font-variant-caps: all-small-caps; letter-spacing: .06em; }
.kicker { color: var(--accent); margin: 0; letter-spacing: .14em; }
h1 { font-weight: normal; font-size: 2.9rem; line-height: 1.15; margin: .5rem 0 .7rem; }
.lede { font-style: italic; margin: 0 auto; max-width: 30rem; }
h1, .lede { overflow-wrap: anywhere; text-wrap: balance; }
h2 { font-weight: normal; font-style: italic; font-size: 1.45rem; line-height: 1.2; margin: 3.6rem 0 1rem; }
p { margin: 0 0 .8rem; hyphens: auto; }
.figures { display: grid; grid-template-columns: repeat(4, 1fr); gap: 1.4rem 1rem;
  margin: 2.8rem 0 3rem; padding: 1.5rem 0; border: solid var(--rule); border-width: 1px 0; }
.figures div { display: flex; flex-direction: column-reverse; justify-content: flex-end; text-align: center; }
dt { color: var(--pale); font-size: .85rem; line-height: 1.15; text-wrap: balance; }
dd { margin: 0; font-size: 1.65rem; line-height: 1.3; }
figure { margin: 0 0 1.4rem; }
figcaption { color: var(--pale); font-size: .82rem; font-style: italic; line-height: 1.4; margin-top: .6rem; }
.pair { display: grid; grid-template-columns: 1fr 1fr; gap: 0 2rem; }
svg { display: block; width: 100%; height: auto; font-size: 14px; font-variant-numeric: lining-nums; }
svg svg { display: inline; }
svg text { fill: var(--ink); }
svg .name { font-style: italic; }
svg text { paint-order: stroke; stroke: var(--paper); stroke-width: 4px; stroke-linejoin: round; }
svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg text.pale, svg .end, svg .middle { fill: var(--pale); } svg text.accent { fill: var(--accent); }
svg text.end.accent { fill: var(--accent); }
svg path { fill: none; stroke-linejoin: round; }
.phone { display: none; }
path.grid { stroke: var(--rule); } path.axis { stroke: var(--pale); }
path.lead { stroke: var(--accent); stroke-dasharray: 1 3; }
path.faint { stroke: var(--blue); opacity: .35; stroke-width: .8; }
path.training { stroke: var(--blue); stroke-width: 1.6; } path.validation { stroke: var(--accent); stroke-width: 1.6; }
circle { fill: var(--blue); } circle.validation { fill: var(--accent); }
circle.ring { fill: none; stroke: var(--accent); stroke-width: 1.2; }
svg text.training { fill: var(--blue); } svg text.validation { fill: var(--accent); } svg .value { fill: var(--pale); }
details { border-bottom: 1px solid var(--rule); } details:first-of-type { border-top: 1px solid var(--rule); }
summary { display: flex; gap: .8rem; align-items: baseline; padding: .5rem 0; cursor: pointer; list-style: none; }
summary::-webkit-details-marker { display: none; }
summary::before { content: "+"; color: var(--accent); width: .7rem; } details[open] > summary::before { content: "–"; }
summary i { margin-left: auto; color: var(--pale); font-size: .9rem; }
summary:focus-visible { outline: 1px solid var(--accent); outline-offset: 3px; }
pre { font: inherit; white-space: pre-wrap; overflow-wrap: anywhere; tab-size: 4;
  margin: .3rem 0 1.3rem; padding-left: 1.5rem; }
pre.command { font: .82rem/1.6 ui-monospace, "SF Mono", Menlo, Consolas, monospace; padding-left: 0; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; margin-bottom: 1.6rem; break-inside: avoid; }
caption { text-align: left; color: var(--accent); padding-bottom: .3rem; font-size: 1rem; }
th, td { text-align: left; vertical-align: baseline; padding: .16rem 0; line-height: 1.45; }
tr { border-top: 1px solid var(--rule); }
th { font-weight: normal; color: var(--pale); padding-right: 1rem; }
td { text-align: right; font-variant-numeric: lining-nums; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; } li { padding-left: 1.5rem; text-indent: -1.5rem; margin-bottom: .3rem; }
li b { font-weight: normal; color: var(--accent); }
@media (max-width: 720px) { main { padding: 3rem 1.25rem 4rem; } .pair { grid-template-columns: 1fr; } }
@media (max-width: 560px) {
  html { font-size: 17px; } h1 { font-size: 2.2rem; } .figures { grid-template-columns: 1fr 1fr; }
  .desk { display: none; } .phone { display: block; } pre { padding-left: .8rem; }
}
@media print {
  :root { color-scheme: light;
    --paper: #fff; --ink: #000; --pale: #555; --rule: #ccc; --accent: #8a2a1c; --blue: #3f6486; }
  @page { margin: 2cm; } html { font-size: 11pt; } main { padding: 0; max-width: none; } h2 { break-after: avoid; }
  figure, .figures, details { break-inside: avoid; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""
