"""`inkhorn train RECIPE`: the recipe's numbers are the flags' defaults."""

import platform
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any

import tyro

from inkhorn.checkpoint import RunFolder
from inkhorn.commands.flags import parse
from inkhorn.config import nearest
from inkhorn.errors import UsageError
from inkhorn.recipes import RECIPES, Recipe, Shape, TrainConfig
from inkhorn.weights import read_json, write_json


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train a model. Every flag's default is the recipe's; with --resume, the saved run's."""

    text: Path | None = None
    """train on this text file, or folder of text files, instead of the recipe's corpus"""
    val_text: Path | None = None
    """validate on this text file instead of the last tenth of --text"""
    corpus: str = "shakespeare"
    """a named corpus, see inkhorn data"""
    out: Path | None = None
    """the run's folder; runs/RECIPE when absent"""
    resume: bool = False
    """go on from the run's latest checkpoint, or begin if there is none"""
    shape: Annotated[Shape, tyro.conf.OmitArgPrefixes] = field(default_factory=Shape)
    train: Annotated[TrainConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainConfig)


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    if not argv or argv[0].startswith("-"):
        name, rest = "shakespeare", argv
        if {"-h", "--help"} & set(argv):
            print(_list_recipes())  # noqa: T201
            return 0
    else:
        name, rest = argv[0], argv[1:]
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}: {nearest(name, RECIPES)}")
    recipe = RECIPES[name]()
    prog = f"inkhorn train {name}"
    defaults = TrainArgs(corpus=recipe.corpus, shape=recipe.shape, train=recipe.train)
    args = parse(TrainArgs, rest, prog, defaults)
    out = args.out or Path("runs") / name
    saved = out / "run.json"
    if args.resume and saved.is_file():
        args = parse(TrainArgs, rest, prog, _saved_args(saved))
    elif not args.resume and RunFolder(out).latest():
        raise UsageError(f"{out} already holds a run: --resume goes on with it, --out FOLDER begins another")
    return _train(args, recipe, name, out)


def _list_recipes() -> str:
    lines = [f"  {name:18}{make().about}" for name, make in RECIPES.items()]
    return "\n".join(
        ["usage: inkhorn train [RECIPE] [options]   inkhorn train RECIPE --help lists them", "", "recipes:", *lines]
    )


def _saved_args(path: Path) -> TrainArgs:
    saved = read_json(path)
    try:
        return TrainArgs(
            text=Path(saved["text"]) if saved["text"] else None,
            val_text=Path(saved["val_text"]) if saved["val_text"] else None,
            corpus=saved["corpus"],
            shape=Shape(**saved["shape"]),
            train=TrainConfig(**saved["train"]),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is not of this version of inkhorn ({error}): begin anew with another --out") from None


def _train(args: TrainArgs, recipe: Recipe, name: str, out: Path) -> int:
    from inkhorn import (
        corpus,
        dataset,
        textsource,
    )  # torch and rich take a second to import: only once the flags are known to be right
    from inkhorn.hardware import advice_on_memory, choose_hardware, free_bytes, measure_peak, training_bytes
    from inkhorn.progress import RunProgress
    from inkhorn.progress_bar import tokenising
    from inkhorn.train import Trainer

    source = textsource.from_path(args.text, val_path=args.val_text) if args.text else corpus.fetch(args.corpus)
    with tokenising(source) as done:
        data = dataset.prepare(source, corpus.cache_dir(), done)
    config = args.shape.config(
        data.tokenizer.vocab_size,
        dropout=args.train.dropout,
        attn_dropout=args.train.attn_dropout,
        start=data.start_id,
        end=data.tokenizer.eos_id,
    )
    data.require_block(config.block_size)
    hardware = choose_hardware(args.train)
    peak = measure_peak(hardware)
    out.mkdir(parents=True, exist_ok=True)
    with RunProgress(args.train.steps, out) as progress:
        progress.say(f"{recipe.about} -> {out}")
        progress.say(
            f"model: {config.num_parameters:,} parameters; vocabulary {config.vocab_size}; block {config.block_size}"
        )
        progress.say(f"text: {data.name}, {len(data.train):,} tokens to train on, {len(data.val):,} held out")
        for reason in hardware.reasons:
            progress.say(reason)
        progress.say(f"this machine's best matrix product: {peak / 1e9:,.0f} GFLOP/s (MFU is the share of it)")
        muon = args.train.optimizer == "muon"
        if training_bytes(config, args.train.batch_size, hardware.dtype, muon=muon) > free_bytes(hardware.device):
            progress.say(f"This may run out of memory: {advice_on_memory(config, args.train, hardware)}")
        write_json(
            out / "run.json",
            _run_record(args, name, data, config.to_hf(), config.num_parameters, hardware.reasons, peak),
        )
        state = Trainer(config, args.train, data, out, hardware, peak, progress).run(resume=args.resume)
        if state.step < args.train.steps:
            progress.say(
                f"Stopped and saved at step {state.step:,}. Go on with: inkhorn train {name} --out {out} --resume"
            )
            return 130
        progress.say(
            f'Done: best validation loss {state.best_loss:.4f}. Try it: inkhorn generate --model {out} "ROMEO:"'
        )
    return 0


def _run_record(
    args: TrainArgs,
    name: str,
    data: Any,
    model: dict[str, Any],
    parameters: int,
    hardware: tuple[str, ...],
    peak: float,
) -> dict[str, Any]:
    """What run.json holds: what a resumed run takes its defaults from, and what the report shows."""
    import numpy
    import torch

    from inkhorn import __version__

    return {
        "name": name,
        "text": str(args.text.resolve()) if args.text else None,
        "val_text": str(args.val_text.resolve()) if args.val_text else None,
        "corpus": args.corpus if args.text is None else data.name,
        "shape": asdict(args.shape),
        "train": asdict(args.train),
        "model": model,
        "num_parameters": parameters,
        "hardware": list(hardware),
        "peak_flops": peak,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "inkhorn": __version__,
        },
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "train_tokens": len(data.train),
        "val_tokens": len(data.val),
        "command": " ".join(["inkhorn", *sys.argv[1:]]),
    }
