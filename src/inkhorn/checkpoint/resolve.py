"""Resolve a model name or path to a checkpoint folder."""

import re
from pathlib import Path

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.errors import CheckpointError

ASSETS = Path(__file__).parents[1] / "assets"
"""the folder with a checkpoint folder for each shipped model"""
SHIPPED = {path.parent.name: path.parent for path in sorted(ASSETS.glob("*/config.json"))}
"""folders of the models in the package, by name"""


def display_name(model: str) -> str:
    """A model's name for cards and reports: a shipped model's name, or the last two parts of its path."""
    return model if model in SHIPPED else "/".join(Path(model).parts[-2:])


def resolve_checkpoint(model: str | Path) -> Path:
    """Find a checkpoint folder.

    Args:
        model: the name of a shipped model, a checkpoint folder, or a run folder, which means its best checkpoint,
            or its latest if there is no best. Write `./name` for a folder with the name of a shipped model.

    Raises:
        CheckpointError: there is no such checkpoint.
    """
    if isinstance(model, str) and model in SHIPPED:
        return SHIPPED[model]
    path = Path(model)
    known = f"a checkpoint folder, a run folder, or a shipped model ({', '.join(SHIPPED)})"
    try:
        if not path.exists():
            hub = f". A model of the Hugging Face hub must be imported first: inkhorn import {model}"
            is_hub_name = re.fullmatch(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?", str(model)) is not None
            raise CheckpointError(f"{path} does not exist: give {known}{hub if is_hub_name else ''}")
        if (path / "config.json").is_file():
            return path
    except OSError as error:  # no permission, or the name is too long
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from None
    run = RunFolder(path)
    found = run.best() or run.latest()
    if found is None:
        raise CheckpointError(
            f"{path} is neither a checkpoint nor a run folder: it has no config.json and no step-* folder"
        )
    return found
