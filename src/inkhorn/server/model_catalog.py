"""The models of a folder, each in a folder of its own."""

import os
from pathlib import Path

from inkhorn.checkpoint.run_folder import STEP_FOLDER
from inkhorn.errors import require


class ModelCatalog:
    """The checkpoint and run folders in a folder, by name. A request's model is looked up here, never opened as a path.

    Raises:
        UsageError: the folder cannot be read, or is itself a model.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        require(folder.is_dir(), f"--models-dir {folder} is not a folder: give one with a folder for each model")
        advice = f"give it with --model {folder}, or its parent with --models-dir"
        require(not _is_model(folder), f"--models-dir {folder} is a model itself: {advice}")
        try:
            found = self.scan()
        except OSError as error:
            found = {}
            require(False, f"cannot read --models-dir {folder}: {error.strerror or error}")
        require(bool(found), f"--models-dir {folder} has no model, that is a checkpoint folder or a run folder")

    def scan(self) -> dict[str, Path]:
        """The models at this time, in the order of their names. Raises OSError."""
        with os.scandir(self.folder) as entries:
            names = [entry.name for entry in entries if not entry.name.startswith(".") and entry.name.isprintable()]
        return {name: self.folder / name for name in sorted(names) if _is_model(self.folder / name)}


def _is_model(folder: Path) -> bool:
    """Whether a folder looks like a checkpoint or a run, be it a broken one."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries]
    except OSError:
        return False
    return any(name == "config.json" or name.endswith(".safetensors") or STEP_FOLDER.fullmatch(name) for name in names)
