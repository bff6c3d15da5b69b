"""Training speed compared with nanoGPT on the same machine.

    python benchmarks/train.py --nanogpt FOLDER --text tiny-shakespeare.txt [--runs 3]

1. Time to a loss: nanoGPT's small CPU recipe (4 layers, 4 heads, width 128, block size 64, batch size 12, 2000 steps),
   run by its own train.py in a copy of its folder, against `inkhorn train small`. Both losses cover the full validation
   split in non-overlapping windows of 64 tokens, in float32. Both times exclude evaluation.
2. Tokens per second at 10M parameters: one training step of each with the same shape and batch. Inkhorn uses its
   defaults (Muon; bfloat16 if the CPU supports it), nanoGPT those of train_shakespeare_char on a CPU (AdamW, float32).
"""

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import tyro
from common import Series, interleave, load_module, report
from nanogpt import (
    CONFIG,
    OUT,
    copy_with_text,
    flags,
    full_split_loss,
    load_checkpoint,
    seed_change,
    step_seconds,
    val_ids,
)

from inkhorn.config.model import Architecture
from inkhorn.config.recipes import RECIPES
from inkhorn.config.train import TrainConfig
from inkhorn.data.dataset import Dataset, tokenize_to_disk
from inkhorn.data.text import from_path
from inkhorn.hardware.device import select_device
from inkhorn.training.callbacks import Callbacks
from inkhorn.training.state import new_state
from inkhorn.training.step import train_step
from inkhorn.training.trainer import Trainer

CPU_RECIPE = (
    "device=cpu compile=False eval_iters=20 log_interval=1 block_size=64 batch_size=12 n_layer=4 n_head=4 n_embd=128 "
    "max_iters=2000 lr_decay_iters=2000 dropout=0.0 eval_interval=2000 always_save_checkpoint=True"
)


@dataclass
class Args:
    nanogpt: Path
    """folder of a nanoGPT checkout"""
    text: Path
    """tiny Shakespeare (`inkhorn data tiny-shakespeare` downloads it)"""
    runs: int = 3
    """seeds per side"""
    steps: int = 340
    """Inkhorn's training steps, chosen so that it ends near nanoGPT's loss"""
    rounds: int = 5
    """measurements of a step at 10M parameters"""
    rows: int = 32
    """batch size at 10M parameters"""


class RecordingCallbacks(Callbacks):
    """Callbacks that keep the validation losses; messages go to standard error."""

    def __init__(self) -> None:
        self.losses: list[tuple[float, float]] = []

    def log(self, text: str) -> None:
        print(text, file=sys.stderr)

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None:  # noqa: ARG002
        self.losses.append((metrics["seconds"], metrics["val/loss"]))


def run_nanogpt(args: Args, seed: int, folder: Path) -> tuple[float, float]:
    """Training seconds and validation loss of nanoGPT's small recipe."""
    copy = folder / f"nanogpt-{seed}"
    data = copy_with_text(args.nanogpt, args.text, copy, seed_change(seed))
    command = [sys.executable, "train.py", CONFIG, *flags(CPU_RECIPE)]
    done = subprocess.run(command, cwd=copy, check=True, capture_output=True, text=True)
    seconds = sum(step_seconds(done.stdout)[1:-1])  # the first and the last include an evaluation
    model, _ = load_checkpoint(copy, copy / OUT / "ckpt.pt")
    return seconds, full_split_loss(model, val_ids(data), 64)


def run_inkhorn(data: Dataset, steps: int, seed: int, folder: Path) -> list[tuple[float, float]]:
    """(training seconds, validation loss) every 20 steps of `inkhorn train small --steps N`."""
    recipe = RECIPES["small"]
    train = replace(recipe.train, steps=steps, seed=seed, eval_every=20, save_every=steps, sample_tokens=0)
    train = replace(train, eval_at_loss=())  # no extra evaluations
    config = recipe.architecture.to_model_config(
        data.tokenizer.vocab_size, bos_token_id=data.bos_token_id, eos_token_id=data.tokenizer.eos_id
    )
    callbacks = RecordingCallbacks()
    trainer = Trainer(config, train, data, folder / f"inkhorn-{seed}", select_device(train), 1e12, callbacks)
    state = trainer.run(resume=False)
    # Losses during training use the training precision; the final one uses float32, like nanoGPT's.
    return [
        *callbacks.losses[:-1],
        (state.seconds, full_split_loss(state.export_model().eval(), data.val, config.block_size)),
    ]


def step_at_10m(args: Args, shape: Architecture) -> dict[str, Callable[[], float]]:
    """Measure tokens per second of a training step (forward, backward, update) with each side's settings."""
    tokens = args.rows * shape.block_size
    rows = torch.randint(65, (args.rows, shape.block_size + 1))

    def ours(dropout: float) -> Callable[[], float]:
        train = TrainConfig(batch_size=args.rows, dropout=dropout)
        hardware = select_device(train)
        state = new_state(shape.to_model_config(66, dropout=dropout), train, hardware)

        def measure() -> float:
            start = time.perf_counter()
            train_step(state, state.model, [rows], train, hardware)
            return tokens / (time.perf_counter() - start)

        return measure

    nanogpt = load_module(args.nanogpt / "model.py", "nanogpt_model")
    sizes = {"block_size": shape.block_size, "n_layer": shape.n_layer, "n_head": shape.n_head, "n_embd": shape.n_embd}
    peer = nanogpt.GPT(nanogpt.GPTConfig(**sizes, vocab_size=65, dropout=0.2, bias=False))
    optimizer = peer.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")

    def theirs() -> float:
        start = time.perf_counter()
        _, loss = peer(rows[:, :-1], rows[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(peer.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return tokens / (time.perf_counter() - start)

    sides = {
        "10M step: inkhorn, Muon, no dropout": ours(0.0),
        "10M step: inkhorn, Muon, dropout 0.1": ours(0.1),
        "10M step: nanoGPT, AdamW, dropout 0.2": theirs,
    }
    for measure in sides.values():
        measure()  # warm-up
    return sides


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    ours: list[list[tuple[float, float]]] = []
    theirs: list[tuple[float, float]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        data = tokenize_to_disk(from_path(args.text), folder)
        for seed in range(args.runs):
            ours.append(run_inkhorn(data, args.steps, seed, folder))
            theirs.append(run_nanogpt(args, seed, folder))
            print(f"  seed {seed}: inkhorn {ours[-1][-1]}, nanoGPT {theirs[-1]}", file=sys.stderr)
    target = float(np.median([loss for _, loss in theirs]))
    reached = [next((seconds for seconds, loss in curve if loss <= target), float("inf")) for curve in ours]
    series = [
        Series("small: nanoGPT, final loss", "nats", tuple(loss for _, loss in theirs)),
        Series("small: nanoGPT, seconds", "s", tuple(seconds for seconds, _ in theirs)),
        Series("small: inkhorn, final loss", "nats", tuple(curve[-1][1] for curve in ours)),
        Series("small: inkhorn, seconds", "s", tuple(curve[-1][0] for curve in ours)),
        Series("small: inkhorn, seconds to nanoGPT's loss", "s", tuple(reached)),
    ]
    series += interleave(args.rounds, step_at_10m(args, Architecture(n_layer=6, n_head=6, n_embd=384)), "tokens/s")
    ratio = series[4].median / series[1].median
    report(
        "Training compared with nanoGPT",
        series,
        {"time to nanoGPT's loss, divided by nanoGPT's time": f"{ratio:.2f}", "threads": torch.get_num_threads()},
    )


if __name__ == "__main__":
    main()
