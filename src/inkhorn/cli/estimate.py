"""`inkhorn estimate`: what a model costs, before it is trained."""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from importlib.util import find_spec
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from inkhorn.checkpoint.resolve import SHIPPED, resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.parsing import parse
from inkhorn.config.model import Architecture, ModelConfig
from inkhorn.config.recipes import RECIPES, Recipe
from inkhorn.config.train import Device, Optimizer, Precision, TrainConfig
from inkhorn.costs.model import forward_flops, parts, serving_memory, shape_near, training_flops, training_memory
from inkhorn.costs.scaling_laws import FITS, TOKENS_PER_PARAMETER, Fit, rule_of_thumb
from inkhorn.errors import CheckpointError, TrainingError, UsageError, nearest, require

if TYPE_CHECKING:
    from inkhorn.hardware.device import Hardware

ASSUMED_MFU = 0.4
"""of GPT-2's sizes on one good GPU, as published runs have it; this project's on a CPU are from 0.2 to 0.5"""
_VOCABULARIES = {"gpt2": 50257, "openai-gpt": 40478, "bpe": 4096}
_ALPHABETS = {"tiny-shakespeare": 66, "shakespeare": 66}  # characters and the end of text; other texts differ a little


@dataclass(frozen=True, kw_only=True)
class EstimateArgs:
    """What a model costs: parameters and FLOPs by part, memory to train and to serve it, time, and how much text it
    should see. Without a model, a list of the recipes with their sizes."""

    tokens: int | None = None
    """tokens to train on, those of all epochs together; the recipe's when absent, or 20 a parameter for a folder"""
    vocab_size: int | None = None
    """number of tokens in the vocabulary; as the recipe's tokenizer has it when absent"""
    batch_size: int = 32
    """rows that go through together in training"""
    optimizer: Optimizer = "muon"
    """muon: Muon on the blocks' matrices, AdamW on the rest; adamw: on everything"""
    slots: int = 16
    """texts that are written at once in serving"""
    device: Device = "auto"
    """where to train"""
    dtype: Precision = "auto"
    """of the matrix products in training"""
    measure: bool = False
    """take some training steps here and tell their speed, instead of assuming a share of this machine's peak"""
    peak_tflops: float | None = None
    """the peak of another machine in TFLOP/s, instead of measuring this one's"""
    mfu: float | None = None
    """the share of the peak that training reaches; 0.4 when absent"""
    devices: int = 1
    """how many of them train together"""
    price: float | None = None
    """of one device for an hour, in your currency"""
    hours: float | None = None
    """the best model and text for so many hours on these devices, instead of for the same FLOPs"""
    flops: float | None = None
    """the best model and text for so many FLOPs, such as 1e18"""
    json: bool = False
    """print one JSON object"""
    architecture: Annotated[Architecture, tyro.conf.OmitArgPrefixes] = field(default_factory=Architecture)

    def __post_init__(self) -> None:
        for name in (
            "tokens",
            "vocab_size",
            "batch_size",
            "slots",
            "devices",
            "peak_tflops",
            "price",
            "hours",
            "flops",
        ):
            value = getattr(self, name)
            require(value is None or 0 < value < float("inf"), f"--{_flag(name)} must be above 0, not {value}")
        require(self.mfu is None or 0 < self.mfu <= 1, f"--mfu is a share: above 0 and at most 1, not {self.mfu}")
        for one, other in (("hours", "flops"), ("measure", "peak_tflops"), ("measure", "mfu")):
            both = bool(getattr(self, one)) and bool(getattr(self, other))
            require(not both, f"give either --{_flag(one)} or --{_flag(other)}, not both")


def _flag(name: str) -> str:
    return name.replace("_", "-")


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    from inkhorn.cli import estimate_tables as tables

    if not argv or argv == ["--json"]:
        rows = [_row(name, make()) for name, make in RECIPES.items()]
        _show(rows, tables.recipes, json_wanted=bool(argv))
        return 0
    name = argv[0]
    if name.startswith("-"):
        parse(EstimateArgs, argv, "inkhorn estimate MODEL")
        raise UsageError(f"name a recipe or a folder first, as in inkhorn estimate gpt2: {', '.join(RECIPES)}")
    recipe, config = _plan(name)
    train = (recipe or RECIPES["finetune"]()).train
    usual = EstimateArgs(batch_size=train.batch_size, optimizer=train.optimizer, architecture=Architecture.of(config))
    args = parse(EstimateArgs, argv[1:], f"inkhorn estimate {name}", usual)
    changed = {f.name: getattr(args.architecture, f.name) for f in fields(Architecture)}
    config = replace(config, **changed, vocab_size=args.vocab_size or config.vocab_size)
    _show(gather(name, recipe, config, train, args), tables.estimate, json_wanted=args.json)
    return 0


def _show(facts: Any, table: Callable[[Any], None], *, json_wanted: bool) -> None:
    if json_wanted:
        sys.stdout.write(json.dumps(facts) + "\n")
    else:
        table(facts)


def _plan(name: str) -> tuple[Recipe | None, ModelConfig]:
    """The recipe of this name and its shape, or the shape of a checkpoint."""
    if name in RECIPES:
        recipe = RECIPES[name]()
        return recipe, recipe.architecture.to_model_config(_vocabulary(recipe))
    try:
        return None, read_config(resolve_checkpoint(name))
    except CheckpointError as error:
        if "/" in name or name in SHIPPED:
            raise
        raise UsageError(f"{name} is neither a recipe nor a checkpoint: {nearest(name, RECIPES)} ({error})") from None


def _vocabulary(recipe: Recipe) -> int:
    return _VOCABULARIES.get(recipe.tokenizer) or _ALPHABETS.get(recipe.corpus, 100)


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


def gather(
    name: str, recipe: Recipe | None, config: ModelConfig, train: TrainConfig, args: EstimateArgs
) -> dict[str, Any]:
    """All that there is to say, by name."""
    train = replace(train, batch_size=args.batch_size, optimizer=args.optimizer, device=args.device, dtype=args.dtype)
    usual = _planned_tokens(recipe) if recipe is not None else TOKENS_PER_PARAMETER * config.num_parameters
    tokens = args.tokens or usual
    machine = _machine(args, train)
    memory = training_memory(
        config, train, bf16=machine.bf16, stores_attention=machine.stores_attention(config.block_size)
    )
    facts = {
        "model": name,
        "about": recipe.description if recipe is not None else "",
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
            "free": machine.free(),
        },
        "serving": {
            "slots": args.slots,
            "bytes": {kept: {"weights": w, "caches": c} for kept, (w, c) in serving_memory(config, args.slots).items()},
        },
        "tokens": tokens,
        "tokens_from": "as asked" if args.tokens else "the recipe's" if recipe is not None else "20 a parameter",
        "flops": tokens * training_flops(config),
    }
    facts["time"] = _time(config, train, args, machine, facts)
    return facts | {"scaling": _scaling(config, args, facts)}


@dataclass(frozen=True)
class _Machine:
    """Where training would be: this machine, another one of which the peak is told, or unknown without torch."""

    peak: float | None
    where: str
    bf16: bool
    hardware: "Hardware | None" = None

    def stores_attention(self, block: int) -> bool:
        if self.hardware is None:
            return False
        from inkhorn.model import writes_out_attention

        return writes_out_attention(self.hardware.device, self.hardware.dtype, block)

    def free(self) -> float | None:
        if self.hardware is None:
            return None
        from inkhorn.hardware.memory import free_bytes

        free = free_bytes(self.hardware.device)
        return None if free == float("inf") else free


def _machine(args: EstimateArgs, train: TrainConfig) -> _Machine:
    if args.peak_tflops is not None:
        return _Machine(args.peak_tflops * 1e12, "This device", bf16=args.dtype != "float32")
    if find_spec("torch") is None and not (args.measure or args.hours or args.price):
        return _Machine(None, "", bf16=args.dtype == "bfloat16")
    from inkhorn.hardware.device import measure_peak, select_device

    hardware = select_device(train)
    where = f"This machine ({hardware.device.type}, {str(hardware.dtype).removeprefix('torch.')})"
    return _Machine(measure_peak(hardware), where, str(hardware.dtype) == "torch.bfloat16", hardware)


def _time(
    config: ModelConfig, train: TrainConfig, args: EstimateArgs, machine: _Machine, facts: Mapping[str, Any]
) -> dict[str, Any] | None:
    """How long training takes; None if the machine's peak is not known."""
    if machine.peak is None:
        return None
    mfu, how = args.mfu or ASSUMED_MFU, "as asked" if args.mfu else "assumed"
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
    """The share of the peak that some real steps reach."""
    from inkhorn.training.memory import suggest_fit
    from inkhorn.training.throughput import benchmark_step

    assert machine.hardware is not None
    assert machine.peak is not None
    free = machine.free()
    if free is not None and facts["training"]["all"] > free:  # a system out of memory kills without a word
        raise TrainingError(f"not measured: {suggest_fit(config, train, machine.hardware)}")
    each = train.batch_size * config.block_size * facts["training_flops_per_token"] / (ASSUMED_MFU * machine.peak)
    if each > 10:
        passes = "5 passes" if train.grad_accum > 1 else "3 passes"
        sys.stderr.write(f"measuring: {passes} of perhaps {each:,.0f} s each; a smaller --batch-size takes less\n")
    speed = benchmark_step(config, train, machine.hardware).tokens_per_second
    return speed * facts["training_flops_per_token"] / machine.peak


def _scaling(config: ModelConfig, args: EstimateArgs, facts: Mapping[str, Any]) -> dict[str, Any]:
    """What Hoffmann et al. would say of this plan, and of the budget asked for, or else the plan's own."""
    budget, given = facts["flops"], "the same FLOPs"
    if args.flops is not None:
        budget, given = args.flops, "these FLOPs"
    elif args.hours is not None:
        time = facts["time"]
        budget = args.hours * 3600 * time["devices"] * time["peak_flops"] * time["mfu"]
        given = f"{args.hours:g} hours here" if args.peak_tflops is None else f"{args.hours:g} hours"
    ways: list[tuple[str, tuple[float, float], Fit | None]] = []
    ways += [(f"{TOKENS_PER_PARAMETER} tokens a parameter", rule_of_thumb(budget), None)]
    ways += [(fit.name, fit.best(budget), fit) for fit in FITS]
    pieces = config.vocab_size >= 1000  # the fits say nothing of the loss of a character
    return {
        "tokens_by_rule_of_thumb": TOKENS_PER_PARAMETER * config.num_parameters,
        "losses": {fit.name: fit.loss(config.num_parameters, facts["tokens"]) for fit in FITS} if pieces else {},
        "budget": budget,
        "budget_is": given,
        "best": [
            {"by": by, "parameters": n, "tokens": d, "loss": fit.loss(n, d) if fit is not None and pieces else None}
            | {key: getattr(shape_near(config, n), key) for key in ("n_layer", "n_head", "n_embd")}
            for by, (n, d), fit in ways
        ],
    }
