"""`inkhorn train`: prepare data and hardware, write run.json and train.

Modules that import torch are imported inside the functions, after the flags have been checked.
"""

import math
import os
import platform
import shlex
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.data_source import DataSource
from inkhorn.cli.train_args import DEFAULT_RECIPE, FINETUNE_RECIPE, TrainArgs, names_recipe, parse_args
from inkhorn.config.recipes import RECIPES
from inkhorn.costs.model import ASSUMED_MFU, training_flops
from inkhorn.data.remote_file import absolute
from inkhorn.errors import InkhornError, UsageError
from inkhorn.tokenizer.base import Tokenizer, check_vocab_size
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import write_json
from inkhorn.web.watch import WatchServer

if TYPE_CHECKING:
    from inkhorn.config.model import ModelConfig
    from inkhorn.data.dataset import Dataset
    from inkhorn.hardware.device import Hardware
    from inkhorn.hardware.distributed import DistributedContext
    from inkhorn.training.callbacks import Callbacks


def run(argv: list[str]) -> int:
    try:
        if {"-h", "--help"} & set(argv) and not names_recipe(argv):
            print(_overview())
            return 0
        name, args = parse_args(argv)
        if args.ray is not None:
            from inkhorn.cli.train_ray import train_on_ray
            from inkhorn.hardware.distributed import SINGLE_PROCESS

            with _watch(args, SINGLE_PROCESS) as page:
                return train_on_ray(argv, args, train, page)
        return train(name, args)
    except UsageError as error:
        if os.environ.get("RANK", "0") == "0":
            raise
        return error.exit_code  # all torchrun workers have these flags: only the main process prints the error


def _overview() -> str:
    recipes = "\n".join(f"  {name:18}{recipe.description}" for name, recipe in RECIPES.items())
    return f"""usage: inkhorn train [RECIPE] [options]
       inkhorn train FILE [options]

Train a model. A text file or folder alone chooses the recipe by its size.
`inkhorn train RECIPE --help` lists the options with the recipe's defaults.

recipes (default: {DEFAULT_RECIPE}; with --init-from: {FINETUNE_RECIPE}):
{recipes}

example: inkhorn train my.txt
         inkhorn train small --text my.txt --out runs/mine
         inkhorn train my.txt --watch"""


def train(name: str, args: TrainArgs) -> int:
    """Train, in a process group if torchrun started this process; returns the exit code."""
    import torch

    from inkhorn.hardware.distributed import process_group

    with (
        process_group(cuda=args.train.device in ("auto", "cuda") and torch.cuda.is_available()) as distributed,
        _watch(args, distributed) as page,
    ):
        return _train(name, args, distributed, page)


@contextmanager
def _watch(args: TrainArgs, distributed: "DistributedContext") -> Iterator[str]:
    """Serve the live page of the run, if it is asked for; the line that names its address, empty without."""
    problem, server = None, None
    if args.watch is not None and distributed.is_main_process:
        assert args.out is not None
        try:
            server = WatchServer(args.out, args.watch)
        except UsageError as error:
            problem = error
    distributed.raise_if_any_failed(problem, UsageError)
    try:
        yield f"Watch the run in a browser: {server.url} (until it ends)" if server else ""
    finally:
        if server:
            server.close()


def _train(name: str, args: TrainArgs, distributed: "DistributedContext", page: str) -> int:
    import torch

    from inkhorn.cli.run_progress import RunProgress, run_progress
    from inkhorn.hardware.device import measure_peak, select_device
    from inkhorn.training.callbacks import Callbacks
    from inkhorn.training.parallel import choose_parallel
    from inkhorn.training.trainer import Trainer

    assert args.out is not None
    hardware = select_device(args.train, distributed)
    dataset, vocab_size = distributed.main_process_first(lambda: _load_data(args))
    config = args.architecture.to_model_config(
        vocab_size,
        dropout=args.train.dropout,
        attn_dropout=args.train.attn_dropout,
        bos_token_id=dataset.bos_token_id,
        eos_token_id=dataset.tokenizer.eos_id,
    )
    dataset.check_block_size(config.block_size, fixed=bool(args.init_from))
    hardware = choose_parallel(config, args.train, hardware)
    # The peak of all processes together is the reference for MFU.
    peak_flops = float(distributed.all_reduce_sum(torch.tensor(measure_peak(hardware), dtype=torch.float64)))
    args.out.mkdir(parents=True, exist_ok=True)
    main = distributed.is_main_process
    with (
        RunFolder(args.out).lock() if main else nullcontext(),
        run_progress(args.train.steps, args.out) if main else nullcontext(Callbacks()) as callbacks,
    ):
        callbacks.log(f"Recipe: {name}; output folder: {args.out}")
        if page:
            callbacks.log(page)
        _log_setup(callbacks, config, dataset, hardware, peak_flops)
        _log_mixture(callbacks, args, dataset)
        callbacks.log(_time(config, args, peak_flops))
        _log_memory(callbacks, args, config, hardware)
        trainer = Trainer(config, args.train, dataset, args.out, hardware, peak_flops, callbacks, args.init_from)
        callbacks.log(trainer.snapshots.describe())
        state = trainer.start(resume=args.resume)
        if main:  # not before: a run that these flags cannot resume keeps its record
            write_json(args.out / "run.json", _run_record(name, args, config, dataset, hardware, peak_flops))
        state = trainer.fit(state)
        folder = shlex.quote(str(args.out))
        if isinstance(callbacks, RunProgress) and callbacks.update_report():  # includes the steps since the evaluation
            callbacks.log(f"Open the report in a browser: {args.out / 'report.html'}")
        if trainer.interrupted is not None and not trainer.is_done(state):
            callbacks.log(f"Stopped at step {state.step:,}. Resume with: inkhorn train --out {folder} --resume")
            return 128 + trainer.interrupted
        if state.step < args.train.steps:
            waited = f"no lower validation loss in {state.evals_since_best} evaluations (--patience)"
            callbacks.log(f"Stopped early: {waited}.")
        best = f"best validation loss {state.best_loss:.4f}" if state.best_loss < math.inf else "not evaluated"
        callbacks.log(f"Finished {state.step:,} steps, {best}. Generate with: inkhorn generate --model {folder}")
        callbacks.log(f"Open the web page with: inkhorn serve --model {folder}")
    return 0


def _load_data(args: TrainArgs) -> "tuple[Dataset, int]":
    """The tokenized data, and the vocabulary size of the model."""
    tokenizer, vocab_size = _initial_tokenizer(args) if args.init_from else (None, None)
    dataset = DataSource(args, args.corpus or "", tokenizer).tokenize()
    return dataset, vocab_size or dataset.tokenizer.vocab_size


def _initial_tokenizer(args: TrainArgs) -> tuple[Tokenizer, int]:
    """The tokenizer of the model that the run starts from, and that model's vocabulary size, which may be larger.

    A run that has a checkpoint no longer needs that model.
    """
    assert args.out is not None
    for folder in reversed(RunFolder(args.out).steps()):
        with suppress(InkhornError):  # a damaged checkpoint, which the trainer skips as well
            return load_tokenizer(folder), read_config(folder).vocab_size
    folder = resolve_checkpoint(args.init_from)
    tokenizer, vocab_size = load_tokenizer(folder), read_config(folder).vocab_size
    check_vocab_size(tokenizer, vocab_size)
    return tokenizer, vocab_size


def _log_setup(
    callbacks: "Callbacks", config: "ModelConfig", dataset: "Dataset", hardware: "Hardware", peak_flops: float
) -> None:
    size = f"vocabulary {config.vocab_size:,}, block size {config.block_size:,}"
    callbacks.log(f"Model: {config.num_parameters:,} parameters, {size}")
    tokens = f"{len(dataset.train):,} training tokens, {len(dataset.val):,} validation tokens"
    callbacks.log(f"Data: {dataset.name}, {tokens}")
    if dataset.replaced:
        callbacks.log(f"{dataset.replaced:,} characters are not in the vocabulary: replaced or dropped")
    for reason in hardware.reasons:
        callbacks.log(reason)
    count = hardware.distributed.world_size
    where = "" if count == 1 else f" of {count} processes"
    callbacks.log(f"Peak matrix product{where}: {peak_flops / 1e9:,.0f} GFLOP/s (MFU is relative to it)")


def _log_mixture(callbacks: "Callbacks", args: TrainArgs, dataset: "Dataset") -> None:
    """How often each text is seen, and from which step on the text itself repeats."""
    from inkhorn.training.mixture import mixture_plan

    plan = mixture_plan(dataset, args.train, args.architecture.block_size)
    if plan is not None:
        repeats = f"; it repeats from step {plan.repeats:,}" if plan.repeats is not None else ""
        callbacks.log(
            f"Pretraining text: {plan.pretrain_tokens:,} tokens, seen {plan.pretrain_epochs:.1f} times; then the text "
            f"itself, from step {plan.start:,} on and alone from step {plan.end:,}: {plan.epochs:.1f} times{repeats}"
        )


def _time(config: "ModelConfig", args: TrainArgs, peak_flops: float) -> str:
    """About how long all steps take."""
    tokens = args.train.steps * args.train.batch_size * args.train.grad_accum * config.block_size
    seconds = tokens * training_flops(config) / (peak_flops * ASSUMED_MFU)
    size, unit = (3600, "hours") if seconds >= 5400 else (60, "minutes")
    return (
        f"Time: about {max(0.1, seconds / size):,.1f} {unit} for {args.train.steps:,} steps (at {ASSUMED_MFU:.0%} MFU)"
    )


def _log_memory(callbacks: "Callbacks", args: TrainArgs, config: "ModelConfig", hardware: "Hardware") -> None:
    from inkhorn.training.memory import available_memory, memory_needed, suggest_fit

    distributed = hardware.distributed
    rows, _ = distributed.split_batch(args.train.batch_size, args.train.grad_accum)
    needed, available = memory_needed(config, rows, hardware, args.train), available_memory(hardware)
    total = sum(needed.values())
    size, unit = (2**30, "GiB") if total >= 2**30 else (2**20, "MiB")
    each = "" if distributed.world_size == 1 else " per process"
    parts = ", ".join(f"{name} {part / size:,.1f}" for name, part in needed.items())
    free = "" if available == math.inf else f"; {available / 2**30:,.1f} GiB available"
    callbacks.log(f"Memory: about {total / size:,.1f} {unit}{each}{free} ({parts})")
    if distributed.any(total > available):
        callbacks.log(f"This may run out of memory: {suggest_fit(config, args.train, hardware)}")


def _run_record(
    name: str, args: TrainArgs, config: "ModelConfig", dataset: "Dataset", hardware: "Hardware", peak_flops: float
) -> dict[str, Any]:
    """The contents of run.json: the defaults of a resumed run, and what the report shows."""
    import numpy
    import torch

    from inkhorn import __version__

    return {
        "name": name,
        "text": absolute(args.text) if args.text else None,
        "val_text": absolute(args.val_text) if args.val_text else None,
        "pretrain_text": absolute(args.pretrain_text) if args.pretrain_text else None,
        "encoding": args.encoding,
        "skip_bad_rows": args.skip_bad_rows,
        "corpus": args.corpus if args.text is None else dataset.name,
        "init_from": args.init_from,
        "tokenizer": args.tokenizer,
        "vocab_size": args.vocab_size,
        "architecture": asdict(args.architecture),
        "train": asdict(args.train),
        "model": config.to_hf(),
        "num_parameters": config.num_parameters,
        "hardware": list(hardware.reasons),
        "peak_flops": peak_flops,
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "inkhorn": __version__,
        },
        "machine": f"{platform.system()} {platform.machine()}, {torch.get_num_threads()} threads",
        "train_tokens": len(dataset.train),
        "val_tokens": len(dataset.val),
        "command": " ".join(["inkhorn", *sys.argv[1:]]),
    }
