"""What a model card says of the texts that a model writes, in the YAML at the top of a checkpoint's `README.md`.

`widget` is Hugging Face's field for example prompts; `inkhorn` holds the rest:

    widget:
    - text: "Call me"
      example_title: Ishmael
    inkhorn:
      title: Moby-Dick
      tagline: A small GPT trained on Moby-Dick
      layout: plain
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

Layout = Literal["play", "plain"]
"""play: speeches under the name of a speaker and a colon; plain: anything else."""

MAX_PROMPTS, MAX_PROMPT_CHARS, MAX_LINE_CHARS = 8, 1000, 200
_MAX_CHARS = 1 << 16  # of the YAML


@dataclass(frozen=True)
class Opening:
    """A prompt to begin with, and a short name for it."""

    prompt: str
    label: str


@dataclass(frozen=True)
class CardFacts:
    """Title and one-line description of a model, the layout of its texts, and prompts to begin with.

    What the card does not say is None or empty.
    """

    title: str | None = None
    tagline: str | None = None
    layout: Layout | None = None
    openings: tuple[Opening, ...] = ()


def read_card(folder: Path) -> CardFacts:
    """The facts in a checkpoint's model card. A card that is missing or not understood says nothing."""
    try:
        fields, _ = split_card((folder / "README.md").read_text(encoding="utf-8")[:_MAX_CHARS])
    except (OSError, ValueError, yaml.YAMLError, RecursionError):
        return CardFacts()
    ours, widget = fields.get("inkhorn"), fields.get("widget")
    ours = ours if isinstance(ours, Mapping) else {}
    layout = ours.get("layout")
    openings = map(_opening, widget if isinstance(widget, list) else [])
    return CardFacts(
        title=_line(ours.get("title")),
        tagline=_line(ours.get("tagline")),
        layout=layout if layout in get_args(Layout) else None,
        openings=tuple(filter(None, openings))[:MAX_PROMPTS],
    )


def split_card(text: str) -> tuple[Mapping[str, Any], str]:
    """The metadata of a card, and the text below it.

    Raises:
        ValueError: there is no block of YAML with names and values.
        yaml.YAMLError: it is not YAML.
    """
    parts = text.split("---\n", 2)
    if len(parts) < 3 or parts[0]:
        raise ValueError("there is none")
    fields = yaml.safe_load(parts[1])
    if not isinstance(fields, Mapping):
        raise ValueError("it does not hold names and values")
    return fields, parts[2]


def card_header(fields: Mapping[str, Any], facts: CardFacts) -> str:
    """The YAML at the top of a model card: Hugging Face's fields, and the facts."""
    widget = [{"text": one.prompt, "example_title": one.label} for one in facts.openings]
    ours = {name: getattr(facts, name) for name in ("title", "tagline", "layout")}
    ours = {name: value for name, value in ours.items() if value is not None}
    more: dict[str, Any] = {"widget": widget} if widget else {}
    more |= {"inkhorn": ours} if ours else {}
    text: str = yaml.safe_dump(dict(fields) | more, allow_unicode=True, sort_keys=False, width=1 << 16)
    return f"---\n{text}---\n"


def _opening(entry: Any) -> Opening | None:
    text = entry.get("text") if isinstance(entry, Mapping) else None
    if not isinstance(text, str) or not text.strip() or len(text) > MAX_PROMPT_CHARS:
        return None
    return Opening(text, _line(entry.get("example_title")) or short_label(text))


def short_label(prompt: str) -> str:
    """The first words of a prompt."""
    words = " ".join(prompt.split())
    return words if len(words) <= 24 else words[:24].rsplit(" ", 1)[0] + " …"


def _line(value: Any) -> str | None:
    """A value as one line of text, None if it is none."""
    if not isinstance(value, str | int | float) or isinstance(value, bool):
        return None
    return " ".join(str(value).split())[:MAX_LINE_CHARS] or None
