"""What the page says of a model: from its card, and where the card says nothing, from its config."""

import logging
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from inkhorn.checkpoint.card import Layout, Opening, read_card, short_label
from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference.activation_files import SteeringFacts, has_means, read_means, steering_facts, steering_names
from inkhorn.inference.snapshots import describe_snapshots
from inkhorn.inspection.atlas import Atlas, has_atlas, read_atlas

log = logging.getLogger("inkhorn.web")


@dataclass(frozen=True)
class PageFacts:
    """Title and one-line description of a model, the layout of its texts, prompts to begin with, and inspection files.

    The first prompt is the one that the page starts with; without prompts it starts with an empty one. `steering` has
    the model's steering vectors with their measured effects; `atlas` and `means` say whether there are a head atlas and
    mean activations.
    """

    title: str
    tagline: str
    layout: Layout
    openings: tuple[Opening, ...]
    steering: tuple[SteeringFacts, ...] = ()
    atlas: bool = False
    means: bool = False
    training: dict[str, Any] | None = None
    """the snapshots of the model's run, as `describe_snapshots` returns them; None without"""

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
        steering=_steering(folder),
        atlas=atlas_of(folder) is not None,
        means=_has_means(folder),
        training=describe_snapshots(folder),
    )


def atlas_of(folder: Path) -> Atlas | None:
    """The head atlas of a checkpoint; None if it has none that belongs to its weights."""
    if not has_atlas(folder):
        return None
    try:
        return read_atlas(folder)
    except (UsageError, CheckpointError) as error:
        _warn(f"the page does not show the head atlas: {error}")
        return None


def _has_means(folder: Path) -> bool:
    """Whether a checkpoint has mean activations that belong to its weights."""
    try:
        return has_means(folder) and len(read_means(folder)) > 0
    except (UsageError, CheckpointError) as error:
        _warn(f"the page does not offer means: {error}")
        return False


def _steering(folder: Path) -> tuple[SteeringFacts, ...]:
    """The steering vectors that belong to a checkpoint's weights."""
    found = []
    for name in steering_names(folder):
        try:
            found.append(steering_facts(folder, name))
        except (UsageError, CheckpointError) as error:
            _warn(f"the page does not show the steering vector {name}: {error}")
    return tuple(found)


@lru_cache(maxsize=256)
def _warn(message: str) -> None:
    """Log a message once: the facts are read for each visitor."""
    log.warning(message)
