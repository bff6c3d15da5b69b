"""The tiny-Shakespeare record: our recipe beside nanoGPT's own, to the same loss, by a protocol anyone can repeat.

    python benchmarks/record.py --nanogpt FOLDER --text tiny-shakespeare.txt [--seeds 5] [--minutes-per-run N]

Ours is the recipe `tiny-shakespeare` (under 10,000,000 parameters, plain GPT-2) on the hardware that `inkhorn train`
chooses. nanoGPT's is its own train.py with its own config/train_shakespeare_char.py (10.7M parameters, 5,000 steps of
64 x 256), in a copy of its folder; on a CPU with its readme's flags for one (device=cpu compile=False eval_iters=20).
Its authors publish 1.4697, the best of its estimates by random batches: the goal here, by a stricter loss.

- Loss: the whole validation split of nanoGPT's split (the last tenth), in non-overlapping windows of the block size, in
  float32, of each side by the same function, at twenty points of its run (each 100 of our 2,000 steps and each 250 of
  nanoGPT's 5,000). The flags can change how many: eval_every and eval_interval, --keep (eval_at_loss adds points)
  and --minutes-per-run (the last one is where the time was up). The report says how many there were.
- Tuning: our recipe was tuned on this very validation split (docs/log.md), for tiny Shakespeare has no third one.
- Precision: each side trains in its own. On a CPU that is float32 for nanoGPT, and for ours bfloat16 where the CPU
  multiplies it fast.
- Seconds: of training steps, evaluating and saving left out, compiling counted and told apart as the start-up: what the
  steps that take more than five times the median step take beyond it, wherever they come, for ours compiles again when
  its dropout begins (any other long wait of the machine counts so, too). nanoGPT evaluates before its first step, so
  part of its compiling is not counted. Both sides look at the loss of each step, which on a GPU waits for it.
- The goal is passed at the first of those points that is as low; nothing is interpolated, so the seconds until then are
  up to the way from one point to the next too many.
- Each run is a process of its own, with a compiler cache of its own. A seed's two runs follow one another. Measuring
  draws nothing from training's random numbers: ours is what `inkhorn train tiny-shakespeare` makes with that seed.
- With --minutes-per-run a run ends at the first step after that much wall time (nanoGPT's evaluation before its first
  step takes some minutes of that on a CPU), its loss is taken there, and the report says how far it came.

train.py of the copy is changed in six places, none of which training notices: the seed; an evaluation saves to
ckpt-ITER.pt, with always_save_checkpoint, to be measured later, instead of to ckpt.pt, which the next would overwrite;
the time of evaluating and saving is taken out of the next step's (two places); a file named `stop` saves once more and
ends it, and the end of this script ends it too (two places). log_interval is 1; eval_interval is a twentieth of a
max_iters given by --nanogpt-set. Its twenty checkpoints take 2.6 GB of the temporary folder until they are measured.
"""

import ast
import multiprocessing
import os
import re
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, fields, replace
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
    load_checkpoint,
    own_estimates,
    record_settings,
    run_script,
    seed_change,
    step_seconds,
    val_ids,
    whole_split,
)
from record_report import Point, Run, commit, save_line, startup, tell

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.config.recipes import RECIPES, Recipe
from inkhorn.data.dataset import Array, tokenize_to_disk
from inkhorn.data.text import from_path
from inkhorn.errors import nearest
from inkhorn.hardware.device import select_device
from inkhorn.model import GPT
from inkhorn.training.trainer import Trainer

POINTS = 20  # of a run at which its loss is taken


@dataclass
class Args:
    text: Path
    """tiny Shakespeare (`inkhorn data tiny-shakespeare` fetches it)"""
    nanogpt: Path | None = None
    """a checkout of nanoGPT"""
    seeds: int = 5
    """runs of each side, seeds 1337, 1338, ..."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """where both sides train"""
    goal: float = 1.4697
    """loss to reach"""
    minutes_per_run: float | None = None
    """end a run after this much wall time"""
    ours_only: bool = False
    """leave nanoGPT out"""
    changes: Annotated[tuple[str, ...], tyro.conf.arg(name="set")] = ()
    """changes of our recipe, such as steps=100 n_layer=2"""
    nanogpt_changes: Annotated[tuple[str, ...], tyro.conf.arg(name="nanogpt-set")] = ()
    """changes of nanoGPT's, such as max_iters=100 n_layer=2"""
    save: Path | None = None
    """append each run to this file, a line of JSON"""
    keep: Path | None = None
    """keep our runs in this folder, with what they wrote on their way (docs/figures/loss_samples.py draws it)"""

    @property
    def all_seeds(self) -> range:
        return range(1337, 1337 + self.seeds)


def changed(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with `name=value` fields of its architecture and its training changed."""
    parts: dict[str, Any] = {"architecture": recipe.architecture, "train": recipe.train}
    known = {field.name: part for part, value in parts.items() for field in fields(value)}
    for change in changes:
        name, equals, word = change.partition("=")
        if not equals or name not in known:
            sys.exit(f"--set {change}: give NAME=VALUE with a field of the recipe: {nearest(name, known)}")
        parts[known[name]] = replace(parts[known[name]], **{name: value_of(word)})
    return replace(recipe, **parts)


def value_of(word: str) -> Any:
    """A number, True or such where it is written as one in Python, else the word."""
    try:
        return ast.literal_eval(word)
    except (SyntaxError, ValueError):
        return word


class Watch:
    """Callbacks that take the loss of each checkpoint, and end the run by a signal when its time is up."""

    def __init__(self, out: Path, ids: Array, device: str, minutes: float | None) -> None:
        self.folder, self.ids, self.device = RunFolder(out), ids, device
        self.end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        self.curve: list[Point] = []
        self.seconds: list[float] = []
        self.notes: list[str] = []

    def log(self, text: str) -> None:
        self.notes.append(text)
        print(f"    {text}", file=sys.stderr)

    def on_step(self, metrics: dict[str, Any]) -> None:
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # killed: nobody waits for this run any more
            os._exit(1)
        self.seconds.append(metrics["tokens"] / metrics["step"] / metrics["train/tokens_per_sec"])
        if time.monotonic() > self.end:
            self.end = float("inf")  # a second signal would not let the Trainer save
            signal.raise_signal(signal.SIGINT)

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None:  # noqa: ARG002
        self.measure(metrics["step"])

    def measure(self, step: int) -> None:
        """The loss of the checkpoint just saved, in float32, whatever training's own precision is."""
        folder = self.folder.latest()
        assert folder is not None
        assert RunFolder.step_of(folder) == step
        with torch.random.fork_rng():  # a new model draws its random weights before it has the checkpoint's
            model = GPT.from_pretrained(folder).to(self.device)
            loss = whole_split(model, self.ids, model.config.block_size)
        # A sum of its own: the Trainer's clock goes back with the weights if a loss explodes.
        self.curve.append(Point(step, sum(self.seconds), loss, startup(self.seconds)))
        print(f"    {self.curve[-1]}", file=sys.stderr)


def run_folder(folder: Path, seed: int) -> Path:
    return folder / f"inkhorn-{seed}"


def run_inkhorn(args: Args, seed: int, folder: Path) -> Run:
    data = tokenize_to_disk(from_path(args.text), folder)
    recipe = changed(RECIPES["tiny-shakespeare"](), args.changes)
    if not any(change.startswith("eval_every=") for change in args.changes):
        recipe = changed(recipe, [f"eval_every={max(1, recipe.train.steps // POINTS)}"])
    train = replace(recipe.train, seed=seed, device=args.device, save_every=recipe.train.steps, log_every=1)
    if args.keep is None:
        train = replace(train, sample_tokens=0, eval_at_loss=())  # measured at each eval_every only
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
    watch = Watch(out, data.val, hardware.device.type, args.minutes_per_run)
    trainer = Trainer(config, train, data, out, hardware, 1e12, watch)
    state = trainer.run(resume=False)
    if not watch.curve or watch.curve[-1].step < state.step:  # its time was up between two evaluations
        watch.measure(state.step)
    return Run(
        side="inkhorn",
        seed=seed,
        parameters=config.num_parameters,
        steps=train.steps,
        tokens_per_step=trainer.tokens_per_step,
        curve=tuple(watch.curve),
        notes=(str(recipe.architecture), str(train), *hardware.reasons, *watch.notes),
    )


def run_nanogpt(args: Args, seed: int, folder: Path) -> Run:
    assert args.nanogpt is not None
    copy = folder / "nanogpt"
    data = copy_with_text(args.nanogpt, args.text, copy, SCRIPT_CHANGES | seed_change(seed))
    settings = record_settings(args.device, args.nanogpt_changes, POINTS)
    log = run_script(copy, settings, args.minutes_per_run)
    seconds, estimates = step_seconds(log), own_estimates(log)
    saved = {int(path.stem.removeprefix("ckpt-")): path for path in (copy / OUT).glob("ckpt-*.pt")}
    if not saved:
        sys.exit(f"nanoGPT saved no checkpoint, so there is nothing to measure: it ran with {settings}")
    ids, curve = val_ids(data), []
    for step in sorted(saved):
        model, checkpoint = load_checkpoint(copy, saved[step])
        loss = whole_split(model.to(args.device), ids, checkpoint["model_args"]["block_size"])
        curve.append(Point(step, sum(seconds[:step]), loss, startup(seconds[:step])))
        print(f"    {curve[-1]}", file=sys.stderr)
    config = checkpoint["config"]
    return Run(
        side="nanoGPT",
        seed=seed,
        parameters=sum(p.numel() for p in model.parameters()),
        steps=config["max_iters"] // config["eval_interval"] * config["eval_interval"],  # the last that it saves
        tokens_per_step=config["gradient_accumulation_steps"] * config["batch_size"] * config["block_size"],
        curve=tuple(curve),
        notes=(settings,),
        own_estimate=min(estimates),
    )


def in_own_process(args: Args, seed: int, folder: Path) -> Run:
    """Ours as nanoGPT's: nothing imported, compiled or kept in memory by the run before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        run = process.submit(run_inkhorn, args, seed, folder)
        try:
            return run.result()
        except BaseException:  # Ctrl-C or SIGTERM: to leave the pool would be to wait for the run's last step
            for worker in multiprocessing.active_children():
                worker.kill()
            raise


def check(args: Args) -> None:
    """End with clear words, before hours of training, where a run could not be made or not be saved."""
    if not args.ours_only:
        if args.nanogpt is None:
            sys.exit("give --nanogpt FOLDER, a checkout of nanoGPT, or --ours-only")
        changed_script(args.nanogpt, SCRIPT_CHANGES)
    if not args.text.is_file():
        sys.exit(f"--text {args.text}: there is no such file (`inkhorn data tiny-shakespeare` fetches it)")
    if args.save is not None and (args.save.is_dir() or not args.save.parent.is_dir()):
        sys.exit(f"--save {args.save}: give a file in a folder that exists")
    for folder in [run_folder(args.keep, seed) for seed in args.all_seeds] if args.keep is not None else []:
        if RunFolder(folder).steps():
            sys.exit(f"--keep {args.keep}: {folder} holds checkpoints already; give another folder")
    changed(RECIPES["tiny-shakespeare"](), args.changes)
    for change in args.nanogpt_changes:
        if not re.fullmatch(r"\w+=[^\s=]+", change):
            sys.exit(f"--nanogpt-set {change}: give NAME=VALUE")


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    check(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # on its way out it ends what runs and clears its folders
    if args.device == "auto":
        args = replace(args, device="cuda" if torch.cuda.is_available() else "cpu")
    what = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    facts = {"device": what, "commit": commit(Path(__file__).parents[1]), "minutes_per_run": args.minutes_per_run}
    sides = [in_own_process] if args.ours_only else [in_own_process, run_nanogpt]
    runs: list[Run] = []
    for seed in args.all_seeds:
        for train in sides:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name) / "compiled")  # both sides' processes have it
                runs.append(train(args, seed, Path(name)))
            print(f"  {runs[-1].story(args.goal, args.minutes_per_run)}", file=sys.stderr)
            if args.save is not None:
                save_line(args.save, runs[-1], args.goal, facts | {"machine": machine()})
    tell(runs, args.goal, args.minutes_per_run, facts | {"changed": (*args.changes, *args.nanogpt_changes)})


if __name__ == "__main__":
    main()
