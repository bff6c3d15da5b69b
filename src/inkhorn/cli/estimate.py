"""`inkhorn estimate`: the costs of a model before it is trained."""

import json
import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from inkhorn.checkpoint.resolve import SHIPPED, resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.parsing import default, exclusive, parse
from inkhorn.config.bounds import Range
from inkhorn.config.model import Architecture, ModelConfig
from inkhorn.config.recipes import RECIPES, Recipe
from inkhorn.config.train import Device, Optimizer, Precision, TrainConfig
from inkhorn.costs.model import (
    ASSUMED_MFU,
    forward_flops,
    parts,
    serving_memory,
    shape_near,
    training_flops,
    training_memory,
)
from inkhorn.costs.scaling_laws import FITS, TOKENS_PER_PARAMETER, Fit, rule_of_thumb
from inkhorn.errors import CheckpointError, TrainingError, UsageError, nearest

if TYPE_CHECKING:
    from inkhorn.hardware.device import Hardware

_EXAMPLE = "inkhorn estimate gpt2 --tokens 10000000000 --peak-tflops 312 --devices 8"
_VOCAB_SIZES = {"gpt2": 50257, "openai-gpt": 40478}  # by tokenizer
_CHAR_VOCAB_SIZES = {"tiny-shakespeare": 66, "shakespeare": 66}  # by corpus: characters and the end-of-text token


@dataclass(frozen=True, kw_only=True)
class EstimateArgs:
    """Estimate the costs of a model.

    Reports parameters and FLOPs by part, memory for training and serving and training time, and compares the plan with
    the Chinchilla scaling laws. MODEL is a recipe, a shipped model, or the folder of a checkpoint or a run; without it,
    the recipes are listed with their sizes.
    """

    tokens: Annotated[int | None, Range(ge=1), default("the recipe's, or 20 per parameter")] = None
    """training tokens, over all epochs"""
    vocab_size: Annotated[int | None, Range(ge=1), default("that of the recipe's tokenizer")] = None
    """number of tokens in the vocabulary"""
    batch_size: Annotated[int, Range(ge=1)] = 32
    """rows per forward and backward pass in training"""
    optimizer: Optimizer = "muon"
    """muon: Muon for the matrices of the blocks and AdamW for the rest; adamw: AdamW for all"""
    max_num_seqs: Annotated[int, Range(ge=1)] = 16
    """sequences generated at the same time in serving"""
    device: Device = "auto"
    """device to train on"""
    dtype: Precision = "auto"
    """data type of the matrix products in training"""
    measure: bool = False
    """run a few training steps on this machine and use their speed instead of an assumed MFU"""
    peak_tflops: Annotated[float | None, Range(gt=0), default("measured on this machine")] = None
    """peak of the training device in TFLOP/s"""
    mfu: Annotated[float | None, Range(gt=0, le=1), default(str(ASSUMED_MFU))] = None
    """model FLOPs utilization: the fraction of the peak that training reaches"""
    devices: Annotated[int, Range(ge=1)] = 1
    """number of training devices"""
    price: Annotated[float | None, Range(gt=0), default()] = None
    """price of one device per hour, in any currency"""
    hours: Annotated[float | None, Range(gt=0), default()] = None
    """compute budget in hours on these devices for the compute-optimal model, instead of the plan's FLOPs"""
    flops: Annotated[float | None, Range(gt=0), default()] = None
    """compute budget in FLOPs for the compute-optimal model, such as 1e18"""
    json: bool = False
    """print one JSON object"""
    architecture: Annotated[Architecture, tyro.conf.OmitArgPrefixes] = field(default_factory=Architecture)

    def __post_init__(self) -> None:
        for one, other in (("hours", "flops"), ("measure", "peak_tflops"), ("measure", "mfu")):
            exclusive(self, one, other)


def run(argv: list[str]) -> int:
    from inkhorn.cli import estimate_tables as tables

    if not argv or argv == ["--json"]:
        rows = [_row(name, recipe) for name, recipe in RECIPES.items()]
        print(json.dumps(rows)) if argv else tables.recipes(rows)
        return 0
    name = argv[0]
    if name.startswith("-"):
        parse(EstimateArgs, argv, "inkhorn estimate MODEL", example=_EXAMPLE)
        raise UsageError(f"give the model first, as in inkhorn estimate gpt2; recipes: {', '.join(RECIPES)}")
    recipe, config = _plan(name)
    train = (recipe or RECIPES["finetune"]).train
    defaults = EstimateArgs(
        batch_size=train.batch_size, optimizer=train.optimizer, architecture=Architecture.of(config)
    )
    args = parse(EstimateArgs, argv[1:], f"inkhorn estimate {name}", defaults, _EXAMPLE)
    config = replace(config, **vars(args.architecture), vocab_size=args.vocab_size or config.vocab_size)
    train = replace(train, batch_size=args.batch_size, optimizer=args.optimizer, device=args.device, dtype=args.dtype)
    facts = {"model": name, "about": recipe.description if recipe is not None else ""}
    facts |= gather(recipe, config, train, args)
    print(json.dumps(facts)) if args.json else tables.estimate(facts)
    return 0


def _plan(name: str) -> tuple[Recipe | None, ModelConfig]:
    """The recipe of this name and its config, or None and the config of a checkpoint."""
    if name in RECIPES:
        recipe = RECIPES[name]
        return recipe, recipe.architecture.to_model_config(_vocabulary(recipe))
    try:
        return None, read_config(resolve_checkpoint(name))
    except CheckpointError as error:
        if "/" in name or name in SHIPPED:
            raise
        raise UsageError(f"{name} is neither a recipe nor a checkpoint: {nearest(name, RECIPES)} ({error})") from None


def _vocabulary(recipe: Recipe) -> int:
    if recipe.tokenizer == "bpe":
        return recipe.vocab_size
    return _VOCAB_SIZES.get(recipe.tokenizer) or _CHAR_VOCAB_SIZES.get(recipe.corpus, 100)


def _planned_tokens(recipe: Recipe) -> int:
    train = recipe.train
    return train.steps * train.batch_size * train.grad_accum * recipe.architecture.block_size


def _row(name: str, recipe: Recipe) -> dict[str, Any]:
    config, tokens = recipe.architecture.to_model_config(_vocabulary(recipe)), _planned_tokens(recipe)
    return {
        "recipe": name,
        "parameters": config.num_parameters,
        "architecture": asdict(recipe.architecture),
        "vocab_size": config.vocab_size,
        "tokens": tokens,
        "flops": tokens * training_flops(config),
    }


def gather(recipe: Recipe | None, config: ModelConfig, train: TrainConfig, args: EstimateArgs) -> dict[str, Any]:
    planned = _planned_tokens(recipe) if recipe is not None else TOKENS_PER_PARAMETER * config.num_parameters
    tokens = args.tokens or planned
    machine = _machine(args, train, config.block_size)
    memory = training_memory(config, train, bf16=machine.bf16, stores_attention=machine.stores_attention)
    serving = serving_memory(config, args.max_num_seqs)
    facts = {
        "config": asdict(config),
        "parameters": config.num_parameters,
        "parts": [asdict(part) for part in parts(config)],
        "forward_flops_per_token": forward_flops(config),
        "training_flops_per_token": training_flops(config),
        "training": {
            "rows": train.batch_size,
            "dtype": "bfloat16" if machine.bf16 else "float32",
            "bytes": dict(memory),
            "all": sum(memory.values()),
            "free": machine.free,
        },
        "serving": {
            "max_num_seqs": args.max_num_seqs,
            "bytes": {kind: {"weights": w, "caches": c} for kind, (w, c) in serving.items()},
        },
        "tokens": tokens,
        "tokens_from": "--tokens" if args.tokens else "the recipe's" if recipe is not None else "20 per parameter",
        "flops": tokens * training_flops(config),
    }
    facts["time"] = _time(config, train, args, machine, facts)
    return facts | {"scaling": _scaling(config, args, facts)}


@dataclass(frozen=True)
class _Machine:
    """The training device: of this machine, of another one with a known peak, or unknown without torch."""

    peak: float | None
    where: str
    bf16: bool
    stores_attention: bool = False
    free: float | None = None
    hardware: "Hardware | None" = None


def _machine(args: EstimateArgs, train: TrainConfig, block_size: int) -> _Machine:
    if args.peak_tflops is not None:
        return _Machine(args.peak_tflops * 1e12, "This device", bf16=args.dtype != "float32")
    if find_spec("torch") is None and not (args.measure or args.hours or args.price):
        return _Machine(None, "", bf16=args.dtype == "bfloat16")
    from inkhorn.hardware.device import measure_peak, select_device
    from inkhorn.hardware.memory import free_bytes
    from inkhorn.model import uses_explicit_attention

    hardware = select_device(train)
    device, dtype = hardware.device, str(hardware.dtype).removeprefix("torch.")
    free = free_bytes(device)
    return _Machine(
        peak=measure_peak(hardware),
        where=f"This machine ({device.type}, {dtype})",
        bf16=dtype == "bfloat16",
        stores_attention=uses_explicit_attention(device, hardware.dtype, block_size),
        free=None if free == math.inf else free,
        hardware=hardware,
    )


def _time(
    config: ModelConfig, train: TrainConfig, args: EstimateArgs, machine: _Machine, facts: Mapping[str, Any]
) -> dict[str, Any] | None:
    """The training time; None if the peak of the device is not known."""
    if machine.peak is None:
        return None
    mfu, how = args.mfu or ASSUMED_MFU, "as given" if args.mfu else "assumed"
    if args.measure:
        mfu, how = _measured_mfu(config, train, machine, facts), "measured"
    speed = args.devices * machine.peak * mfu / facts["training_flops_per_token"]
    hours = facts["tokens"] / speed / 3600
    return {
        "where": machine.where,
        "peak_flops": machine.peak,
        "devices": args.devices,
        "mfu": mfu,
        "mfu_is": how,
        "tokens_per_second": speed,
        "hours": hours,
        "cost": None if args.price is None else hours * args.devices * args.price,
    }


def _measured_mfu(config: ModelConfig, train: TrainConfig, machine: _Machine, facts: Mapping[str, Any]) -> float:
    from inkhorn.training.memory import suggest_fit
    from inkhorn.training.throughput import benchmark_step

    assert machine.hardware is not None
    assert machine.peak is not None
    if machine.free is not None and facts["training"]["all"] > machine.free:  # else the system may kill the process
        raise TrainingError(f"not measured: {suggest_fit(config, train, machine.hardware)}")
    each = train.batch_size * config.block_size * facts["training_flops_per_token"] / (ASSUMED_MFU * machine.peak)
    if each > 10:
        passes = "5 passes" if train.grad_accum > 1 else "3 passes"
        sys.stderr.write(f"measuring {passes} of about {each:,.0f} s each; use a smaller --batch-size for less\n")
    speed = benchmark_step(config, train, machine.hardware).tokens_per_second
    return speed * facts["training_flops_per_token"] / machine.peak


def _scaling(config: ModelConfig, args: EstimateArgs, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The scaling laws' losses for this plan, and their optimum for the given budget or the plan's own."""
    budget, given = facts["flops"], "the same FLOPs"
    if args.flops is not None:
        budget, given = args.flops, "these FLOPs"
    elif args.hours is not None:
        time = facts["time"]
        budget = args.hours * 3600 * time["devices"] * time["peak_flops"] * time["mfu"]
        given = f"{args.hours:g} hours here" if args.peak_tflops is None else f"{args.hours:g} hours"
    is_subword = config.vocab_size >= 1000  # the fits do not apply to characters

    def best(by: str, n: float, d: float, fit: Fit | None = None) -> dict[str, Any]:
        shape = {key: getattr(shape_near(config, n), key) for key in ("n_layer", "n_head", "n_embd")}
        loss = fit.loss(n, d) if fit is not None and is_subword else None
        return {"by": by, "parameters": n, "tokens": d, "loss": loss} | shape

    return {
        "tokens_by_rule_of_thumb": TOKENS_PER_PARAMETER * config.num_parameters,
        "losses": {fit.name: fit.loss(config.num_parameters, facts["tokens"]) for fit in FITS} if is_subword else {},
        "budget": budget,
        "budget_is": given,
        "best": [
            best(f"{TOKENS_PER_PARAMETER} tokens per parameter", *rule_of_thumb(budget)),
            *(best(fit.name, *fit.best(budget), fit) for fit in FITS),
        ],
    }
