"""A run's folder: checkpoints that appear whole or not at all, and the names of the latest and the best.

runs/mine/
  step-0000400/         a checkpoint: what generation and transformers need ...
    config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json, README.md
    trainer/           ... and what training needs to go on: state.json, state.pt
  latest, best         files of one line, the name of a step folder
  run.json             the flags it was started with
  metrics.jsonl, samples.jsonl, loss.png, report.html, tensorboard/
"""

import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from inkhorn.errors import CheckpointError
from inkhorn.utils.files import atomic_write, fsync, fsync_tree

_STEP = re.compile(r"step-(\d+)(\.old)?")


class RunFolder:
    """Reads and writes a run's checkpoints.

    Args:
        path: the run's folder; made when the first checkpoint is saved.
        keep: how many of the newest checkpoints stay, the best one apart.

    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path, self.keep = path, keep

    def steps(self) -> list[Path]:
        """The whole checkpoints, oldest first; `step-N.old` is one if a crash cut short the replacement of step-N."""
        found: dict[int, Path] = {}
        for path in sorted(self.path.glob("step-*")):  # step-N comes before step-N.old
            match = _STEP.fullmatch(path.name)
            if match and (path / "config.json").is_file():
                found.setdefault(int(match[1]), path)
        return [found[step] for step in sorted(found)]

    @staticmethod
    def step_of(folder: Path) -> int:
        """The step number in a checkpoint's name."""
        match = _STEP.fullmatch(folder.name)
        assert match is not None
        return int(match[1])

    def discard(self, folder: Path) -> None:
        """Delete a checkpoint that turned out bad; `latest` then names the one before it."""
        self._remove(folder)
        left = self.latest()
        if left is None:
            (self.path / "latest").unlink(missing_ok=True)
        else:
            self._point("latest", left)

    def latest(self) -> Path | None:
        """The newest whole checkpoint: the last folder, which the file `latest` names for people and scripts.

        The folders decide, for a crash may come between the rename and the pointer.
        """
        return next(reversed(self.steps()), None)

    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss so far."""
        try:
            name = (self.path / "best").read_text(encoding="utf-8").strip()
        except (OSError, ValueError):
            return None
        return next((folder for folder in self.steps() if folder.stem == name), None)

    def partial(self, step: int) -> Path:
        """Where a checkpoint is while it is being written."""
        return self.path / f"step-{step:07d}.tmp"

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Write a checkpoint through `write(folder)`: into `step-N.tmp`, flushed, renamed, then named in `latest`.

        Raises CheckpointError if it cannot be written; what was there before is untouched.
        """
        partial = self.partial(step)
        final, old = partial.with_suffix(""), partial.with_suffix(".old")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(partial)
            fsync_tree(partial)
            if final.exists():  # the same step again: at every moment the old one or the new one is whole
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            partial.rename(final)
            fsync(self.path)
            self._point("latest", final)
        except (OSError, RuntimeError, CheckpointError) as error:  # torch reports a full disk as RuntimeError
            shutil.rmtree(partial, ignore_errors=True)
            last = self.latest()
            left = f"the last whole one is {last}" if last else "there is none yet"
            raise CheckpointError(f"cannot save a checkpoint to {final}{self._space()}: {error}; {left}") from None
        self._prune()
        return final

    def _space(self) -> str:
        """How much room there is, for a message: libraries report a full disk in words of their own."""
        try:
            return f" ({shutil.disk_usage(self.path).free / 1e6:,.0f} MB free)"
        except OSError:
            return ""

    def mark_best(self, folder: Path) -> None:
        """Name `folder` in `best`. Raises CheckpointError if that cannot be written."""
        try:
            self._point("best", folder)
        except OSError as error:
            raise CheckpointError(f"cannot write {self.path / 'best'}: {error}") from None
        self._prune()

    def _point(self, pointer: str, folder: Path) -> None:
        with atomic_write(self.path / pointer) as temporary:
            temporary.write_text(folder.name + "\n", encoding="utf-8")

    def _prune(self) -> None:
        steps = self.steps()
        for leftover in (*self.path.glob("step-*.tmp"), *self.path.glob("step-*.old")):
            if leftover not in steps:
                shutil.rmtree(leftover, ignore_errors=True)
        for leftover in (*self.path.glob("latest.*.tmp"), *self.path.glob("best.*.tmp")):
            leftover.unlink(missing_ok=True)
        kept = {self.best(), *steps[-self.keep :]}
        for folder in steps:
            if folder not in kept:
                self._remove(folder)

    def _remove(self, folder: Path) -> None:
        doomed = folder.with_suffix(".tmp")  # renamed first: half a folder must not pass for a whole one
        with suppress(OSError):
            folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)
