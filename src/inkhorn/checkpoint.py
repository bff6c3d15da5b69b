"""A run's folder: checkpoints that appear whole or not at all, and the names of the latest and the best.

    runs/mine/
      step-0000400/         a checkpoint: what generation and transformers need ...
        config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json, README.md
        trainer/           ... and what training needs to go on: state.json, state.pt
      latest, best         files of one line, the name of a step folder
      metrics.jsonl, loss.png, report.html, samples.txt
"""

import shutil
from collections.abc import Callable
from pathlib import Path

from inkhorn.errors import CheckpointError
from inkhorn.weights import flush


class RunFolder:
    """Reads and writes a run's checkpoints.

    Args:
        path: the run's folder; made when the first checkpoint is saved.
        keep: how many of the newest checkpoints stay, the best one apart.

    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path, self.keep = path, keep

    def _named(self, pointer: str) -> Path | None:
        try:
            folder = self.path / (self.path / pointer).read_text(encoding="utf-8").strip()
        except OSError:
            return None
        return folder if (folder / "config.json").is_file() else None

    def steps(self) -> list[Path]:
        """The whole checkpoints, oldest first."""
        return sorted(p for p in self.path.glob("step-*") if p.is_dir() and p.suffix == "")

    def latest(self) -> Path | None:
        """The newest whole checkpoint. Falls back on the folders if a crash came between the rename and the pointer."""
        named, steps = self._named("latest"), self.steps()
        return max([named, *steps]) if named else (steps[-1] if steps else None)

    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss so far."""
        return self._named("best")

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Write a checkpoint through `write(folder)`: into `step-N.tmp`, flushed, renamed, then named in `latest`.

        Raises CheckpointError if it cannot be written; what was there before is untouched.
        """
        final = self.path / f"step-{step:07d}"
        partial = final.with_suffix(".tmp")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(partial)
            for path in sorted(partial.rglob("*")):
                flush(path)
            flush(partial)
            if final.exists():  # the same step again, after a roll-back or a resumed run
                shutil.rmtree(final)
            partial.rename(final)
            flush(self.path)
            self._point("latest", final)
        except (OSError, RuntimeError, CheckpointError) as error:  # torch reports a full disk as RuntimeError
            shutil.rmtree(partial, ignore_errors=True)
            last = self.latest()
            left = f"the last whole one is {last}" if last else "there is none yet"
            raise CheckpointError(f"cannot save a checkpoint to {final}: {error}; {left}") from None
        self._prune()
        return final

    def mark_best(self, folder: Path) -> None:
        """Name `folder` in `best`."""
        self._point("best", folder)
        self._prune()

    def _point(self, pointer: str, folder: Path) -> None:
        partial = self.path / f"{pointer}.tmp"
        partial.write_text(folder.name + "\n", encoding="utf-8")
        flush(partial)
        partial.replace(self.path / pointer)

    def _prune(self) -> None:
        kept = {self.best(), *self.steps()[-self.keep :]}
        for folder in self.steps():
            if folder not in kept:
                shutil.rmtree(folder, ignore_errors=True)


def resolve_checkpoint(path: Path) -> Path:
    """The checkpoint folder that a user's path means: itself, or the best (else the latest) one of a run's folder."""
    if not path.exists():
        raise CheckpointError(f"{path} does not exist: give a checkpoint folder, a run's folder, or the name shakespeare")
    if (path / "config.json").is_file():
        return path
    run = RunFolder(path)
    found = run.best() or run.latest()
    if found is None:
        raise CheckpointError(f"{path} has no config.json and no step-* folder: it is neither a checkpoint nor a run")
    return found
