"""What the page says of a model: from its card, and where the card says nothing, from its config."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from inkhorn.checkpoint.card import Layout, Opening, read_card, short_label
from inkhorn.config.model import ModelConfig


@dataclass(frozen=True)
class PageFacts:
    """Title and one-line description of a model, the layout of its texts, and prompts to begin with.

    The first prompt is the one that the page starts with; without prompts it starts with an empty one.
    """

    title: str
    tagline: str
    layout: Layout
    openings: tuple[Opening, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def prompt(self) -> str:
        """The prompt that the page starts with."""
        return self.openings[0].prompt if self.openings else ""


def page_facts(
    folder: Path, name: str, config: ModelConfig, *, title: str | None = None, prompt: str | None = None
) -> PageFacts:
    """The facts of a checkpoint.

    Args:
        folder: the checkpoint.
        name: the model's name, its title if the card has none.
        config: its config.
        title: replaces the card's title.
        prompt: a prompt to begin with, before those of the card.
    """
    card = read_card(folder)
    kind = "GPT-2" if config.pre_norm else "GPT-1"
    openings = card.openings
    if prompt is not None:
        openings = (Opening(prompt, short_label(prompt)), *(one for one in openings if one.prompt != prompt))
    return PageFacts(
        title=title or card.title or name,
        tagline=card.tagline or f"A {kind} of {config.num_parameters:,} parameters",
        layout=card.layout or "plain",
        openings=openings,
    )
