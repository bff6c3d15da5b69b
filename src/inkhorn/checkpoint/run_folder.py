"""A run folder: atomic checkpoints, and which of them are the latest and the best.

runs/mine/
  step-0000400/        a checkpoint: the files that generation and transformers need ...
    config.json, model.safetensors, tokenizer.json, tokenizer_config.json, generation_config.json, README.md
    trainer/           ... and the training state: state.json, state.pt
  snapshots/step-*/    small copies of the weights (inference/snapshots.py)
  latest, best         files with one line, the name of a step folder
  run.json             the run's configuration
  metrics.jsonl, samples.jsonl, loss.png, report.html, tensorboard/
"""

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from inkhorn.errors import CheckpointError, UsageError
from inkhorn.utils.files import TEMPORARY_NAME, atomic_write, fsync, fsync_tree

STEP_FOLDER = re.compile(r"step-(\d+)(\.old)?")


class RunFolder:
    """The checkpoints of a training run.

    Args:
        path: the run folder; created when the first checkpoint is saved.
        keep: how many of the newest checkpoints are kept besides the best one.
    """

    def __init__(self, path: Path, keep: int = 2) -> None:
        self.path, self.keep = path, keep

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Reserve the folder, which must exist, for this process; UsageError if another one has reserved it.

        The system ends the reservation with the process, however that ends, and no file is left. It needs POSIX locks:
        on Windows, and on file systems without them, nothing is reserved.
        """
        try:
            import fcntl
        except ImportError:
            yield
            return
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise UsageError(
                f"another training writes to {self.path}: wait for its end, or use another --out"
            ) from None
        except OSError:
            pass
        try:
            yield
        finally:
            os.close(descriptor)

    def steps(self) -> list[Path]:
        """The complete checkpoints, oldest first; `step-N.old` is one if replacing step-N was interrupted."""
        found: dict[int, Path] = {}
        for path in sorted(self.path.glob("step-*")):  # step-N comes before step-N.old
            match = STEP_FOLDER.fullmatch(path.name)
            if match and (path / "config.json").is_file():
                found.setdefault(int(match[1]), path)
        return [found[step] for step in sorted(found)]

    @staticmethod
    def step_of(folder: Path) -> int:
        """The step number of a checkpoint folder."""
        match = STEP_FOLDER.fullmatch(folder.name)
        assert match is not None
        return int(match[1])

    def discard(self, folder: Path) -> None:
        """Delete a damaged checkpoint; `latest` then names the one before it."""
        self._remove(folder)
        left = self.latest()
        if left is None:
            (self.path / "latest").unlink(missing_ok=True)
        else:
            self._point("latest", left)

    def latest(self) -> Path | None:
        """The newest complete checkpoint.

        The folders decide, not the file `latest`, which a crash may leave outdated; it is for people and scripts.
        """
        return next(reversed(self.steps()), None)

    def best(self) -> Path | None:
        """The checkpoint with the lowest validation loss so far."""
        name = _read_pointer(self.path / "best")
        return next((folder for folder in self.steps() if folder.stem == name), None)

    def recover(self) -> None:
        """Complete what a crash interrupted: remove temporary files, update `latest`, delete outdated checkpoints."""
        for path in self.steps():
            if path.suffix == ".old":
                path.rename(path.with_suffix(""))
        for leftover in self.path.rglob("*.tmp"):
            if TEMPORARY_NAME.fullmatch(leftover.name) and leftover.is_file():
                leftover.unlink(missing_ok=True)
        latest = self.latest()
        if latest is not None and _read_pointer(self.path / "latest") != latest.name:
            self._point("latest", latest)
        self._prune()

    def partial(self, step: int) -> Path:
        """The temporary folder of a checkpoint that is being written."""
        return self.path / f"step-{step:07d}.tmp"

    def save(self, step: int, write: Callable[[Path], None]) -> Path:
        """Save a checkpoint: `write(folder)` to `step-N.tmp`, flush, rename, then update `latest`.

        Raises:
            CheckpointError: it cannot be written; earlier checkpoints are unchanged.
        """
        partial = self.partial(step)
        final, old = partial.with_suffix(""), partial.with_suffix(".old")
        try:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            write(partial)
            fsync_tree(partial)
            if final.exists():  # saving the same step again: at every moment the old or the new one is complete
                shutil.rmtree(old, ignore_errors=True)
                final.rename(old)
            partial.rename(final)
            fsync(self.path)
            self._point("latest", final)
        except (OSError, RuntimeError, CheckpointError) as error:  # torch reports a full disk as RuntimeError
            shutil.rmtree(partial, ignore_errors=True)
            last = self.latest()
            left = f"the last complete one is {last}" if last else "there is none yet"
            raise CheckpointError(f"cannot save a checkpoint to {final}{self._space()}: {error}; {left}") from None
        self._prune()
        return final

    def _space(self) -> str:
        """The free disk space, for an error message."""
        try:
            return f" ({shutil.disk_usage(self.path).free / 1e6:,.0f} MB free)"
        except OSError:
            return ""

    def mark_best(self, folder: Path) -> None:
        """Set `best` to this checkpoint; CheckpointError if that cannot be written."""
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
        temporary = folder.with_suffix(".tmp")  # so that a half-deleted folder is not a checkpoint
        with suppress(OSError):
            folder.rename(temporary)
        shutil.rmtree(temporary, ignore_errors=True)


def _read_pointer(path: Path) -> str | None:
    """The folder's name in `latest` or `best`; None if the file is missing or damaged."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError):
        return None
