"""How results look in a notebook (HTML) and in a terminal (rich).

HTML has no script and no style sheet, so that it also shows where notebooks are only read. Colours are transparent, for
light and dark themes.
"""

import base64
import math
import struct
import zlib
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from inkhorn.inference.numpy_model import Array

if TYPE_CHECKING:
    from rich.text import Text

LEVELS = (0.5, 0.25, 0.1, 0.03, 0.01)
"""A token less likely than so many of these probabilities has that level of shading: 0 to 5."""
_COLORS = ((229, 160, 48), (229, 144, 44), (224, 112, 31), (220, 74, 30), (220, 74, 30))
_OPACITY = (0.22, 0.38, 0.48, 0.52, 0.66)
_TEXT_STYLE = "white-space:pre-wrap;font-family:monospace;line-height:1.6;margin:0"
_MAX_LENS_COLUMNS = 16


def shading_level(logprob: float | None) -> int:
    """0 for a token with a probability of at least 50 %, up to 5 for one below 1 %; 0 without a probability."""
    if logprob is None or math.isnan(logprob):
        return 0
    return sum(logprob < math.log(probability) for probability in LEVELS)


def shaded_html(tokens: Sequence[str], logprobs: Sequence[float | None]) -> str:
    """A text with each token shaded by its surprisal; a token's title is its probability."""
    spans = []
    for token, logprob in zip(tokens, logprobs, strict=True):
        level = shading_level(logprob)
        text = escape(token)
        if logprob is not None and not math.isnan(logprob):
            style = ""
            if level:
                red, green, blue = _COLORS[level - 1]
                style = f' style="background:rgba({red},{green},{blue},{_OPACITY[level - 1]})"'
            text = f'<span title="{percent(math.exp(logprob))}"{style}>{text}</span>'
        spans.append(text)
    return f'<pre style="{_TEXT_STYLE}">{"".join(spans)}</pre>'


def shaded_text(tokens: Sequence[str], logprobs: Sequence[float | None]) -> "Text":
    """As `shaded_html`, for a terminal."""
    from rich.text import Text

    text = Text()
    for token, logprob in zip(tokens, logprobs, strict=True):
        level = shading_level(logprob)
        if level:
            red, green, blue = _COLORS[level - 1]
            # Terminals have no transparency: the text itself has the colour, and the least likely tokens are bold.
            text.append(token, style=f"{'bold ' if level > 3 else ''}rgb({red},{green},{blue})")
        else:
            text.append(token)
    return text


def table_html(head: Sequence[str], rows: Iterable[Sequence[str]], caption: str = "") -> str:
    """A table of texts."""
    cell_style = "text-align:left;white-space:nowrap"
    title = f"<caption style='text-align:left'>{escape(caption)}</caption>" if caption else ""
    columns = "".join(f"<th style='{cell_style}'>{escape(cell)}</th>" for cell in head)
    body = "".join(
        "<tr>" + "".join(f"<td style='{cell_style}'>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<table>{title}<thead><tr>{columns}</tr></thead><tbody>{body}</tbody></table>"


def attention_html(attention: Array, layer: int) -> str:
    """A picture of each head's attention, (n_head, T, T): a row has the weights of one token over the earlier ones."""
    size = attention.shape[-1]
    width = max(96, min(220, 4 * size))
    figures = []
    for head, weights in enumerate(attention):
        # The square root makes small weights visible.
        data = base64.b64encode(grayscale_png(1 - np.sqrt(np.clip(weights, 0, 1)))).decode()
        figures.append(
            f'<figure style="display:inline-block;margin:0 8px 8px 0"><img src="data:image/png;base64,{data}" '
            f'width="{width}" height="{width}" style="image-rendering:pixelated" '
            f'alt="Attention of layer {layer}, head {head}"><figcaption>head {head}</figcaption></figure>'
        )
    note = f"Attention of layer {layer}: a row has the weights of one token over those before it; dark is more."
    return f"<div><p>{note}</p>{''.join(figures)}</div>"


def lens_html(tokens: Sequence[str], lens_tokens: Array, lens_probs: Array, vocabulary: Sequence[str]) -> str:
    """The logit lens at the last tokens: a row per layer, with the most likely next token and its probability."""
    start = max(0, len(tokens) - _MAX_LENS_COLUMNS)
    rows = [
        [str(depth), *(f"{visible(vocabulary[i])} {percent(p)}" for i, p in zip(ids, probs, strict=True))]
        for depth, (ids, probs) in enumerate(zip(lens_tokens[:, start:], lens_probs[:, start:], strict=True))
    ]
    return table_html(
        ["layers", *(visible(token) for token in tokens[start:])],
        rows,
        "Logit lens: the most likely next token after so many layers, at the last tokens of the text",
    )


def grayscale_png(values: Array) -> bytes:
    """A PNG picture of (H, W) values from 0 (black) to 1 (white)."""
    pixels = np.rint(values * 255).astype(np.uint8)
    height, width = pixels.shape
    rows = b"".join(b"\0" + row.tobytes() for row in pixels)  # each row begins with its filter, 0: none

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def percent(probability: float) -> str:
    """A probability in per cent: "37 %", "0.42 %"."""
    value = 100 * float(probability)
    return f"{value:.0f} %" if value >= 1 else f"{value:.2g} %"


def visible(token: str) -> str:
    """A token with its spaces and line breaks shown."""
    return token.replace(" ", "␣").replace("\n", "↵") or "∅"


def shorten(text: str, length: int = 60) -> str:
    """The beginning of a text, for a `repr`."""
    return repr(text if len(text) <= length else text[: length - 1] + "…")


def shape(array: Any) -> str:
    """The shape of an array: "(8, 54, 54)"."""
    return str(tuple(array.shape))
