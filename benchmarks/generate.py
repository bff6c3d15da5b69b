"""Generation throughput of Inkhorn, llama.cpp, CTranslate2, OpenVINO GenAI, transformers and nanoGPT.

    python benchmarks/generate.py [--nanogpt FOLDER] [--only char,first] [--rounds 5] [--threads 2]

The engines run in interleaved rounds, each in its own process, with the same random weights (speed does not depend on
their values), prompts, lengths and number of threads. Throughput is generated tokens divided by the time from the
request to the last token, prefill included. All but llama.cpp sample at temperature 0.8; llama.cpp only computes the
logits, which takes less time. Engines that are not installed are skipped:

    pip install --no-deps llama-cpp-python==0.3.36 ctranslate2==4.8.5 gguf==0.19.0 diskcache==5.6.3
    pip install --no-deps openvino==2026.4.1 openvino-genai==2026.4.1.0 openvino-tokenizers==2026.4.1.0

OpenVINO needs an exported model besides: see peers/openvino_genai.py.
"""

import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import tyro
from common import Series, interleave, report
from peers import Peer
from peers.ctranslate import CTranslate2
from peers.hf import Transformers
from peers.inkhorn_engine import Inkhorn
from peers.isolated import IsolatedEngine
from peers.llama import LlamaCpp
from peers.nanogpt import NanoGPT
from peers.openvino_genai import OpenVINOGenAI, exported
from peers.shapes import SHAPES, Workload, make_checkpoint
from platformdirs import user_cache_path

from inkhorn.config.quantization import PRECISIONS
from inkhorn.inference.backends import native_bindings

LLAMA_KINDS = ("F16", "Q8_0", "Q4_0")

WORKLOADS = {
    "char": Workload("char", 1, 1, 255),
    "gpt2": Workload("gpt2", 1, 128, 256),
    "first": Workload("gpt2", 1, 512, 1),
    "batch8": Workload("gpt2", 8, 128, 64),
    "batch32": Workload("gpt2", 32, 128, 64),
}
TITLES = {
    "char": "10.7M character model, batch 1, 1 + 255 tokens",
    "gpt2": "GPT-2 124M, batch 1, 128 + 256 tokens",
    "first": "GPT-2 124M, time to first token, 512 prompt tokens",
    "batch8": "GPT-2 124M, 8 concurrent requests, 128 + 64 tokens each",
    "batch32": "GPT-2 124M, 32 concurrent requests, 128 + 64 tokens each",
    "busy": "10.7M character model, one core occupied by another process",
    "memory": "memory read bandwidth, GB/s",
}


@dataclass
class Args:
    nanogpt: Path | None = None
    """folder of a nanoGPT checkout"""
    only: str = ",".join(TITLES)
    """comma-separated workloads"""
    rounds: int = 5
    """measurements per engine"""
    threads: int = 2
    """threads per engine"""
    engines: str = ""
    """regular expression of the engines to measure, such as 'inkhorn int8|llama'; all by default"""
    prompt: int | None = None
    """prompt tokens per sequence instead of the workload's"""
    new: int | None = None
    """generated tokens per sequence instead of the workload's"""
    cache: Path = user_cache_path("inkhorn") / "bench"
    """folder for the models in each engine's format, created once and reused"""


def engines(args: Args, workload: Workload, *, ours_and_llama: bool = False) -> list[IsolatedEngine]:
    """Start every installed engine that `args.engines` selects, with the workload's model."""
    folder, threads, batch = make_checkpoint(args.cache, workload.shape), args.threads, workload.batch
    peers: dict[str, Callable[[], Peer]] = {
        f"inkhorn {q}": partial(Inkhorn, folder, q, threads, batch) for q in PRECISIONS
    }
    if importlib.util.find_spec("llama_cpp"):
        peers |= {f"llama.cpp {kind}": partial(LlamaCpp, folder, kind, threads, batch) for kind in LLAMA_KINDS}
    if not ours_and_llama:
        if importlib.util.find_spec("ctranslate2"):
            peers |= {
                f"CTranslate2 {kind}": partial(CTranslate2, folder, kind, threads) for kind in ("float32", "int8")
            }
        if importlib.util.find_spec("openvino_genai") and exported(folder).exists():
            peers["OpenVINO GenAI int8"] = partial(OpenVINOGenAI, folder, threads)
        peers |= {f"transformers {dtype}": partial(Transformers, folder, dtype) for dtype in ("float32", "bfloat16")}
        if workload.shape == "char":
            peers["inkhorn NumPy"] = partial(Inkhorn, folder, None, threads, batch)
            if args.nanogpt is not None:
                peers["nanoGPT"] = partial(NanoGPT, args.nanogpt, SHAPES["char"])
    return [IsolatedEngine(make, threads) for name, make in peers.items() if re.search(args.engines, name)]


def measure(peer: IsolatedEngine, workload: Workload) -> Callable[[], float]:
    """Return a function that measures tokens per second, or milliseconds if the workload generates a single token."""
    peer.measure(replace(workload, new=min(workload.new, 16)))  # warm-up

    def once() -> float:
        timing = peer.measure(workload)
        if workload.new == 1:
            return 1e3 * timing.first
        return workload.batch * workload.new / (timing.first + timing.rest)

    return once


@contextmanager
def busy_core() -> Iterator[None]:
    """Keep the last available core busy with another process."""
    core = max(os.sched_getaffinity(0))
    program = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _read_bandwidth(size: int, threads: int) -> float:
    return float(native_bindings.library().ink_memory_bandwidth(size, threads, 10) / 1e9)


def run(args: Args, name: str) -> list[Series]:
    """Run one workload on every engine."""
    if name == "memory":
        sizes = {f"{mib} MiB": mib << 20 for mib in (5, 10, 20, 40, 128, 256)}
        reads = {title: partial(_read_bandwidth, size, args.threads) for title, size in sizes.items()}
        return interleave(args.rounds, reads, "GB/s")
    workload = WORKLOADS["char" if name == "busy" else name]
    workload = replace(workload, prompt=args.prompt or workload.prompt, new=args.new or workload.new)
    peers = engines(args, workload, ours_and_llama=name == "busy")
    measures = {peer.name: measure(peer, workload) for peer in peers}
    try:
        with busy_core() if name == "busy" else nullcontext():
            return interleave(args.rounds, measures, "ms" if workload.new == 1 else "tokens/s")
    finally:
        for peer in peers:
            peer.close()


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    names = args.only.split(",")
    unknown = set(names) - set(TITLES)
    if unknown:
        sys.exit(f"--only takes {', '.join(TITLES)}, not {', '.join(sorted(unknown))}")
    args.cache.mkdir(parents=True, exist_ok=True)
    for name in names:
        report(TITLES[name], run(args, name), {"threads": args.threads, "prompt": args.prompt, "new": args.new})


if __name__ == "__main__":
    main()
