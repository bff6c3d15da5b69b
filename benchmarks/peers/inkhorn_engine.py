"""Inkhorn through its engine, including detokenization and sampling."""

import time
from pathlib import Path

from inkhorn.config.quantization import Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt
from peers import Timing


class Inkhorn:
    """The native backend with weights in `precision`, or the NumPy backend if it is None."""

    def __init__(self, folder: Path, precision: Precision | None, threads: int, max_num_seqs: int) -> None:
        self.name = f"inkhorn {precision or 'NumPy'}"
        self.engine = Engine.from_pretrained(
            folder,
            precision=precision,
            threads=threads if precision else None,
            max_num_seqs=max_num_seqs,
            backend="native" if precision else "numpy",
        )

    def generate(self, prompts: list[list[int]], new: int) -> Timing:
        params = SamplingParams(temperature=0.8, seed=1, max_tokens=new, ignore_eos=True)
        start = time.perf_counter()
        handles = [self.engine.submit(Prompt("", tuple(ids)), params, i) for i, ids in enumerate(prompts)]
        readers = [iter(handle) for handle in handles]
        for reader in readers:
            next(reader)
        first = time.perf_counter() - start
        for reader in readers:
            assert 1 + sum(1 for _ in reader) == new
        return Timing(first, time.perf_counter() - start - first)
