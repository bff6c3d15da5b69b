"""The arguments of `inkhorn train`, whose defaults are a recipe's, a saved run's or a model's."""

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from itertools import zip_longest
from pathlib import Path
from typing import Annotated, Any

import tyro

from inkhorn.checkpoint.resolve import SHIPPED, resolve_checkpoint
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.data_source import DataFlags
from inkhorn.cli.parsing import default, flag, parse
from inkhorn.cli.ray_cluster import Workers
from inkhorn.config.bounds import Range
from inkhorn.config.model import Architecture
from inkhorn.config.recipes import RECIPES
from inkhorn.config.train import TrainConfig
from inkhorn.errors import UsageError, nearest
from inkhorn.utils.files import read_json
from inkhorn.web.watch import DEFAULT_PORT

DEFAULT_RECIPE, FINETUNE_RECIPE = "shakespeare-char", "finetune"
_RECIPE_BY_SIZE = {"small": 300_000, "tiny-shakespeare": 3_000_000, "shakespeare-char": math.inf}
"""The recipe for a text of fewer bytes than this."""


@dataclass(frozen=True, kw_only=True)
class TrainArgs(DataFlags):
    """Train a model. The defaults are the recipe's; with --resume, the saved run's."""

    corpus: Annotated[str | None, default("the recipe's")] = None
    """named corpus to train on; inkhorn data lists them"""
    out: Annotated[Path | None, default("runs/RECIPE")] = None
    """folder for checkpoints, metrics and the report"""
    init_from: Annotated[str, tyro.conf.arg(metavar="MODEL", help_behavior_hint="(default: random weights)")] = ""
    """start from the weights of this model: a shipped model's name or a checkpoint folder"""
    resume: bool = False
    """resume from the latest checkpoint in --out; start a new run if there is none"""
    watch: Annotated[
        Annotated[int, Range(ge=0, le=65_535)] | None,
        tyro.conf.arg(metavar="[PORT]", help_behavior_hint=f"(default: off; port {DEFAULT_PORT})"),
    ] = None
    """serve a live page of the run on this computer until the run ends; port 0: a free one"""
    ray: Workers = None
    """train in N workers of a Ray cluster (RAY_ADDRESS, or this machine), or in as many as there is room for"""
    architecture: Annotated[Architecture, tyro.conf.OmitArgPrefixes] = field(default_factory=Architecture)
    train: Annotated[TrainConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainConfig)


def names_recipe(argv: Sequence[str]) -> bool:
    """Whether the command line starts with a recipe's name."""
    return bool(argv) and not argv[0].startswith("-")


def parse_args(argv: list[str]) -> tuple[str, TrainArgs]:
    """The recipe's name and the arguments of the run, with `out` and `corpus` set.

    Raises:
        UsageError: the flags contradict each other, the saved run or the model to start from.
    """
    argv = _with_port(argv)
    named = names_recipe(argv)
    inits = any(word.partition("=")[0] == "--init-from" for word in argv)
    name = argv[0] if named else FINETUNE_RECIPE if inits else DEFAULT_RECIPE
    flags = argv[1:] if named else argv
    folder = Path("runs") / name
    if name not in RECIPES:
        text = Path(name)
        if not text.exists():
            what = "recipe or file" if text.suffix or len(text.parts) > 1 else "recipe"
            raise UsageError(f"there is no {what} {name!r}: {nearest(name, RECIPES)}")
        named, flags = False, ["--text", name, *flags]
        name = FINETUNE_RECIPE if inits else recipe_for(text)
        folder = Path("runs") / (text.resolve().name.partition(".")[0] or "text")
    recipe = RECIPES[name]
    defaults = TrainArgs(
        tokenizer=recipe.tokenizer, vocab_size=recipe.vocab_size, architecture=recipe.architecture, train=recipe.train
    )
    args = _parse(flags, name, defaults)
    out = args.out or folder
    restarted = os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0"  # torchrun repeats the original command
    resume = args.resume or restarted
    if resume and (out / "run.json").is_file():
        name, args = _parse_resumed(flags, out, name if named else None)
    elif not resume and (RunFolder(out).latest() or (out / "config.json").exists()):
        raise UsageError(f"{out} already holds a model: add --resume to continue its run, or use another --out")
    elif args.init_from:
        args = _parse_initialized(flags, name, defaults, args.init_from)
    _check(name, args)
    teachers = tuple(map(_absolute, args.train.teachers))
    train = replace(args.train, teachers=teachers)
    return name, replace(args, out=out, resume=resume, corpus=args.corpus or recipe.corpus, train=train)


def _with_port(argv: Sequence[str]) -> list[str]:
    """The words with the default port after a --watch that has none."""
    words: list[str] = []
    for word, following in zip_longest(argv, argv[1:]):
        bare = word == "--watch" and (following is None or following.startswith("-"))
        words += [word, str(DEFAULT_PORT)] if bare else [word]
    return words


def recipe_for(text: Path) -> str:
    """The recipe whose model suits the size of a text: a larger one would learn a short text by heart."""
    files = text.rglob("*") if text.is_dir() else [text]
    size = sum(file.stat().st_size for file in files if file.is_file())
    return next(name for name, most in _RECIPE_BY_SIZE.items() if size < most)


def _parse(flags: Sequence[str], name: str, defaults: TrainArgs) -> TrainArgs:
    command = f"inkhorn train {name}"
    return parse(TrainArgs, flags, command, defaults, f"{command} --text my.txt --out runs/mine")


def _parse_resumed(flags: Sequence[str], out: Path, named: str | None) -> tuple[str, TrainArgs]:
    """The name and arguments of the run saved in `out`, changed by the flags."""
    path = out / "run.json"
    record = read_json(path)
    name = str(record.get("name"))
    if named not in (None, name):
        raise UsageError(f"{out} is a run of the recipe {name}, not of {named}: give {name} or no recipe")
    args = _parse(flags, name, _saved_args(path, record))
    if args.init_from != record["init_from"] and _absolute(args.init_from) != record["init_from"]:
        raise UsageError(f"{out} was started from other weights: leave out --init-from, or use another --out")
    return name, args


def _saved_args(path: Path, record: dict[str, Any]) -> TrainArgs:
    try:
        return TrainArgs(
            text=Path(record["text"]) if record["text"] else None,
            val_text=Path(record["val_text"]) if record["val_text"] else None,
            pretrain_text=Path(record["pretrain_text"]) if record.get("pretrain_text") else None,
            encoding=record.get("encoding"),  # older runs have neither of these two
            skip_bad_rows=record.get("skip_bad_rows", False),
            corpus=None if record["text"] else record["corpus"],
            init_from=record["init_from"],
            tokenizer=record["tokenizer"],
            vocab_size=record["vocab_size"],
            architecture=Architecture(**record["architecture"]),
            train=TrainConfig(**record["train"]),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(
            f"{path} was written by another version of inkhorn ({error}): start a new run with another --out"
        ) from None


def _parse_initialized(flags: Sequence[str], name: str, defaults: TrainArgs, model: str) -> TrainArgs:
    """The arguments with the architecture of the model to start from, which flags must not change."""
    architecture = Architecture.of(read_config(resolve_checkpoint(model)))
    args = _parse(flags, name, replace(defaults, architecture=architecture))
    if (args.tokenizer, args.vocab_size) != (defaults.tokenizer, defaults.vocab_size):
        raise UsageError(f"the vocabulary comes with --init-from {model}: leave out --tokenizer and --vocab-size")
    names = [f.name for f in fields(Architecture)]
    changed = [name for name in names if getattr(args.architecture, name) != getattr(architecture, name)]
    if changed:
        words = ", ".join(map(flag, changed))
        raise UsageError(f"the architecture comes with --init-from {model}: leave out {words}")
    return replace(args, init_from=_absolute(model))


def _absolute(model: str) -> str:
    """A model's name that does not depend on the current folder."""
    return model if model in SHIPPED else str(resolve_checkpoint(model).resolve())


def _check(name: str, args: TrainArgs) -> None:
    if (name == FINETUNE_RECIPE or args.train.lora_rank) and not args.init_from:
        what = f"the recipe {FINETUNE_RECIPE}" if name == FINETUNE_RECIPE else "--lora-rank"
        raise UsageError(f"{what} needs a model to start from: add --init-from MODEL")
    args.check_text(args.corpus)
