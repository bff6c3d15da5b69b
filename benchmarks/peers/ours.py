"""Inkhorn, as a user has it: through the engine, with text, sampling and all."""

import time
from pathlib import Path

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Prompt, load
from peers import Timing


class Inkhorn:
    """The native kernel with weights kept as `quantize` says, or NumPy."""

    def __init__(self, folder: Path, quantize: str | None, threads: int, slots: int) -> None:
        self.name = f"inkhorn {quantize or 'NumPy'}"
        native = {"quantize": quantize, "threads": threads} if quantize else {}
        self.engine = load(folder, slots=slots, backend="native" if quantize else "numpy", **native)  # type: ignore[arg-type]

    def write(self, prompts: list[list[int]], new: int) -> Timing:
        params = SamplingParams(temperature=0.8, seed=1, max_tokens=new, ignore_eos=True)
        start = time.perf_counter()
        handles = [self.engine.submit(Prompt("", tuple(ids), ()), params, i) for i, ids in enumerate(prompts)]
        readers = [iter(handle) for handle in handles]
        for reader in readers:
            next(reader)
        first = time.perf_counter() - start
        for reader in readers:
            assert 1 + sum(1 for _ in reader) == new
        return Timing(first, time.perf_counter() - start - first)
