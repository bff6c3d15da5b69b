"""`inkhorn bench`: generation speed of a checkpoint on this machine."""

import json
import os
import statistics
import time
from dataclasses import dataclass
from typing import Annotated, Any

from inkhorn.cli.parsing import default, parse
from inkhorn.config.bounds import Range
from inkhorn.config.quantization import PRECISIONS, Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.native_backend import NativeBackend
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt

EXAMPLE = "inkhorn bench --quantize int8 int4 --batch-sizes 1 16"


@dataclass(frozen=True, kw_only=True)
class BenchArgs:
    """Measure tokens per second, and the share of the memory bandwidth that generation uses.

    Every token reads all weights once, so memory bandwidth limits the speed of a single sequence.
    """

    model: str = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    quantize: tuple[Precision, ...] = PRECISIONS
    """precisions of the weights to measure"""
    batch_sizes: tuple[Annotated[int, Range(ge=1, le=256)], ...] = (1, 8)
    """numbers of sequences generated at once"""
    tokens: Annotated[int, Range(ge=1)] = 200
    """tokens per sequence"""
    rounds: Annotated[int, Range(ge=1)] = 5
    """measurements per row; the median, lowest and highest are reported"""
    threads: Annotated[int | None, Range(ge=1), default("one per core")] = None
    """maximum number of threads"""
    json: bool = False
    """print one JSON object"""


def run(argv: list[str]) -> int:
    args = parse(BenchArgs, argv, "inkhorn bench", example=EXAMPLE)
    reason = native_bindings.unavailable_reason()
    if reason is not None or os.environ.get("INKHORN_BACKEND") == "numpy":
        raise UsageError(f"inkhorn bench needs the native backend: {reason or 'INKHORN_BACKEND is set to numpy'}")
    rows = [row for precision in args.quantize for row in _measure(args, precision)]
    if args.json:
        print(json.dumps({"model": args.model, "tokens": args.tokens, "rows": rows}))
        return 0
    print("precision  batch size  tokens/s  (lowest to highest)   MB per token   bandwidth GB/s  share")
    for row in rows:
        spread = f"({row['lowest']:,.0f} to {row['highest']:,.0f})"
        print(
            f"{row['precision']:9}{row['batch_size']:12}{row['tokens_per_second']:10,.0f}  {spread:22}"
            f"{row['bytes'] / 1e6:12,.1f}{row['bandwidth'] / 1e9:17,.0f}{row['share']:7.0%}"
        )
    return 0


def _measure(args: BenchArgs, precision: Precision) -> list[dict[str, Any]]:
    """A row per batch size. `share` is the rate at which weights are read, over the machine's memory bandwidth."""
    rows = []
    with Engine.from_pretrained(
        args.model, precision=precision, threads=args.threads, max_num_seqs=max(args.batch_sizes), backend="native"
    ) as engine:
        backend = engine.backend
        assert isinstance(backend, NativeBackend)
        size = backend.weight_bytes
        bandwidth = native_bindings.library().ink_memory_bandwidth(size, backend.threads, 10)
        for batch_size in args.batch_sizes:
            rates = [_tokens_per_second(engine, batch_size, args.tokens) for _ in range(args.rounds + 1)][1:]  # warm-up
            median = statistics.median(rates)
            rows.append(
                {
                    "precision": precision,
                    "batch_size": batch_size,
                    "threads": backend.threads,
                    "tokens_per_second": median,
                    "lowest": min(rates),
                    "highest": max(rates),
                    "bytes": size,
                    "bandwidth": bandwidth,
                    "share": median / batch_size * size / bandwidth,
                }
            )
    return rows


def _tokens_per_second(engine: Engine, batch_size: int, tokens: int) -> float:
    prompt = Prompt("", (engine.eos_id if engine.eos_id is not None else 0,))
    params = SamplingParams(seed=1, max_tokens=tokens, ignore_eos=True)
    start = time.perf_counter()
    handles = [engine.submit(prompt, params, sample_index) for sample_index in range(batch_size)]
    num_tokens = sum(handle.result().num_tokens for handle in handles)
    return num_tokens / (time.perf_counter() - start)
