"""`inkhorn train RECIPE`: the recipe's numbers are the flags' defaults."""

import math
import os
import platform
import shlex
import sys
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any

import tyro

from inkhorn.checkpoint.resolve import SHIPPED, resolve_checkpoint
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.data_source import DataSource
from inkhorn.cli.parsing import parse
from inkhorn.config.model import Architecture
from inkhorn.config.recipes import RECIPES, Recipe
from inkhorn.config.train import TrainConfig
from inkhorn.errors import InkhornError, UsageError, nearest
from inkhorn.tokenizer.base import Tokenizer, check_vocab_size
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import read_json, write_json

DEFAULT_RECIPE = "shakespeare"


@dataclass(frozen=True, kw_only=True)
class TrainArgs:
    """Train a model. Every flag's default is the recipe's; with --resume, the saved run's."""

    text: Path | None = None
    """train on this text file or folder of text files, or of .parquet or .jsonl files whose every row has a text,
    instead of the recipe's corpus"""
    val_text: Path | None = None
    """validate on this text file instead of the last tenth of --text"""
    corpus: str | None = None
    """a named corpus instead of the recipe's, see inkhorn data"""
    tokenizer: str = "char"
    """char: a token is a character; bpe: --vocab-size tokens learnt from the text; gpt2 or openai-gpt: OpenAI's; or a
    folder that has a tokenizer.json"""
    vocab_size: int = 4096
    """how many tokens --tokenizer bpe learns"""
    out: Path | None = None
    """the run's folder; runs/RECIPE when absent"""
    init_from: Annotated[str, tyro.conf.arg(metavar="MODEL")] = ""
    """begin with these weights, their shape and vocabulary: a shipped model's name, or a folder"""
    resume: bool = False
    """go on from the run's latest checkpoint, or begin if there is none"""
    architecture: Annotated[Architecture, tyro.conf.OmitArgPrefixes] = field(default_factory=Architecture)
    train: Annotated[TrainConfig, tyro.conf.OmitArgPrefixes] = field(default_factory=TrainConfig)


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    try:
        return _run(argv)
    except UsageError as error:
        if os.environ.get("RANK", "0") == "0":
            raise
        return error.exit_code  # all processes that torchrun started have these flags: the first says what is wrong


def _run(argv: list[str]) -> int:
    named = bool(argv) and not argv[0].startswith("-")
    if not named and {"-h", "--help"} & set(argv):
        print(_list_recipes())  # noqa: T201
        return 0
    usual_name = "finetune" if any(flag.partition("=")[0] == "--init-from" for flag in argv) else DEFAULT_RECIPE
    name, rest = (argv[0], argv[1:]) if named else (usual_name, argv)
    if name not in RECIPES:
        raise UsageError(f"there is no recipe {name!r}: {nearest(name, RECIPES)}")
    recipe = RECIPES[name]()
    usual = TrainArgs(tokenizer=recipe.tokenizer, architecture=recipe.architecture, train=recipe.train)
    args = parse(TrainArgs, rest, f"inkhorn train {name}", usual)
    out = args.out or Path("runs") / name
    saved = out / "run.json"
    if os.environ.get("TORCHELASTIC_RESTART_COUNT", "0") != "0":  # torchrun starts the same command again
        args = replace(args, resume=True)
    if args.resume and saved.is_file():
        record = read_json(saved)
        if named and record.get("name") != name:
            raise UsageError(
                f"{out} is a run of the recipe {record.get('name')}, not of {name}: name that one, or none"
            )
        name = str(record.get("name"))
        args = replace(parse(TrainArgs, rest, f"inkhorn train {name}", _saved_args(saved, record)), resume=True)
        if args.init_from != record["init_from"] and _lasting(args.init_from) != record["init_from"]:
            raise UsageError(f"{out} has begun, from other weights: leave --init-from out, or give another --out")
    elif not args.resume and (RunFolder(out).latest() or (out / "config.json").exists()):
        raise UsageError(f"{out} already holds a model: --resume goes on with a run, --out FOLDER begins another")
    elif args.init_from:
        args = replace(_args_from_weights(rest, name, recipe, args.init_from), resume=args.resume)
    if (name == "finetune" or args.train.lora_rank) and not args.init_from:
        what = "the recipe finetune" if name == "finetune" else "--lora-rank"
        raise UsageError(f"{what} goes on from a model that is there: name it with --init-from")
    if args.text is not None and args.corpus is not None:
        raise UsageError(f"give either --text {args.text} or --corpus {args.corpus}, not both")
    if args.val_text is not None and args.text is None:
        raise UsageError("--val-text goes with --text: a named corpus has its own validation part")
    return _train(replace(args, corpus=args.corpus or recipe.corpus), name, out)


def _list_recipes() -> str:
    lines = [f"  {name:18}{make().description}" for name, make in RECIPES.items()]
    return "\n".join(
        ["usage: inkhorn train [RECIPE] [options]   inkhorn train RECIPE --help lists them", "", "recipes:", *lines]
    )


def _args_from_weights(argv: list[str], name: str, recipe: Recipe, model: str) -> TrainArgs:
    """The flags again, with the architecture of the model that training starts from."""
    folder = resolve_checkpoint(model)
    architecture = Architecture.of(read_config(folder))
    usual = TrainArgs(tokenizer=recipe.tokenizer, architecture=architecture, train=recipe.train)
    args = parse(TrainArgs, argv, f"inkhorn train {name}", usual)
    if (args.tokenizer, args.vocab_size) != (usual.tokenizer, usual.vocab_size):
        raise UsageError(f"the vocabulary comes with --init-from {model}: leave out --tokenizer and --vocab-size")
    if args.architecture != architecture:
        odd = [
            f.name for f in fields(Architecture) if getattr(args.architecture, f.name) != getattr(architecture, f.name)
        ]
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in odd)
        raise UsageError(f"the architecture comes with --init-from {model}: leave out {flags}")
    return replace(args, init_from=_lasting(model))


def _lasting(model: str) -> str:
    """A model's name that means the same to a run that is resumed from another folder."""
    return model if model in SHIPPED else str(resolve_checkpoint(model).resolve())


def _vocabulary(out: Path, init_from: str) -> tuple[Tokenizer, int]:
    """The tokenizer of a run that began with given weights, and the size of their vocabulary, which may be larger.

    A run that has a checkpoint no longer needs the model that it began with.
    """
    for folder in reversed(RunFolder(out).steps()):
        with suppress(InkhornError):  # a damaged one, which the Trainer passes over, too
            return load_tokenizer(folder), read_config(folder).vocab_size
    folder = resolve_checkpoint(init_from)
    tokenizer, size = load_tokenizer(folder), read_config(folder).vocab_size
    check_vocab_size(tokenizer, size)
    return tokenizer, size


def _saved_args(path: Path, saved: dict[str, Any]) -> TrainArgs:
    try:
        return TrainArgs(
            text=Path(saved["text"]) if saved["text"] else None,
            val_text=Path(saved["val_text"]) if saved["val_text"] else None,
            corpus=None if saved["text"] else saved["corpus"],
            init_from=saved["init_from"],
            tokenizer=saved["tokenizer"],
            vocab_size=saved["vocab_size"],
            architecture=Architecture(**saved["architecture"]),
            train=TrainConfig(**saved["train"]),
        )
    except (KeyError, TypeError) as error:
        raise UsageError(f"{path} is not of this version of inkhorn ({error}): begin anew with another --out") from None


def _train(args: TrainArgs, name: str, out: Path) -> int:
    # torch and rich take a second to import: only once the flags are known to be right
    import torch

    from inkhorn.hardware.distributed import process_group

    with process_group(cuda=args.train.device in ("auto", "cuda") and torch.cuda.is_available()) as distributed:
        return _train_together(args, name, out, distributed)


def _train_together(args: TrainArgs, name: str, out: Path, distributed: Any) -> int:
    """Train in this process, which may be one of several that do so side by side."""
    import torch

    from inkhorn.cli.run_progress import RunProgress
    from inkhorn.hardware.device import measure_peak, select_device
    from inkhorn.training.callbacks import NullCallbacks
    from inkhorn.training.memory import available_memory, memory_needed, suggest_fit
    from inkhorn.training.parallel import choose_parallel
    from inkhorn.training.trainer import Trainer

    hardware = select_device(args.train, distributed)
    data, vocab_size = distributed.main_process_first(lambda: _data(args, out))
    config = args.architecture.to_model_config(
        vocab_size,
        dropout=args.train.dropout,
        attn_dropout=args.train.attn_dropout,
        bos_token_id=data.bos_token_id,
        eos_token_id=data.tokenizer.eos_id,
    )
    data.check_block_size(config.block_size, fixed=bool(args.init_from))
    hardware = choose_parallel(config, args.train, hardware)
    peak = float(distributed.all_reduce_sum(torch.tensor(measure_peak(hardware), dtype=torch.float64)))
    out.mkdir(parents=True, exist_ok=True)
    callbacks: Any = RunProgress(args.train.steps, out) if distributed.is_main_process else nullcontext(NullCallbacks())
    with callbacks as progress:
        progress.say(f"recipe {name} -> {out}")
        progress.say(
            f"model: {config.num_parameters:,} parameters; vocabulary {config.vocab_size}; block {config.block_size}"
        )
        progress.say(f"text: {data.name}, {len(data.train):,} tokens to train on, {len(data.val):,} held out")
        if data.replaced:
            progress.say(f"{data.replaced:,} of its characters are not in the vocabulary: replaced, or left out")
        for reason in hardware.reasons:
            progress.say(reason)
        best = (
            "this machine's best"
            if distributed.world_size == 1
            else f"together the {distributed.world_size} processes'"
        )
        progress.say(f"{best} matrix product: {peak / 1e9:,.0f} GFLOP/s (MFU is the share of it)")
        rows, _ = distributed.split_batch(args.train.batch_size, args.train.grad_accum)
        memory, free = memory_needed(config, rows, hardware, args.train), available_memory(hardware)
        progress.say(_told(memory, free, distributed.world_size))
        if distributed.any(sum(memory.values()) > free):
            progress.say(f"This may run out of memory: {suggest_fit(config, args.train, hardware)}")
        trainer = Trainer(config, args.train, data, out, hardware, peak, progress, args.init_from)
        state = trainer.start(resume=args.resume)
        if distributed.is_main_process:  # only now: a run that cannot be resumed with these flags keeps its own
            record = _run_record(args, name, data, config.to_hf(), config.num_parameters, hardware.reasons, peak)
            write_json(out / "run.json", record)
        state = trainer.fit(state)
        where = shlex.quote(str(out))
        if trainer.interrupted is not None and not trainer.is_done(state):
            progress.say(f"Stopped and saved at step {state.step:,}. Go on with: inkhorn train --out {where} --resume")
            return 128 + trainer.interrupted
        lowest = f"best validation loss {state.best_loss:.4f}" if state.best_loss < math.inf else "not evaluated yet"
        if state.step < args.train.steps:
            progress.say(
                f"Stopped: no lower validation loss in the last {state.evals_since_best} evaluations (--patience)."
            )
        progress.say(f"Done, {state.step:,} steps: {lowest}. Try it: inkhorn generate --model {where}")
    return 0


def _told(memory: dict[str, float], free: float, processes: int) -> str:
    """The estimate of the memory that training will take, in words."""
    total = sum(memory.values())
    size, unit = (2**30, "GiB") if total >= 2**30 else (2**20, "MiB")
    each = "" if processes == 1 else " in each process"
    parts = ", ".join(f"{name} {part / size:,.1f}" for name, part in memory.items())
    there = "" if free == math.inf else f"; {free / 2**30:,.1f} GiB are free"
    return f"memory: about {total / size:,.1f} {unit}{each}{there} ({parts})"


def _data(args: TrainArgs, out: Path) -> tuple[Any, int]:
    """The text in ids, and the size of the model's vocabulary."""
    tokenizer, vocab_size = _vocabulary(out, args.init_from) if args.init_from else (None, None)
    data = DataSource(
        path=args.text,
        corpus=args.corpus or "",
        val_path=args.val_text,
        vocabulary=args.tokenizer,
        vocab_size=args.vocab_size,
        tokenizer=tokenizer,
    ).tokenize()
    return data, vocab_size or data.tokenizer.vocab_size


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
        "init_from": args.init_from,
        "tokenizer": args.tokenizer,
        "vocab_size": args.vocab_size,
        "architecture": asdict(args.architecture),
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
