"""Generation throughput while other processes keep the CPU busy.

    python benchmarks/busy.py [--busy 0,1,2,4] [--sequences 1,16] [--rounds 5] [--seconds 4]

Starts processes that compute without pause, and generates text with the shipped model beside them. The fair share of T
threads beside k busy processes on C cores is T / (T + k) of the idle throughput, or 1 if there are cores for all. No
process has a raised priority or is pinned to a core. Every round measures each number of busy processes once.
"""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import tyro
from common import interleave, report

from inkhorn.config.quantization import Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt
from inkhorn.utils.cpu import available_cores


@dataclass
class Args:
    model: str = "shakespeare"
    """model name or checkpoint folder"""
    precision: Precision = "int8"
    """weights"""
    busy: str = "0,1,2,4"
    """comma-separated numbers of busy processes; the first must be 0"""
    sequences: str = "1,16"
    """comma-separated numbers of texts generated at once"""
    rounds: int = 5
    """measurements of each combination"""
    seconds: float = 4.0
    """least duration of a measurement"""


@contextmanager
def busy_processes(count: int) -> Iterator[None]:
    """Run `count` processes that compute without pause."""
    processes = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        time.sleep(0.5)
        yield
    finally:
        for process in processes:
            process.kill()
            process.wait()


def throughput(engine: Engine, sequences: int, seconds: float) -> float:
    """Tokens per second of `sequences` texts that are generated at once, again and again for `seconds`."""
    params = SamplingParams(temperature=0.8, seed=1, max_tokens=200, ignore_eos=True)
    start, tokens = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - start) < seconds:
        handles = [engine.submit(Prompt("", (1,)), params, i) for i in range(sequences)]
        tokens += sum(len(handle.result().token_ids) for handle in handles)
    return tokens / elapsed


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    counts = [int(each) for each in args.busy.split(",")]
    cores = available_cores()
    for sequences in (int(each) for each in args.sequences.split(",")):
        engine = Engine.from_pretrained(args.model, precision=args.precision, max_num_seqs=sequences)

        def measure(count: int, engine: Engine = engine, sequences: int = sequences) -> float:
            with busy_processes(count):
                return throughput(engine, sequences, args.seconds)

        throughput(engine, sequences, 1.0)  # warm-up
        measures: dict[str, Callable[[], float]] = {f"{k} busy processes": partial(measure, k) for k in counts}
        series = interleave(args.rounds, measures, "tokens/s")
        engine.close()
        report(f"{args.model} {args.precision}, {sequences} texts at once", series, {"threads": cores})
        idle = series[0].median
        for k, each in zip(counts, series, strict=True):
            fair = min(1.0, cores / (cores + k))
            print(f"  {k} busy: {each.median / idle:4.0%} of idle, {each.median / idle / fair:4.0%} of the fair share")


if __name__ == "__main__":
    main()
