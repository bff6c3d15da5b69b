"""A training step of a recipe on random tokens: tokens a second, the share of the machine's best, and memory.

    python benchmarks/train_step.py --recipe gpt2 --rows 1 --rounds 3

No text is needed, and no other project: what is asked is what a model of this size costs here. The step is the
recipe's, of as many rows: a pass of `--rows` of them is timed alone, and one with the update.
"""

import resource
import sys
from dataclasses import dataclass, replace

import torch
import tyro
from common import Series, report

from inkhorn.config.recipes import RECIPES
from inkhorn.costs.model import training_flops, training_memory
from inkhorn.hardware.device import measure_peak, select_device
from inkhorn.model import uses_explicit_attention
from inkhorn.training.throughput import benchmark_step


@dataclass
class Args:
    recipe: str = "gpt2"
    """whose shape and step"""
    rows: int = 1
    """rows of a pass; the step has the recipe's rows in any case"""
    rounds: int = 3
    """measurements, after one that warms up"""
    vocab_size: int = 50257
    """number of tokens in the vocabulary"""


def peak_memory() -> float:
    """The most that this process has held, in GB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    recipe = RECIPES[args.recipe]()
    config = recipe.architecture.to_model_config(args.vocab_size, dropout=recipe.train.dropout)
    passes = recipe.train.batch_size * recipe.train.grad_accum // args.rows
    train = replace(recipe.train, batch_size=args.rows, grad_accum=passes)
    hardware = select_device(train)
    bf16 = hardware.dtype == torch.bfloat16
    stores = uses_explicit_attention(hardware.device, hardware.dtype, config.block_size)
    told = sum(training_memory(config, train, bf16=bf16, stores_attention=stores).values()) / 1e9
    before, peak = peak_memory(), measure_peak(hardware)
    pace = benchmark_step(config, train, hardware, args.rounds)
    peak = max(peak, measure_peak(hardware))  # the better of two: another process may have slowed one
    tokens = config.block_size * args.rows
    speeds = tuple(pace.tokens / seconds for seconds in pace.steps)
    found = [
        Series("tokens a second, update included", "tokens/s", speeds),
        Series("MFU", "", tuple(speed * training_flops(config) / peak for speed in speeds)),
    ]
    if pace.passes:
        alone = tuple(tokens / seconds for seconds in pace.passes)
        found.append(Series("tokens a second of passes alone", "tokens/s", alone))
    report(
        f"A training step: {args.recipe}, {passes} passes of {args.rows} x {config.block_size} tokens",
        found,
        {
            "parameters": f"{config.num_parameters:,}",
            "dtype": str(hardware.dtype).removeprefix("torch."),
            "threads": torch.get_num_threads(),
            "best matrix product, GFLOP/s": f"{peak / 1e9:,.0f}",
            "peak memory, GB": f"{peak_memory():.2f}, of which {before:.2f} before",
            "memory by inkhorn estimate, GB": f"{told:.2f}",
        },
    )


if __name__ == "__main__":
    main()
