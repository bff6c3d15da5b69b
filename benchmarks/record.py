"""The tiny-Shakespeare record: our recipe beside nanoGPT's own, to the same loss, by a protocol anyone can repeat.

    python benchmarks/record.py --nanogpt FOLDER --text tiny-shakespeare.txt [--seeds 5] [--minutes-per-run N]

Ours is the recipe `tiny-shakespeare` (under 10,000,000 parameters, plain GPT-2) on the hardware that `inkhorn train`
chooses. nanoGPT's is its own train.py with its own config/train_shakespeare_char.py (10.7M parameters, 5,000 steps of
64 x 256), in a copy of its folder; on a CPU with its readme's flags for one (device=cpu compile=False eval_iters=20).
Its authors publish 1.4697, the best of its estimates by random batches: the goal here, by a stricter loss.

- Loss: the whole validation split of nanoGPT's split (the last tenth), in non-overlapping windows of the block size, in
  float32, of each side by the same function, at twenty points of its run (nanoGPT: each 250 of 5,000 steps).
- Seconds: of training steps, evaluating and saving left out, compiling counted and told apart as the start-up (what the
  first ten steps take beyond the median of the later ones). nanoGPT evaluates before its first step, so part of its
  compiling is not counted. Both sides look at the loss of each step, which on a GPU waits for it.
- The goal is passed at the first of those points that is as low; nothing is interpolated, so the seconds until then are
  up to a twentieth of the run too many.
- Each run is a process of its own, with a compiler cache of its own. A seed's two runs follow one another.
- With --minutes-per-run a run ends at the first step after that much wall time (nanoGPT's evaluation before its first
  step takes some minutes of that on a CPU), its loss is taken there, and the report says how far it came.

train.py of the copy is changed in four places, none of which training notices: the seed; an evaluation saves to
ckpt-ITER.pt, with always_save_checkpoint, to be measured later, instead of to ckpt.pt, which the next would overwrite;
the time of evaluating and saving is taken out of the next step's; and a file named `stop` saves once more and ends it.
log_interval is 1. Its twenty checkpoints take 2.6 GB of the temporary folder until they are measured.
"""

import ast
import json
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
import tyro
from common import Series, machine, report
from nanogpt import (
    KEEP_EACH_EVALUATION,
    OUT,
    copy_with_text,
    load_checkpoint,
    own_estimates,
    run_script,
    seed_change,
    step_seconds,
    val_ids,
    whole_split,
)

from inkhorn.checkpoint import RunFolder
from inkhorn.config import nearest
from inkhorn.dataset import Array, prepare
from inkhorn.hardware import choose_hardware
from inkhorn.model import GPT
from inkhorn.recipes import RECIPES, Recipe
from inkhorn.textsource import from_path
from inkhorn.train import Trainer

POINTS = 20  # of a run at which its loss is taken
FIRST_STEPS = 10  # in which compiling is done


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
    """keep our runs in this folder, with what they wrote on their way (docs/figures/sounds.py draws it)"""


@dataclass(frozen=True)
class Point:
    """A model on its way: steps made, seconds of training, loss over the whole validation split."""

    step: int
    seconds: float
    loss: float

    def __str__(self) -> str:
        return f"step {self.step:,}: loss {self.loss:.4f} after {self.seconds:,.1f} s"


@dataclass(frozen=True, kw_only=True)
class Run:
    """What came of one training.

    `steps` are those of the whole recipe, `startup` the seconds of compiling (they are part of a point's seconds),
    `own_estimate` nanoGPT's best loss by its own random batches.
    """

    side: str
    seed: int
    parameters: int
    steps: int
    tokens_per_step: int
    startup: float
    curve: tuple[Point, ...]
    notes: tuple[str, ...] = ()
    own_estimate: float | None = None

    @property
    def lowest(self) -> Point:
        return min(self.curve, key=lambda point: point.loss)

    @property
    def final(self) -> Point:
        return self.curve[-1]

    @property
    def tokens_per_second(self) -> float:
        return self.final.step * self.tokens_per_step / (self.final.seconds - self.startup)

    @property
    def ended(self) -> bool:
        """Whether it came to its last step."""
        return self.final.step >= self.steps

    def passed(self, goal: float) -> Point | None:
        """The first point as low as the goal."""
        return next((point for point in self.curve if point.loss <= goal), None)

    def story(self, goal: float, minutes: float | None) -> str:
        """How it went, in words."""
        first, last, rate = self.passed(goal), self.final, f"{self.tokens_per_second:,.0f} tokens/s"
        whole = self.ended or minutes is None
        told = f"{self.side}, seed {self.seed}: {goal:g} "
        if first is not None:
            told += f"passed after {first.seconds:,.1f} s, at step {first.step:,}"
        else:
            told += f"not reached in {last.step:,} steps" if whole else f"not reached in {minutes:g} min"
        if whole:
            low = f"lowest {self.lowest.loss:.4f} at step {self.lowest.step:,}, at the end {last.loss:.4f}"
            return f"{told}; {low} after {last.seconds:,.1f} s ({rate}, {self.startup:.1f} s start-up)"
        hours = (self.startup + self.steps * self.tokens_per_step / self.tokens_per_second) / 3600
        tokens = f"{last.step * self.tokens_per_step:,} tokens"
        return (
            f"{told}: loss {last.loss:.4f} after {tokens}, {rate}, "
            f"which makes about {hours:.2g} hours to its {self.steps:,} steps"
        )


def startup(seconds: Sequence[float]) -> float:
    """What the first steps take beyond the median of the later ones; 0 where there are no later ones to tell by."""
    first, later = seconds[:FIRST_STEPS], seconds[FIRST_STEPS:]
    return max(0.0, sum(first) - len(first) * statistics.median(later)) if later else 0.0


def summary(values: Sequence[float]) -> dict[str, float | None]:
    """Mean, standard deviation (of a sample; None for a single value), lowest and highest."""
    deviation = statistics.stdev(values) if len(values) > 1 else None
    return {"mean": statistics.fmean(values), "deviation": deviation, "lowest": min(values), "highest": max(values)}


def changed(recipe: Recipe, changes: Sequence[str]) -> Recipe:
    """The recipe with `name=value` fields of its shape and its training changed."""
    parts: dict[str, Any] = {"shape": recipe.shape, "train": recipe.train}
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
    """An observer that takes the loss of each checkpoint, and ends the run by a signal when its time is up."""

    def __init__(self, out: Path, ids: Array, device: str, minutes: float | None) -> None:
        self.folder, self.ids, self.device = RunFolder(out), ids, device
        self.end = time.monotonic() + 60 * minutes if minutes is not None else float("inf")
        self.curve: list[Point] = []
        self.seconds: list[float] = []
        self.notes: list[str] = []

    def say(self, text: str) -> None:
        self.notes.append(text)
        print(f"    {text}", file=sys.stderr)

    def step(self, metrics: dict[str, Any]) -> None:
        self.seconds.append(metrics["tokens"] / metrics["step"] / metrics["train/tokens_per_sec"])
        if time.monotonic() > self.end:
            self.end = float("inf")  # a second signal would not let the Trainer save
            signal.raise_signal(signal.SIGINT)

    def evaluated(self, metrics: dict[str, Any], sample: str) -> None:  # noqa: ARG002
        self.measure(metrics["step"])

    def measure(self, step: int) -> None:
        """The loss of the checkpoint just saved, in float32, whatever training's own precision is."""
        folder = self.folder.latest()
        assert folder is not None
        assert RunFolder.step_of(folder) == step
        model = GPT.from_pretrained(folder).to(self.device)
        # A sum of its own: the Trainer's clock goes back with the weights if a loss explodes.
        self.curve.append(Point(step, sum(self.seconds), whole_split(model, self.ids, model.config.block_size)))
        print(f"    {self.curve[-1]}", file=sys.stderr)


def run_inkhorn(args: Args, seed: int, folder: Path) -> Run:
    data = prepare(from_path(args.text), folder)
    recipe = changed(RECIPES["tiny-shakespeare"](), args.changes)
    if not any(change.startswith("eval_every=") for change in args.changes):
        recipe = changed(recipe, [f"eval_every={max(1, recipe.train.steps // POINTS)}"])
    train = replace(recipe.train, seed=seed, device=args.device, save_every=recipe.train.steps, log_every=1)
    if args.keep is None:
        train = replace(train, sample_chars=0, milestones=())  # measured at its twenty points only
    config = recipe.shape.config(
        data.tokenizer.vocab_size,
        dropout=train.dropout,
        attn_dropout=train.attn_dropout,
        start=data.start_id,
        end=data.tokenizer.eos_id,
    )
    assert config.num_parameters < 10_000_000
    assert config.model_type == "gpt2"
    hardware = choose_hardware(train)
    out = (args.keep or folder) / f"inkhorn-{seed}"
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
        startup=startup(watch.seconds),
        curve=tuple(watch.curve),
        notes=(str(recipe.shape), str(train), *hardware.reasons, *watch.notes),
    )


def run_nanogpt(args: Args, seed: int, folder: Path) -> Run:
    assert args.nanogpt is not None
    copy = folder / "nanogpt"
    data = copy_with_text(args.nanogpt, args.text, copy, seed_change(seed) | KEEP_EACH_EVALUATION)
    settings = f"device={args.device} log_interval=1 always_save_checkpoint=True"
    settings += " compile=False eval_iters=20" if args.device == "cpu" else ""
    settings = " ".join((settings, *args.nanogpt_changes))
    log = run_script(copy, settings, args.minutes_per_run)
    seconds, estimates = step_seconds(log), own_estimates(log)
    saved = {int(path.stem.removeprefix("ckpt-")): path for path in (copy / OUT).glob("ckpt-*.pt")}
    ids, curve = val_ids(data), []
    for step in sorted(saved):
        model, checkpoint = load_checkpoint(copy, saved[step])
        loss = whole_split(model.to(args.device), ids, checkpoint["model_args"]["block_size"])
        curve.append(Point(step, sum(seconds[:step]), loss))
        print(f"    {curve[-1]}", file=sys.stderr)
    config = checkpoint["config"]
    return Run(
        side="nanoGPT",
        seed=seed,
        parameters=sum(p.numel() for p in model.parameters()),
        steps=config["max_iters"],
        tokens_per_step=config["gradient_accumulation_steps"] * config["batch_size"] * config["block_size"],
        startup=startup(seconds),
        curve=tuple(curve),
        notes=(settings,),
        own_estimate=min(estimates),
    )


def in_own_process(args: Args, seed: int, folder: Path) -> Run:
    """Ours as nanoGPT's: nothing imported, compiled or kept in memory by the run before."""
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as process:
        return process.submit(run_inkhorn, args, seed, folder).result()


def keep(path: Path, run: Run, args: Args, here: Mapping[str, Any]) -> None:
    passed = run.passed(args.goal)
    line = {"goal": args.goal, "seconds_to_goal": passed and passed.seconds, "lowest": run.lowest.loss}
    line |= {"final": run.final.loss, "minutes_per_run": args.minutes_per_run, **asdict(run), **here}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def series_of(runs: Sequence[Run], goal: float) -> list[Series]:
    """What is told of one side's runs; the seconds only of those that reached the goal."""
    side = runs[0].side
    reached = [(point.seconds, run.startup) for run in runs if (point := run.passed(goal))]
    estimates = [run.own_estimate for run in runs if run.own_estimate is not None]
    found = [
        Series(f"{side}: seconds to {goal:g}", "s", tuple(seconds for seconds, _ in reached)),
        Series(f"{side}: the same without start-up", "s", tuple(seconds - startup for seconds, startup in reached)),
        Series(f"{side}: lowest loss", "nats", tuple(run.lowest.loss for run in runs)),
        Series(f"{side}: loss at the end", "nats", tuple(run.final.loss for run in runs)),
        Series(f"{side}: best of its own estimates", "nats", tuple(estimates)),
        Series(f"{side}: speed", "tokens/s", tuple(run.tokens_per_second for run in runs)),
        Series(f"{side}: start-up", "s", tuple(run.startup for run in runs)),
    ]
    return [series for series in found if series.values]


def table(series: Sequence[Series]) -> str:
    lines = [f"{'':44} {'mean':>10} {'deviation':>10} {'lowest':>10} {'highest':>10}"]
    for entry in series:
        form = ",.4f" if entry.unit == "nats" else ",.1f"
        cells = ("-" if value is None else format(value, form) for value in summary(entry.values).values())
        lines.append(f"{entry.name:44} " + " ".join(f"{cell:>10}" for cell in cells) + f"  n={len(entry.values)}")
    return "\n".join(lines)


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    if args.nanogpt is None and not args.ours_only:
        sys.exit("give --nanogpt FOLDER, a checkout of nanoGPT, or --ours-only")
    if args.device == "auto":
        args = replace(args, device="cuda" if torch.cuda.is_available() else "cpu")
    changed(RECIPES["tiny-shakespeare"](), args.changes)  # so that a wrong name is told at once
    what = torch.cuda.get_device_name() if args.device == "cuda" else f"CPU, {torch.get_num_threads()} threads"
    here = {"device": what, "machine": machine()}
    sides = [in_own_process] if args.ours_only else [in_own_process, run_nanogpt]
    runs: list[Run] = []
    for seed in range(1337, 1337 + args.seeds):
        for train in sides:
            with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
                os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(Path(name) / "compiled")  # both sides' processes have it
                runs.append(train(args, seed, Path(name)))
            print(f"  {runs[-1].story(args.goal, args.minutes_per_run)}", file=sys.stderr)
            if args.save is not None:
                keep(args.save, runs[-1], args, here)
    facts: dict[str, Any] = {
        "device": what,
        "minutes per run": args.minutes_per_run,
        "changed": (*args.changes, *args.nanogpt_changes),
    }
    series: list[Series] = []
    reached: dict[str, list[float]] = {}
    print()
    for side in dict.fromkeys(run.side for run in runs):
        ours = [run for run in runs if run.side == side]
        series += series_of(ours, args.goal)
        reached[side] = [point.seconds for run in ours if (point := run.passed(args.goal))]
        counts = f"{len(reached[side])} of {len(ours)} runs reached {args.goal:g}"
        early = f"ended early: {sum(not run.ended for run in ours)}"
        facts[side] = f"{ours[0].parameters:,} parameters; {counts}; {early}"
        print("\n".join(run.story(args.goal, args.minutes_per_run) for run in ours))
    if len(reached) == 2 and all(reached.values()):
        mine, theirs = (statistics.fmean(seconds) for seconds in reached.values())
        facts["share of nanoGPT's mean time to the goal"] = f"{mine / theirs:.3f}"
    print(f"\n{table(series)}")
    report("The tiny-Shakespeare record", series, facts)


if __name__ == "__main__":
    main()
