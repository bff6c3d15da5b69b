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
    """Measure tokens and characters per second, and the share of the memory bandwidth that generation uses.

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
    seconds: Annotated[float, Range(ge=1)] = 25.0
    """duration at most; on a slow or busy machine, measurements become shorter, and the last rows may be left out"""
    json: bool = False
    """print one JSON object"""


def run(argv: list[str]) -> int:
    args = parse(BenchArgs, argv, "inkhorn bench", example=EXAMPLE)
    reason = native_bindings.unavailable_reason()
    if reason is not None or os.environ.get("INKHORN_BACKEND") == "numpy":
        raise UsageError(f"inkhorn bench needs the native backend: {reason or 'INKHORN_BACKEND is set to numpy'}")
    rows, skipped = _measure_all(args)
    if args.json:
        print(json.dumps({"model": args.model, "tokens": args.tokens, "rows": rows, "not_measured": skipped}))
        return 0
    print("precision  batch size  tokens/s  (lowest to highest)   chars/s   MB per token   bandwidth GB/s  share")
    for row in rows:
        spread = f"({row['lowest']:,.0f} to {row['highest']:,.0f})"
        print(
            f"{row['precision']:9}{row['batch_size']:12}{row['tokens_per_second']:10,.0f}  {spread:20}"
            f"{row['characters_per_second']:9,.0f}{row['bytes'] / 1e6:15,.1f}"
            f"{row['bandwidth'] / 1e9:17,.0f}{row['share']:7.0%}"
        )
    for precision, batch_size in skipped:
        print(f"{precision:9}{batch_size:12}  not measured within {args.seconds:g} s; raise --seconds")
    return 0


def _measure_all(args: BenchArgs) -> tuple[list[dict[str, Any]], list[tuple[Precision, int]]]:
    """The rows that were measured in time, and the precisions and batch sizes that were not."""
    rows: list[dict[str, Any]] = []
    skipped: list[tuple[Precision, int]] = []
    deadline, load_seconds = time.perf_counter() + args.seconds, 0.0
    for i, precision in enumerate(args.quantize):
        remaining = deadline - time.perf_counter()
        if remaining <= load_seconds:  # loading cannot be interrupted; the other precisions took this long at most
            skipped += [(precision, batch_size) for batch_size in args.batch_sizes]
            continue
        start = time.perf_counter()
        with Engine.from_pretrained(
            args.model, precision=precision, threads=args.threads, max_num_seqs=max(args.batch_sizes), backend="native"
        ) as engine:
            load_seconds = max(load_seconds, time.perf_counter() - start)
            precisions_left = len(args.quantize) - i
            seconds = (deadline - time.perf_counter() - load_seconds * (precisions_left - 1)) / precisions_left
            for batch_size in args.batch_sizes:
                row = _measure(args, engine, precision, batch_size, seconds / len(args.batch_sizes))
                if row is None:
                    skipped.append((precision, batch_size))
                else:
                    rows.append(row)
    return rows, skipped


def _measure(
    args: BenchArgs, engine: Engine, precision: Precision, batch_size: int, seconds: float
) -> dict[str, Any] | None:
    """One row, measured within `seconds`, or None if that is too short for a token.

    `share` is the rate at which weights are read, over the machine's memory bandwidth.
    """
    backend = engine.backend
    assert isinstance(backend, NativeBackend)
    end = time.perf_counter() + seconds
    measured: list[tuple[float, float]] = []
    for measurements_left in range(args.rounds + 1, 0, -1):  # the first is a warm-up
        remaining = end - time.perf_counter()
        if remaining <= 0:
            break
        # If there is time for a few measurements only, they should not all be too short to mean something.
        measured.append(_rates(engine, batch_size, args.tokens, remaining / min(measurements_left, 3)))
    measured = [rates for rates in measured[1:] if rates[0]]
    if not measured:
        return None
    bandwidth = native_bindings.library().ink_memory_bandwidth(backend.weight_bytes, backend.threads, 10)
    rates, characters = zip(*measured, strict=True)
    median = statistics.median(rates)
    return {
        "precision": precision,
        "batch_size": batch_size,
        "threads": backend.threads,
        "tokens_per_second": median,
        "lowest": min(rates),
        "highest": max(rates),
        "characters_per_second": statistics.median(characters),
        "bytes": backend.weight_bytes,
        "bandwidth": bandwidth,
        "share": median / batch_size * backend.weight_bytes / bandwidth,
    }


def _rates(engine: Engine, batch_size: int, tokens: int, seconds: float) -> tuple[float, float]:
    """Tokens and characters per second of `batch_size` sequences, of `tokens` tokens or of those generated within
    `seconds`; 0 if none was. The characters are those of the last sequence, times the batch size.
    """
    prompt = Prompt("", (engine.eos_id if engine.eos_id is not None else 0,))
    params = SamplingParams(seed=1, max_tokens=tokens, ignore_eos=True)
    start = now = time.perf_counter()
    handles = [engine.submit(prompt, params, sample_index) for sample_index in range(batch_size)]
    num_tokens = num_characters = 0
    for chunk in handles[-1]:  # the last one that starts; all others are at least as far
        num_tokens, now = num_tokens + batch_size, time.perf_counter()
        num_characters += batch_size * len(chunk.text)
        if now > start + seconds:
            break
    for handle in handles:
        handle.abort()
    return num_tokens / (now - start), num_characters / (now - start)
