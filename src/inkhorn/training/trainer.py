"""The training loop, with checkpoints from which a run can always be resumed.

A run is a function of its config, its text and its seed: batches and learning rates follow from the step, and all
else that a step changes is in the checkpoint. On a CPU a resumed run is bit-identical to an uninterrupted one.

With several processes, each runs this loop. Decisions depend on reduced values only, such as the mean loss, so that all
processes decide alike. Only the main process logs and saves.
"""

import math
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.config.model import ModelConfig
from inkhorn.config.sampling import SamplingParams
from inkhorn.config.train import TrainConfig
from inkhorn.costs.model import training_flops
from inkhorn.data.dataset import Dataset
from inkhorn.errors import CheckpointError, TrainingError
from inkhorn.evaluation.loss import split_loss
from inkhorn.hardware.device import Hardware
from inkhorn.hardware.distributed import check_same_step
from inkhorn.inference.engine import Engine
from inkhorn.model import GPT
from inkhorn.training.callbacks import Callbacks
from inkhorn.training.distill import Teachers, load_teachers
from inkhorn.training.log_writer import LogWriter
from inkhorn.training.memory import oom_hint
from inkhorn.training.mixture import make_sampler
from inkhorn.training.parallel import wrap_forward
from inkhorn.training.schedule import rate
from inkhorn.training.signals import Interrupt
from inkhorn.training.snapshots import SnapshotWriter
from inkhorn.training.state import TrainState, load_state, new_state, save_state, update_evaluation
from inkhorn.training.step import train_step

MAX_ROLLBACKS = 3


class Trainer:
    """Trains a model.

    Args:
        out: the run's folder.
        peak_flops: the peak FLOP/s of all processes together, for MFU.
        callbacks: receives messages and metrics.
        init_from: the model to start from; empty for random weights.

    Attributes:
        interrupted: the signal that stopped `fit`, if any.
    """

    def __init__(
        self,
        config: ModelConfig,
        train: TrainConfig,
        dataset: Dataset,
        out: Path,
        hardware: Hardware,
        peak_flops: float,
        callbacks: Callbacks,
        init_from: str = "",
    ) -> None:
        dataset.check_block_size(config.block_size, fixed=bool(init_from))
        self.config, self.train, self.dataset = config, train, dataset
        self.hardware, self.callbacks, self.init_from = hardware, callbacks, init_from
        self.folder, self.records = RunFolder(out), LogWriter(out)
        self.snapshots = SnapshotWriter(out, config, train, dataset, hardware, callbacks)
        self.distributed = hardware.distributed
        rows, self.passes = self.distributed.split_batch(train.batch_size, train.grad_accum)
        self.order = make_sampler(dataset, train, rows, config.block_size)
        self.tokens_per_step = train.batch_size * train.grad_accum * config.block_size
        self.interrupted: signal.Signals | None = None
        self.teachers: Teachers | None = None
        self._runner: tuple[GPT, Any] | None = None
        self.flops_share = training_flops(config) / peak_flops

    def run(self, *, resume: bool) -> TrainState:
        """Start or resume, and train to the last step or until interrupted; returns the saved state."""
        return self.fit(self.start(resume=resume))

    def start(self, *, resume: bool) -> TrainState:
        """The latest state of the run, or an initial one; writes nothing. CheckpointError if it cannot be resumed."""
        with oom_hint(self.config, self.train, self.hardware):
            self._load_teachers()
            if not resume:
                return new_state(self.config, self.train, self.hardware, self.init_from)
            state = self._restore()
            check_same_step(self.distributed, state.step)
            return state

    def _load_teachers(self) -> None:
        train, tokenizer = self.train, self.dataset.tokenizer
        self.teachers = load_teachers(train.teachers, train.distill_weight, self.config, tokenizer, self.hardware)

    def fit(self, state: TrainState) -> TrainState:
        """Train from `state` to the last step or until interrupted; returns the saved state."""
        if self.distributed.is_main_process:
            self.folder.recover()
            if state.step:
                self.records.trim(state.step, state.last_eval_step, state.rollbacks)
                self.snapshots.trim(state.step)
            else:
                self.records.clear()
                self.snapshots.clear()
        with Interrupt() as interrupt, oom_hint(self.config, self.train, self.hardware):
            if self.init_from and state.step == 0:
                loss = split_loss(state.export_model(), self.dataset.val, self.hardware)
                self.callbacks.log(f"Initial validation loss: {loss:.4f}")
            self._evaluate_if_due(state)  # the run may have been killed between save and evaluation
            self._take_snapshot_if_due(state)
            while not self.is_done(state) and not self._is_stopped(interrupt):
                state = self._train_until_checkpoint(state, interrupt)
            if self.distributed.is_main_process and self.is_done(state):
                self.snapshots.finish(self.folder.best(), self.folder.latest())
        return state

    def _is_stopped(self, interrupt: Interrupt) -> bool:
        """Whether any process received a signal; all processes then stop after the same step."""
        number = self.distributed.all_reduce_max(interrupt.received or 0)
        self.interrupted = signal.Signals(number) if number else None
        return bool(number)

    def is_done(self, state: TrainState) -> bool:
        """Whether all steps are made, or the validation loss has not improved for `patience` evaluations."""
        return state.step >= self.train.steps or 0 < self.train.patience <= state.evals_since_best

    def _restore(self) -> TrainState:
        """The newest checkpoint that can be loaded; raises the newest one's error if none can."""
        problems: list[CheckpointError] = []
        for folder in reversed(self.folder.steps()):
            try:
                state = load_state(folder, self.config, self.dataset, self.train, self.hardware)
            except CheckpointError as error:
                problems.append(error)
                continue
            for problem in problems:
                self.callbacks.log(f"Skipped: {problem}.")
            self.callbacks.log(f"Resuming from step {state.step:,} ({folder}).")
            return state
        if problems:
            raise problems[0]
        return new_state(self.config, self.train, self.hardware, self.init_from)

    def _train_until_checkpoint(self, state: TrainState, interrupt: Interrupt) -> TrainState:
        """Train up to the next checkpoint and save it; if the loss explodes, return the last good state instead."""
        forward = self._forward_of(state.model)
        on_cpu = self.hardware.device.type == "cpu"
        recent: list[Tensor] = []
        since = time.perf_counter()
        pause, due = False, (self.train.save_every, self.train.eval_every, self.train.steps)
        while not pause:
            batches = self._batches(state.step)
            recent.append(train_step(state, forward, batches, self.train, self.hardware, self.teachers))
            pause = any(state.step % n == 0 for n in due) or self._is_stopped(interrupt)
            log, snapshot = state.step % self.train.log_every == 0, state.step in self.snapshots.steps
            if pause or log or snapshot or on_cpu:  # reading a loss synchronizes a GPU
                total = self.distributed.all_reduce_sum(torch.stack(recent))
                values = (total / self.distributed.world_size).tolist()  # [[loss, norm], ...]
                sane = self._check_losses(state, values)
                if sane < len(values):
                    return self._roll_back(state, state.step - len(values) + sane + 1, values[sane][0])
                now = time.perf_counter()
                state.seconds += now - since
                self._report_step(state, values, (now - since) / len(values), log=log)
                since, recent = now, []
                pause = pause or state.last_loss_eval_step == state.step
                if snapshot:
                    self._take_snapshot_if_due(state)
                    since = time.perf_counter()
        if self.distributed.any(not state.is_finite()):  # the last loss was computed before the last update
            return self._roll_back(state, state.step + 1, math.nan)
        self._save(state)
        self._evaluate_if_due(state)
        return state

    def _save(self, state: TrainState) -> None:
        """Save a checkpoint; it is complete when this returns, in every process."""

        def write(path: Path) -> None:
            save_state(state, path, self.dataset, self.train, self.hardware)

        if self.distributed.is_main_process:
            self.records.flush()
            self.folder.save(state.step, write)
        elif self.hardware.sharded:
            write(self.folder.partial(state.step))
        self.distributed.barrier()

    def _take_snapshot_if_due(self, state: TrainState) -> None:
        """Take a snapshot at its steps. It is complete before a checkpoint of the same step or a later one."""
        if state.step in self.snapshots.steps and (self.hardware.sharded or self.distributed.is_main_process):
            exported = state.export_model()  # gathers the weights of all processes, if they are sharded
            if self.distributed.is_main_process and self.snapshots.is_due(state.step):
                self.snapshots.save(exported, state.step)

    def _forward_of(self, model: GPT) -> Any:
        """The wrapped model, cached until a rollback replaces the model."""
        if self._runner is None or self._runner[0] is not model:
            self._runner = (model, wrap_forward(model, self.hardware))
        return self._runner[1]

    def _batches(self, step: int) -> list[Tensor]:
        """This process's micro-batches of a step, (B, T + 1) each."""
        first = (step * self.distributed.world_size + self.distributed.rank) * self.passes
        return [torch.from_numpy(self.order.batch(first + i)).to(self.hardware.device) for i in range(self.passes)]

    def _check_losses(self, state: TrainState, values: Sequence[Sequence[float]]) -> int:
        """Update the loss statistics with the (loss, gradient norm) of some steps; returns how many steps were good.

        A step is bad if its loss or gradient norm is not finite, or if its loss jumps to more than twice the moving
        average and more than one nat above it.
        """
        for i, (loss, norm) in enumerate(values):
            jumped = state.ema_loss != math.inf and loss > 2 * state.ema_loss and loss > state.ema_loss + 1
            if jumped or not (math.isfinite(loss) and math.isfinite(norm)):
                return i
            state.ema_loss = loss if state.ema_loss == math.inf else 0.95 * state.ema_loss + 0.05 * loss
            # The first loss reaches no value: a pretrained model was never above them.
            if any(loss <= target < state.min_train_loss < math.inf for target in self.train.eval_at_loss):
                state.last_loss_eval_step = state.step
            state.min_train_loss = min(state.min_train_loss, loss)
        return len(values)

    def _roll_back(self, state: TrainState, exploded_at: int, loss: float) -> TrainState:
        """The last good state, with half the learning rate.

        The first loss after a checkpoint is that of the checkpoint's weights: if that one exploded, the checkpoint is
        bad and is deleted.
        """
        rollbacks, scale = state.rollbacks + 1, state.lr_scale / 2
        latest = self.folder.latest()
        self.distributed.barrier()  # all processes must see the same folders
        if self.distributed.is_main_process and latest is not None and self.folder.step_of(latest) == exploded_at - 1:
            self.folder.discard(latest)
        self.distributed.barrier()
        if rollbacks > MAX_ROLLBACKS:
            raise TrainingError(
                f"the loss exploded {rollbacks} times, last at step {exploded_at} with learning rates scaled by "
                f"{state.lr_scale:g}: set --lr and --muon-lr lower than {self.train.lr * state.lr_scale:g} and "
                f"{self.train.muon_lr * state.lr_scale:g}, or --warmup-steps higher. "
                f"The last good checkpoint is {self.folder.latest() or 'none'}"
            )
        state = self._restore()
        if self.distributed.is_main_process:
            self.snapshots.trim(state.step)
        state.rollbacks, state.lr_scale = rollbacks, scale
        consequence = f"rolled back to step {state.step}, learning rates scaled by {scale:g}"
        event = f"loss {loss:.3g} at step {exploded_at}: {consequence}"
        self.callbacks.log(f"Loss explosion: {event}")
        if self.distributed.is_main_process:
            self.records.trim(state.step, state.last_eval_step, rollbacks - 1)
            self.records.append(self.records.metrics, {"step": state.step, "event": event})
        return state

    def _evaluate_if_due(self, state: TrainState) -> None:
        """Evaluate and sample if the state was just saved and an evaluation is due."""
        due = state.step % self.train.eval_every == 0 or state.step in (self.train.steps, state.last_loss_eval_step)
        folder = self.folder.latest()
        saved = folder is not None and self.folder.step_of(folder) == state.step
        if not due or state.last_eval_step == state.step or not self.distributed.any(saved):
            return
        loss = split_loss(state.export_model(), self.dataset.val, self.hardware)
        unaveraged = None
        if state.ema is not None and state.step == self.train.steps:
            unaveraged = split_loss(state.export_model(averaged=False), self.dataset.val, self.hardware)
        state.evals_since_best, state.last_eval_step = state.evals_since_best + 1, state.step
        best = loss < state.best_loss
        if best:
            state.best_loss, state.evals_since_best = loss, 0
        if not self.distributed.is_main_process:
            return
        assert folder is not None
        if best:
            self.folder.mark_best(folder)
        metrics = self._progress(state) | {"val/loss": loss, "val/bpb": self.dataset.bits_per_byte(loss)}
        metrics["val/best"] = state.best_loss
        if unaveraged is not None:
            metrics["val/loss_without_ema"] = unaveraged
        sample = self._sample(folder)
        self.records.append(self.records.metrics, metrics)
        if sample:
            self.records.append(self.records.samples, {"step": state.step, "val/loss": loss, "text": sample})
        update_evaluation(state, folder, self.dataset, self.train, loss)
        self.callbacks.on_evaluate(metrics, sample)

    def _sample(self, folder: Path) -> str:
        if not self.train.sample_tokens:
            return ""
        params = SamplingParams(seed=self.train.seed, max_tokens=self.train.sample_tokens, ignore_eos=True)
        with Engine.from_pretrained(folder) as engine:  # the same code path as `inkhorn generate --model`
            return engine.submit("", params).result().text

    def _progress(self, state: TrainState) -> dict[str, float]:
        tokens = state.step * self.tokens_per_step
        return {"step": state.step, "tokens": tokens, "seconds": round(state.seconds, 3)}

    def _report_step(self, state: TrainState, values: Sequence[Sequence[float]], seconds: float, *, log: bool) -> None:
        per_second = self.tokens_per_step / seconds
        factor = rate(state.step - 1, self.train) * state.lr_scale
        metrics = self._progress(state) | {
            "train/loss": sum(loss for loss, _ in values) / len(values),
            "train/lr": factor * self.train.lr,
            "train/grad_norm": values[-1][1],
            "train/tokens_per_sec": round(per_second, 1),
            "train/mfu": round(per_second * self.flops_share, 4),
        }
        if self.train.optimizer == "muon" and not self.train.lora_rank:
            metrics["train/muon_lr"] = factor * self.train.muon_lr
        self.callbacks.on_step(metrics)
        if log and self.distributed.is_main_process:
            self.records.append(self.records.metrics, metrics)
