"""A run's folder: checkpoints that appear whole or not at all, and the names of the latest and the best.

runs/mine/
  step-0000400/         a checkpoint: what generation and transformers need ...
    config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json, README.md
    trainer/           ... and what training needs to go on: state.json, state.pt
  latest, best         files of one line, the name of a step folder
  run.json             the flags it was started with
  metrics.jsonl, samples.jsonl, loss.png, report.html, tensorboard/
"""

from pathlib import Path

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.errors import CheckpointError

SHIPPED = {"shakespeare": Path(__file__).parents[1] / "assets" / "shakespeare"}
"""the models that come with the package, by name"""


def spoken_name(model: str) -> str:
    """What others may read of where a model lies: a shipped model's name, or the end of its path, not all of it."""
    return model if model in SHIPPED else "/".join(Path(model).parts[-2:])


def resolve_checkpoint(model: str | Path) -> Path:
    """The checkpoint folder that a user means by a shipped model's name, by the folder itself, or by a run's folder,
    whose best checkpoint it is, or else its latest. A folder of a shipped model's name is `./name`."""
    if isinstance(model, str) and model in SHIPPED:
        return SHIPPED[model]
    path = Path(model)
    known = "a checkpoint folder, a run's folder, or the name shakespeare"
    try:
        if not path.exists():
            raise CheckpointError(f"{path} does not exist: give {known}")
        if (path / "config.json").is_file():
            return path
    except OSError as error:  # may not be looked at, or too long for a name
        raise CheckpointError(f"cannot read the checkpoint {path}: {error}") from None
    run = RunFolder(path)
    found = run.best() or run.latest()
    if found is None:
        raise CheckpointError(f"{path} has no config.json and no step-* folder: it is neither a checkpoint nor a run")
    return found
