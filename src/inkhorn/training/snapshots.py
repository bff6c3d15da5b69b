"""Writing the snapshots of a run (inference/snapshots.py): small copies of the weights at steps that double.

Training changes a model most at its beginning, so the steps are close together there: 0, then from a thousandth of the
run to its end, each about twice the one before. At the end of a run the best and the last checkpoint are added.
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np

from inkhorn.checkpoint.int8 import write_int8
from inkhorn.checkpoint.tensor_file import Array, LazyTensor, file_content
from inkhorn.checkpoint.weights import write_generation_config
from inkhorn.config.model import ModelConfig
from inkhorn.config.tensors import TensorSpec
from inkhorn.config.train import TrainConfig
from inkhorn.data.dataset import Dataset
from inkhorn.errors import InkhornError
from inkhorn.evaluation.loss import split_loss
from inkhorn.hardware.device import Hardware
from inkhorn.hardware.distributed import SINGLE_PROCESS
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.snapshots import ABOUT, FOLDER, VIEW, attention_bytes, make_view
from inkhorn.model import GPT
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.training.callbacks import Callbacks
from inkhorn.utils.files import atomic_write, write_json

EXTRA = 2
"""snapshots beyond the number that is asked for: of the best and the last checkpoint"""
LOSS_TOKENS = 1 << 12
"""most tokens of the validation split over which the loss of a snapshot is computed"""
MAX_VIEW_TOKENS, MAX_ATTENTION_BYTES = 64, 1 << 20
"""The prompt is short enough for the attention weights of all snapshots to stay below this, in the report."""


def snapshot_steps(steps: int, count: int) -> frozenset[int]:
    """At most `count` steps of a run of so many: the first, the last, and between them a geometric series."""
    if count < 3:
        return frozenset([0, steps][2 - count :])
    return frozenset([0, *np.rint(np.geomspace(max(1, steps / 1000), steps, count - 1)).astype(int).tolist()])


class SnapshotWriter:
    """Keeps the snapshots of the run in the folder `out`."""

    def __init__(
        self, out: Path, config: ModelConfig, train: TrainConfig, dataset: Dataset, hardware: Hardware, calls: Callbacks
    ) -> None:
        self.folder, self.config, self.train, self.dataset = out / FOLDER, config, train, dataset
        # The main process works alone here: no collectives.
        self.hardware, self.callbacks = replace(hardware, distributed=SINGLE_PROCESS), calls
        self.most = train.snapshots + EXTRA if train.snapshots else 0
        size = self.most * config.num_parameters / 1e6
        self.reason = ""
        if size > train.max_snapshot_mb:
            self.most = 0
            self.reason = f"{train.snapshots} and {EXTRA} more would take {size:,.0f} MB (--max-snapshot-mb)"
        self.steps = snapshot_steps(train.steps, train.snapshots) if self.most else frozenset[int]()

    def describe(self) -> str:
        """A line for the user."""
        if self.reason or not self.most:
            return f"Snapshots: off: {self.reason or '--snapshots 0'}"
        size = self.config.num_parameters / 1e6
        return f"Snapshots: {len(self.steps)} of {size:,.1f} MB each, for the slider of the report (--snapshots 0: off)"

    def is_due(self, step: int) -> bool:
        """Whether a snapshot of this step is to be taken."""
        return step in self.steps and not self._path(step).exists()

    def save(self, model: GPT, step: int) -> None:
        """Save a snapshot of an exported model. A failure is reported; it does not end the training."""
        if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
            return  # the loss has exploded: the trainer will go back
        try:
            with atomic_write(self._path(step)) as partial_folder:
                partial_folder.mkdir()
                self._write(partial_folder, model, step)
            self._thin(frozenset([0, step]))
        except (OSError, InkhornError) as error:
            self.callbacks.log(f"The snapshot of step {step:,} was not saved: {error}")

    def finish(self, *checkpoints: Path | None) -> None:
        """Add snapshots of the run's best and last checkpoint."""
        for folder in dict.fromkeys(filter(None, checkpoints if self.most else ())):
            step = int(folder.name.partition("-")[2].partition(".")[0])
            if not self._path(step).exists():
                self.save(GPT.from_pretrained(folder).to(self.hardware.device), step)

    def trim(self, step: int) -> None:
        """Delete the snapshots after a step, from which training goes on, and what a crash left."""
        for path in sorted(self.folder.glob("step-*")):
            if path.suffix == ".tmp" or _step_of(path) > step:
                _remove(path)

    def clear(self) -> None:
        """Delete the snapshots of an earlier run."""
        self.trim(-1)

    def _path(self, step: int) -> Path:
        return self.folder / f"step-{step:07d}"

    def _write(self, folder: Path, model: GPT, step: int) -> None:
        parameters = dict(model.named_parameters())

        def values(spec: TensorSpec) -> Array:
            stored = parameters[spec.name].detach().float().cpu()
            return np.ascontiguousarray((stored.T if spec.is_linear else stored).numpy())

        tensors = {spec.name: partial(values, spec) for spec in self.config.tensor_specs()}
        write_int8(folder, self.config, tensors)
        write_generation_config(folder, self.config)
        self.dataset.tokenizer.save(folder, self.config.block_size)
        loss = split_loss(model, self.dataset.val[: LOSS_TOKENS + 1], self.hardware)
        about = {"step": step, "loss": round(loss, 4), "weights": self._float_digest(tensors)}
        write_json(folder / ABOUT, about | {"digest": weights_digest(folder)})
        view = json.dumps(make_view(folder, self.prompt, self.train.seed), ensure_ascii=False, separators=(",", ":"))
        (folder / VIEW).write_text(view, encoding="utf-8", errors="replace")

    def _float_digest(self, tensors: "dict[str, partial[Array]]") -> str:
        """`weights_digest` of a checkpoint with these weights."""
        stored = {
            spec.hf_name: LazyTensor(spec.shape, "F32", tensors[spec.name]) for spec in self.config.tensor_specs()
        }
        digest = hashlib.sha256()
        for content in file_content(stored, {"format": "pt"}):
            digest.update(content)
        return digest.hexdigest()[:8]

    @property
    def prompt(self) -> str:
        """The beginning of the validation text, from the first line that begins near its start."""
        tokenizer, config = self.dataset.tokenizer, self.config
        limit = min(MAX_VIEW_TOKENS, config.block_size)
        while limit > 2 and self.most * attention_bytes(config.n_layer, config.n_head, limit) > MAX_ATTENTION_BYTES:
            limit -= 1
        text = tokenizer.decode(self.dataset.val[: 4 * limit].tolist()).replace(END_OF_TEXT, "\n\n")
        start = text.find("\n", 0, len(text) // 2) + 1
        text = text[start:].replace("\ufffd", "").lstrip() or text
        return tokenizer.decode(tokenizer.encode(tokenizer.normalize(text)[0])[:limit].tolist()).rstrip("\ufffd")

    def _thin(self, kept: frozenset[int]) -> None:
        """Delete those that are missed least, if a longer run or other settings have made more than there may be."""
        best = self.folder.parent / "best"
        with suppress(OSError):
            kept |= {_step_of(Path(best.read_text(encoding="utf-8").strip()))}
        found = sorted(_step_of(path) for path in self.folder.glob("step-*") if path.suffix != ".tmp")
        while len(found) > self.most and (step := _nearest_pair(found, kept)) is not None:
            _remove(self._path(step))
            found.remove(step)


def _nearest_pair(steps: Sequence[int], kept: frozenset[int]) -> int | None:
    """The step that a list misses least: the one closest to the step before it, by ratio; None if all are kept."""
    ratios = {step: (step + 1) / (before + 1) for before, step in pairwise(steps) if step not in kept}
    return min(ratios, key=lambda step: (ratios[step], step), default=None)


def _step_of(path: Path) -> int:
    number = path.name.removeprefix("step-")
    return int(number) if number.isdecimal() else -1


def _remove(folder: Path) -> None:
    temporary = folder if folder.suffix == ".tmp" else folder.with_suffix(".tmp")
    with suppress(OSError):
        folder.rename(temporary)  # so that a half-deleted folder is not a snapshot
    shutil.rmtree(temporary, ignore_errors=True)
