"""Throughput, MFU and memory of a recipe's training step on random tokens.

    python benchmarks/train_step.py --recipe gpt2 --rows 1 --rounds 3

Needs no data. The step has the recipe's full batch, accumulated over micro-batches of `--rows` rows. Micro-batches are
timed alone and together with the optimizer update.
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
    """recipe that sets the model shape and the batch"""
    rows: int = 1
    """rows per micro-batch; the step always has the recipe's full batch"""
    rounds: int = 3
    """measurements, after one warm-up"""
    vocab_size: int = 50257
    """number of tokens in the vocabulary"""


def peak_memory() -> float:
    """Peak resident memory of this process in GB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e9


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    recipe = RECIPES[args.recipe]
    config = recipe.architecture.to_model_config(args.vocab_size, dropout=recipe.train.dropout)
    passes = recipe.train.batch_size * recipe.train.grad_accum // args.rows
    train = replace(recipe.train, batch_size=args.rows, grad_accum=passes)
    hardware = select_device(train)
    bf16 = hardware.dtype == torch.bfloat16
    stores = uses_explicit_attention(hardware.device, hardware.dtype, config.block_size)
    estimate = sum(training_memory(config, train, bf16=bf16, stores_attention=stores).values()) / 1e9
    before, peak = peak_memory(), measure_peak(hardware)
    measured = benchmark_step(config, train, hardware, args.rounds)
    peak = max(peak, measure_peak(hardware))  # the higher of two, in case another process slowed one down
    tokens = config.block_size * args.rows
    speeds = tuple(measured.tokens / seconds for seconds in measured.steps)
    found = [
        Series("tokens a second, update included", "tokens/s", speeds),
        Series("MFU", "", tuple(speed * training_flops(config) / peak for speed in speeds)),
    ]
    if measured.passes:
        alone = tuple(tokens / seconds for seconds in measured.passes)
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
            "memory by inkhorn estimate, GB": f"{estimate:.2f}",
        },
    )


if __name__ == "__main__":
    main()
