"""Time to a validation loss on tiny Shakespeare: the `tiny-shakespeare` recipe compared with nanoGPT's.

    python benchmarks/record.py --nanogpt FOLDER --text tiny-shakespeare.txt [--seeds 5] [--minutes-per-run N]
    python benchmarks/record.py --ours-only --text tiny-shakespeare.txt --development --set steps=2400
    python benchmarks/record.py --ours-only --text tiny-shakespeare.txt --set steps=2400 --claim 1.41

docs/explanation/leaderboard.md has the rules for an entry, which --development and --claim serve.

Inkhorn trains its recipe `tiny-shakespeare` (GPT-2 architecture, under 10,000,000 parameters) on the hardware that
`inkhorn train` selects. nanoGPT runs its own train.py with config/train_shakespeare_char.py (10.7M parameters, 5,000
steps of 64 x 256 tokens) in a copy of its folder, on a CPU with the flags of its README (device=cpu compile=False
eval_iters=20). Its authors publish 1.4697, the lowest of its estimates on random batches. That is the goal here, with
the loss computed over the full validation split.

- Loss: nats per character, computed over the full validation split (nanoGPT's split, the last tenth) in non-overlapping
  windows of the block size, in float32, by the same function for both sides, at twenty points of a run (every 150 of
  our 3,000 steps and every 250 of nanoGPT's 5,000). Some flags change the number of points: eval_every and
  eval_interval, --keep (eval_at_loss adds points) and --minutes-per-run (the last point is at the time limit). The
  report gives the number.
- Tuning: the steps and settings of our recipe were chosen on this validation split, before these rules (docs/log.md).
- Precision: each side trains in its default. On a CPU that is float32 for nanoGPT, and for Inkhorn bfloat16 if the CPU
  has fast bfloat16 matrix products.
- Seconds: training steps only, without evaluation and saving. Compilation is included and also reported as start-up:
  the time above the median of all steps slower than five times the median, anywhere in the run, because Inkhorn
  recompiles when its dropout starts (any other stall of the machine is counted as well). nanoGPT evaluates before its
  first step, so part of its compilation is not counted. Both sides read each step's loss, which synchronizes a GPU.
- The goal counts as reached at the first point at or below it. Nothing is interpolated, so the reported time can be too
  long by up to the interval between two points.
- Each run has its own process and compiler cache. The two runs of a seed are consecutive. Evaluation does not use the
  random number generators of training: our run equals `inkhorn train tiny-shakespeare` with that seed.
- With --minutes-per-run a run stops at the first step after that wall time (on a CPU, nanoGPT's evaluation before its
  first step takes some minutes of it), is evaluated there, and the report says how far it got.

The copy of train.py is changed in six places that do not affect training: the seed; an evaluation saves to ckpt-ITER.pt
(with always_save_checkpoint), which is evaluated later, instead of overwriting ckpt.pt; the time of evaluation and
saving is excluded from the next step (two places); a file named `stop` saves a last checkpoint and ends the run, and so
does the end of this script (two places). log_interval is 1; eval_interval is a twentieth of the max_iters given by
--nanogpt-set. The twenty checkpoints take 2.6 GB in the temporary folder until they are evaluated.
"""

import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Container
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from common import machine
from nanogpt import (
    OUT,
    SCRIPT_CHANGES,
    changed_script,
    copy_with_text,
    full_split_loss,
    load_checkpoint,
    logged_val_losses,
    record_settings,
    run_script,
    seed_change,
    step_seconds,
    val_ids,
)
from recipe_overrides import override
from record_report import Point, Run, commit, print_report, save_line, saved_runs, startup

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.config.recipes import RECIPES
from inkhorn.data.dataset import Array, tokenize_to_disk
from inkhorn.data.text import from_path
from inkhorn.hardware.device import select_device
from inkhorn.model import GPT
from inkhorn.tokenizer.bpe import MIN_VOCAB_SIZE
from inkhorn.training.callbacks import Callbacks
from inkhorn.training.trainer import Trainer

EVALUATIONS = 20  # per run


@dataclass
class Args:
    text: Path
    """tiny Shakespeare (`inkhorn data tiny-shakespeare` downloads it)"""
    nanogpt: Path | None = None
    """folder of a nanoGPT checkout"""
    seeds: int = 5
    """runs per side, with consecutive seeds"""
    first_seed: int = 1337
    """first of the seeds"""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """device of both sides"""
    development: bool = False
    """score the last tenth of the training text instead of the validation split, to choose settings"""
    goal: float = 1.4697
    """loss to reach"""
    claim: float | None = None
    """test whether the mean final loss of each side is below this (one-sided t-test, p < 0.01)"""
    minutes_per_run: float | None = None
    """stop a run after this wall time"""
    ours_only: bool = False
    """skip nanoGPT"""
    changes: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """overrides of our recipe, such as steps=100 n_layer=2 tokenizer=bpe vocab_size=1024"""
    nanogpt_changes: Annotated[tuple[str, ...], tyro.conf.arg(name="nanogpt-set")] = ()
    """overrides of nanoGPT's config, such as max_iters=100 n_layer=2"""
    save: Path | None = None
    """append each run to this JSON Lines file; a run that it holds with the same settings and device is not repeated"""
    keep: Path | None = None
    """keep our run folders here, with samples generated during training (for docs/figures/loss_samples.py)"""

    @property
    def all_seeds(self) -> range:
        return range(self.first_seed, self.first_seed + self.seeds)


class EvalCallbacks(Callbacks):
    """Callbacks that evaluate each checkpoint and stop the run with a signal at the time limit.

    Args:
        ids: tokens of the text that is scored.
        characters: its characters without those of its first token, which is not predicted.

    """

    def __init__(self, out: Path, ids: Array, characters: int, device: str, minutes: float | None) -> None:
        self.folder, self.ids, self.device = RunFolder(out), ids, device
        self.tokens_per_character = (len(ids) - 1) / characters
        self.end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        self.curve: list[Point] = []
        self.seconds: list[float] = []
        self.notes: list[str] = []

    def log(self, text: str) -> None:
        self.notes.append(text)
        print(f"    {text}", file=sys.stderr)

    def on_step(self, metrics: dict[str, Any]) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # the parent was killed, so no one needs this run
            os._exit(1)
        self.seconds.append(metrics["tokens"] / metrics["step"] / metrics["train/tokens_per_sec"])
        if time.monotonic() > self.end:
            self.end = float("inf")  # a second signal would keep the Trainer from saving
            signal.raise_signal(signal.SIGINT)

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None:  # noqa: ARG002
        self.measure(metrics["step"])

    def measure(self, step: int) -> None:
        """Evaluate the checkpoint just saved, in float32 regardless of the training precision."""
        folder = self.folder.latest()
        assert folder is not None
        assert RunFolder.step_of(folder) == step
        with torch.random.fork_rng():  # creating the model draws random initial weights
            model = GPT.from_pretrained(folder).to(self.device)
            per_token = full_split_loss(model, self.ids, model.config.block_size)
        loss = per_token * self.tokens_per_character
        # The Trainer's own clock is rolled back with the weights after a loss spike, so sum the step times here.
        self.curve.append(Point(step, sum(self.seconds), loss, startup(self.seconds)))
        print(f"    {self.curve[-1]}", file=sys.stderr)


def run_folder(folder: Path, seed: int) -> Path:
    return folder / f"inkhorn-{seed}"


def run_inkhorn(args: Args, seed: int, folder: Path) -> Run:
    recipe = override(RECIPES["tiny-shakespeare"], args.changes)
    bpe_size = recipe.vocab_size if recipe.tokenizer == "bpe" else None
    data = tokenize_to_disk(from_path(args.text), folder, bpe_size=bpe_size)
    if not any(change.startswith("eval_every=") for change in args.changes):
        recipe = override(recipe, [f"eval_every={max(1, recipe.train.steps // EVALUATIONS)}"])
    train = replace(recipe.train, seed=seed, device=args.device, save_every=recipe.train.steps, log_every=1)
    if args.keep is None:
        train = replace(train, sample_tokens=0, eval_at_loss=())  # evaluate every eval_every steps only
    config = recipe.architecture.to_model_config(
        data.tokenizer.vocab_size,
        dropout=train.dropout,
        attn_dropout=train.attn_dropout,
        bos_token_id=data.bos_token_id,
        eos_token_id=data.tokenizer.eos_id,
    )
    assert config.num_parameters < 10_000_000
    assert config.model_type == "gpt2"
    hardware = select_device(train)
    out = run_folder(args.keep or folder, seed)
    characters = len(data.tokenizer.decode(data.val[1:]))
    callbacks = EvalCallbacks(out, data.val, characters, hardware.device.type, args.minutes_per_run)
    trainer = Trainer(config, train, data, out, hardware, 1e12, callbacks)
    state = trainer.run(resume=False)
    if not callbacks.curve or callbacks.curve[-1].step < state.step:  # the time limit fell between two evaluations
        callbacks.measure(state.step)
    return Run(
        side="inkhorn",
        seed=seed,
        parameters=config.num_parameters,
        steps=train.steps,
        tokens_per_step=trainer.tokens_per_step,
        curve=tuple(callbacks.curve),
        notes=(
            f"tokenizer {recipe.tokenizer}",
            str(recipe.architecture),
            str(train),
            *hardware.reasons,
            *callbacks.notes,
        ),
    )


def run_nanogpt(args: Args, seed: int, folder: Path) -> Run:
    assert args.nanogpt is not None
    copy = folder / "nanogpt"
    data = copy_with_text(args.nanogpt, args.text, copy, SCRIPT_CHANGES | seed_change(seed))
    settings = record_settings(args.device, args.nanogpt_changes, EVALUATIONS)
    log = run_script(copy, settings, args.minutes_per_run)
    seconds, estimates = step_seconds(log), logged_val_losses(log)
    saved = {int(path.stem.removeprefix("ckpt-")): path for path in (copy / OUT).glob("ckpt-*.pt")}
    if not saved:
        sys.exit(f"nanoGPT saved no checkpoint, so there is nothing to evaluate; its settings were {settings}")
    ids, curve = val_ids(data), []
    for step in sorted(saved):
        model, checkpoint = load_checkpoint(copy, saved[step])
        loss = full_split_loss(model.to(args.device), ids, checkpoint["model_args"]["block_size"])
        curve.append(Point(step, sum(seconds[:step]), loss, startup(seconds[:step])))
        print(f"    {curve[-1]}", file=sys.stderr)
    config = checkpoint["config"]
    return Run(
        side="nanoGPT",
        seed=seed,
        parameters=sum(p.numel() for p in model.parameters()),
        steps=config["max_iters"] // config["eval_interval"] * config["eval_interval"],  # the last step that it saves
        tokens_per_step=config["gradient_accumulation_steps"] * config["batch_size"] * config["block_size"],
        curve=tuple(curve),
        notes=(settings,),
        own_estimate=min(estimates),
    )


def run_inkhorn_isolated(args: Args, seed: int, folder: Path) -> Run:
    """Run Inkhorn in a new process, as nanoGPT is, so that no state is left from the previous run."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        run = process.submit(run_inkhorn, args, seed, folder)
        try:
            return run.result()
        except BaseException:  # Ctrl-C or SIGTERM: leaving the pool would wait for the run to finish
            for worker in multiprocessing.active_children():
                worker.kill()
            raise


def training_part(text: Path, folder: Path) -> Path:
    """The training text of a file, as a file of its own: its last tenth is the development split."""
    characters = text.read_text("utf-8")
    out = folder / text.name
    out.write_text(characters[: int(len(characters) * 0.9)], "utf-8")
    return out


def check(args: Args, saved: Container[tuple[str, int]] = ()) -> None:
    """Exit with a clear error before training starts if a run that is not saved yet could not be made or saved."""
    if not args.ours_only:
        if args.nanogpt is None:
            sys.exit("give --nanogpt FOLDER, the folder of a nanoGPT checkout, or --ours-only")
        changed_script(args.nanogpt, SCRIPT_CHANGES)
    if not args.text.is_file():
        sys.exit(f"--text {args.text}: there is no such file (`inkhorn data tiny-shakespeare` downloads it)")
    if args.save is not None and (args.save.is_dir() or not args.save.parent.is_dir()):
        sys.exit(f"--save {args.save}: give a file in a folder that exists")
    seeds = [seed for seed in args.all_seeds if ("inkhorn", seed) not in saved]
    for folder in [run_folder(args.keep, seed) for seed in seeds] if args.keep is not None else []:
        if RunFolder(folder).steps():
            sys.exit(f"--keep {args.keep}: {folder} holds checkpoints already; give another folder")
    if args.claim is not None and args.seeds < 2:
        sys.exit("--claim compares the mean of several seeds: give --seeds 5")
    recipe = override(RECIPES["tiny-shakespeare"], args.changes)
    if recipe.tokenizer not in ("char", "bpe"):
        sys.exit(f"--set tokenizer={recipe.tokenizer}: give char or bpe, which are learnt from the training text")
    if not isinstance(recipe.vocab_size, int) or recipe.vocab_size < MIN_VOCAB_SIZE:
        sys.exit(f"--set vocab_size={recipe.vocab_size}: give a whole number of at least {MIN_VOCAB_SIZE}")
    for change in args.nanogpt_changes:
        if not re.fullmatch(r"\w+=[^\s=]+", change):
            sys.exit(f"--nanogpt-set {change}: give NAME=VALUE")


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    for number in (signal.SIGINT, signal.SIGTERM):  # sys.exit stops processes and removes temporary folders
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    if args.device == "auto":
        args = replace(args, device="cuda" if torch.cuda.is_available() else "cpu")
    device = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    settings = {
        "device": device,
        "minutes_per_run": args.minutes_per_run,
        "scored": "the last tenth of the training text" if args.development else "the validation split",
        "changed": [*args.changes, *args.nanogpt_changes],
    }
    facts: dict[str, Any] = settings | {"commit": commit(Path(__file__).parents[1])}
    saved = saved_runs(args.save, settings)
    check(args, saved)
    sides = {"inkhorn": run_inkhorn_isolated} | ({} if args.ours_only else {"nanoGPT": run_nanogpt})
    runs: list[Run] = []
    reused = 0
    for seed in args.all_seeds:
        for side, train in sides.items():
            if (side, seed) in saved:
                runs.append(saved[side, seed])
                reused += 1
                print(f"  from {args.save}: {runs[-1].describe(args.goal, args.minutes_per_run)}", file=sys.stderr)
                continue
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name) / "compiled")  # both sides inherit it
                text = training_part(args.text, Path(name)) if args.development else args.text
                runs.append(train(replace(args, text=text), seed, Path(name)))
            print(f"  {runs[-1].describe(args.goal, args.minutes_per_run)}", file=sys.stderr)
            if args.save is not None:
                save_line(args.save, runs[-1], args.goal, facts | {"machine": machine()})
    if reused:
        facts["not repeated"] = f"{reused} of {len(runs)} runs, read from {args.save}, which has their commits"
    print_report(runs, args.goal, args.minutes_per_run, facts, args.claim)


if __name__ == "__main__":
    main()
