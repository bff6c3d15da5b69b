"""`inkhorn bench`: how fast a checkpoint writes here, and how much of what the machine can do that is."""

import json
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from typing import Any

from inkhorn.cli.parsing import parse
from inkhorn.config.quantization import PRECISIONS, Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError, require
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt


@dataclass(frozen=True, kw_only=True)
class BenchArgs:
    """Measure tokens a second of a checkpoint, and the share of the machine's reading speed that they take.

    A token needs every weight once, so what bounds a single text is how fast the weights can be read.
    """

    model: str = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    quantize: tuple[Precision, ...] = field(default=PRECISIONS)
    """how the weights are kept: any of fp32, bf16, int8 and int4"""
    texts: tuple[int, ...] = (1, 8)
    """how many texts are written at once"""
    tokens: int = 200
    """tokens to write in each"""
    rounds: int = 5
    """measurements of each; the median is told, with the lowest and the highest"""
    threads: int | None = None
    """at most so many; one for each core when absent"""
    json: bool = False
    """print one JSON object"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(BenchArgs, argv, "inkhorn bench")
    for name in ("tokens", "rounds"):
        require(getattr(args, name) >= 1, f"--{name} must be at least 1, not {getattr(args, name)}")
    require(all(1 <= n <= 256 for n in args.texts), "--texts must be from 1 to 256 at once")
    reason = native_bindings.unavailable_reason()
    if reason is not None or os.environ.get("INKHORN_BACKEND") == "numpy":
        raise UsageError(f"inkhorn bench measures the native backend: {reason or 'INKHORN_BACKEND=numpy rules it out'}")
    rows = [row for quantize in args.quantize for row in _measure(args, quantize)]
    if args.json:
        print(json.dumps({"model": args.model, "tokens": args.tokens, "rows": rows}))  # noqa: T201
        return 0
    sys.stdout.write("weights  texts   tokens/s  (lowest to highest)   MB a token   GB/s to read them   share\n")
    for row in rows:
        spread = f"({row['lowest']:,.0f} to {row['highest']:,.0f})"
        sys.stdout.write(
            f"{row['quantize']:8}{row['texts']:6}{row['tokens_per_second']:11,.0f}  {spread:22}"
            f"{row['bytes'] / 1e6:10,.1f}{row['bandwidth'] / 1e9:20,.0f}{row['share']:8.0%}\n"
        )
    return 0


def _measure(args: BenchArgs, quantize: Precision) -> list[dict[str, Any]]:
    """A row for each number of texts. `share`: bytes that had to be read a second, over what the machine reads."""
    rows = []
    with Engine.from_pretrained(
        args.model, precision=quantize, threads=args.threads, max_num_seqs=max(args.texts)
    ) as engine:
        backend: Any = engine.backend
        size = backend.weight_bytes
        speed = native_bindings.library().ink_memory_bandwidth(size, backend.threads, 10)
        for texts in args.texts:
            rates = [_rate(engine, texts, args.tokens) for _ in range(args.rounds + 1)][1:]  # the first warms up
            median = statistics.median(rates)
            rows.append(
                {
                    "quantize": quantize,
                    "texts": texts,
                    "threads": backend.threads,
                    "tokens_per_second": median,
                    "lowest": min(rates),
                    "highest": max(rates),
                    "bytes": size,
                    "bandwidth": speed,
                    "share": median / texts * size / speed,
                }
            )
    return rows


def _rate(engine: Engine, texts: int, tokens: int) -> float:
    start = engine.eos_id if engine.eos_id is not None else 0
    params = SamplingParams(seed=1, max_tokens=tokens, ignore_eos=True)
    begin = time.perf_counter()
    handles = [engine.submit(Prompt("", (start,), ()), params, choice) for choice in range(texts)]
    written = sum(handle.result().num_tokens for handle in handles)
    return written / (time.perf_counter() - begin)
