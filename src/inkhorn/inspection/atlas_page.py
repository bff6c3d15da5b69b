"""The head atlas as a page: one HTML file without scripts, images or links to other files."""

import base64
import hashlib
from collections.abc import Sequence
from html import escape

from inkhorn.inspection.atlas import Atlas, Example
from inkhorn.inspection.head_scores import BEHAVIOURS

STEPS = 9
"""Shades of a weight or score from 0 to 1."""

STYLE = """
:root { color-scheme: light dark; --background: light-dark(#faf6ec, #14110d); --text: light-dark(#241c13, #eadfcb);
  --muted: light-dark(#6a5d4c, #a89a84); --line: light-dark(#ddd2bd, #3a3228); --heat: light-dark(#dc4a1e, #cc3c1c);
  font: 1rem/1.5 Palatino, Georgia, "Liberation Serif", serif; }
body { margin: 0 auto; max-width: 64rem; padding: 1rem; background: var(--background); color: var(--text); }
h1, h2, h3 { line-height: 1.2; font-weight: normal; }
h3 { font-size: 1rem; margin: 1rem 0 .25rem; }
a { color: inherit; }
.muted, figcaption { color: var(--muted); font-size: .9rem; }
section { border-top: 1px solid var(--line); display: grid; grid-template-columns: auto minmax(0, 1fr);
  gap: 0 2rem; padding-bottom: 1.5rem; }
section > h2, section > p { grid-column: 1 / -1; margin-bottom: 0; }
@media (max-width: 50rem) { section { grid-template-columns: minmax(0, 1fr); } }
.scroll { overflow-x: auto; }
table { border-spacing: 2px; font-size: .8rem; margin-top: 1rem; }
th { font-weight: normal; color: var(--muted); padding: 0 .3rem; }
td { padding: .2rem .35rem; text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 1rem; }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; font: .9rem/1.6 ui-monospace, Menlo, monospace; }
pre b { font-weight: bold; outline: 2px solid var(--text); }
pre u { text-decoration: underline 2px; text-underline-offset: 3px; }
""" + "".join(
    f".w{i} {{ background: color-mix(in srgb, var(--heat) {round(65 * i / STEPS)}%, transparent); }}\n"
    for i in range(1, STEPS + 1)
)

POLICY = f"default-src 'none'; style-src 'sha256-{base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()}'"
"""The content security policy under which the page works."""


def atlas_page(atlas: Atlas, model: str, back: str | None = None) -> str:
    """The page.

    Args:
        atlas: the atlas.
        model: the name of the model.
        back: the address of the page with the model, if there is one beside this.
    """
    link = f'<p><a href="{escape(back)}">Back to the model</a></p>\n' if back else ""
    sections = "".join(_section(atlas, name) for name in BEHAVIOURS)
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">
<title>Head atlas: {escape(model)}</title>
<style>{STYLE}</style>
</head>
<body>
<main>
{link}<h1>What the heads of {escape(model)} look at</h1>
<p>At each token, a head gives this token and all before it a weight; the weights add up to 1. A score is the weight
that the named tokens get together, averaged over the tokens of a text that have such tokens before them. The text is
{escape(atlas.text)}, {atlas.num_tokens:,} tokens.</p>
<p>In the examples the framed token is the one that the head computes for. The stronger the color of a token, the larger
its weight. The tokens that the behaviour names are underlined. ↵ is a line break.</p>
{sections}</main>
</body>
</html>
"""


def _section(atlas: Atlas, name: str) -> str:
    title = escape(BEHAVIOURS[name])
    found = atlas.strongest(name)
    if not found:
        return f'<section id="{name}">\n<h2>Looks at {title}</h2>\n<p>The text has no such tokens.</p>\n</section>\n'
    scores = {(layer, head): score for layer, head, score in found}
    examples = "".join(_figure(each, scores[each.layer, each.head], title) for each in atlas.examples.get(name, ()))
    return f"""<section id="{name}">
<h2>Looks at {title}</h2>
{_heat_map(atlas.scores[name], title)}
<div>
<h3>The strongest heads, with an example</h3>
{examples}</div>
</section>
"""


def _heat_map(rows: Sequence[Sequence[float | None]], title: str) -> str:
    heads = "".join(f'<th scope="col">H{i + 1}</th>' for i in range(len(rows[0])))
    body = "".join(
        f'<tr><th scope="row">L{i + 1}</th>' + "".join(f"<td{_shade(x)}>{x or 0:.2f}</td>" for x in row) + "</tr>\n"
        for i, row in enumerate(rows)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="Scores: {title}">\n<table>\n'
        f'<caption class="muted">layers (L) and heads (H)</caption>\n'
        f"<thead><tr><td></td>{heads}</tr></thead>\n<tbody>\n{body}</tbody>\n</table>\n</div>"
    )


def _figure(example: Example, score: float, title: str) -> str:
    last = len(example.tokens) - 1
    total = sum(example.weights[i] for i in example.marked)
    tokens = "".join(_token(text, example, i, is_last=i == last) for i, text in enumerate(example.tokens))
    return (
        f"<figure>\n<figcaption>Layer {example.layer + 1}, head {example.head + 1}: mean {score:.2f}; "
        f"here {total:.2f} on {title}</figcaption>\n<pre>{tokens}</pre>\n</figure>\n"
    )


def _token(text: str, example: Example, i: int, *, is_last: bool) -> str:
    shown = escape(text).replace("\n", "↵\n")
    tag = "b" if is_last else "u" if i in example.marked else "span"
    weight = example.weights[i]
    shade = _shade(weight)
    if tag == "span" and not shade:
        return shown
    return f'<{tag}{shade} title="{weight:.2f}">{shown}</{tag}>'


def _shade(weight: float | None) -> str:
    step = round(STEPS * min(weight or 0.0, 1.0))
    return f' class="w{step}"' if step else ""
