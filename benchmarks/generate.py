"""Generation beside every engine that is installed: llama.cpp, CTranslate2, transformers, nanoGPT.

    python benchmarks/generate.py [--nanogpt FOLDER] [--only char,first] [--rounds 5] [--threads 2]

Engines take turns in rounds, each in a process of its own, with the same random weights (speed does not depend on their
values), prompts, lengths and threads. A rate is tokens written over the whole time from the request to the last token,
the prompt's reading included. Inkhorn, transformers, CTranslate2 and nanoGPT sample at temperature 0.8; llama.cpp only
computes the logits, which takes less. What is not installed is left out:

    pip install --no-deps llama-cpp-python==0.3.36 ctranslate2==4.8.5 gguf==0.19.0 diskcache==5.6.3
"""

import importlib.util
import os
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
from peers.isolated import IsolatedEngine
from peers.llama import LlamaCpp
from peers.nanogpt import NanoGPT
from peers.ours import Inkhorn
from peers.shapes import SHAPES, Work, make_folder
from platformdirs import user_cache_path

from inkhorn.inference.backends import native_bindings

WORKLOADS = {
    "char": Work("char", 1, 1, 255),
    "gpt2": Work("gpt2", 1, 128, 256),
    "first": Work("gpt2", 1, 512, 1),
    "batch8": Work("gpt2", 8, 128, 64),
    "batch32": Work("gpt2", 32, 128, 64),
}
TITLES = {
    "char": "10.7M characters, batch 1, 1 + 255 tokens",
    "gpt2": "GPT-2 124M, batch 1, 128 + 256 tokens",
    "first": "GPT-2 124M, time to the first token after 512",
    "batch8": "GPT-2 124M, 8 requests at once, 128 + 64 tokens each",
    "batch32": "GPT-2 124M, 32 requests at once, 128 + 64 tokens each",
    "busy": "10.7M characters as above, another process busy on one of the cores",
    "memory": "reading memory, GB/s",
}


@dataclass
class Args:
    nanogpt: Path | None = None
    """a checkout of nanoGPT"""
    only: str = ",".join(TITLES)
    """which workloads"""
    rounds: int = 5
    """measurements of each engine"""
    threads: int = 2
    """of every engine"""
    work: Path = user_cache_path("inkhorn") / "bench"
    """folder for the models in each engine's format, made once"""


def engines(args: Args, work: Work, *, ours_and_llama: bool = False) -> list[IsolatedEngine]:
    """Every engine that is installed, each with the workload's model in a process of its own."""
    folder, threads, texts = make_folder(args.work, work.shape), args.threads, work.texts
    found: list[Callable[[], Peer]] = [
        partial(Inkhorn, folder, q, threads, texts) for q in ("fp32", "bf16", "int8", "int4")
    ]
    if importlib.util.find_spec("llama_cpp"):
        found += [partial(LlamaCpp, folder, kind, threads, texts) for kind in ("F16", "Q8_0", "Q4_0")]
    if not ours_and_llama:
        if importlib.util.find_spec("ctranslate2"):
            found += [partial(CTranslate2, folder, kind, threads) for kind in ("float32", "int8")]
        found += [partial(Transformers, folder, dtype) for dtype in ("float32", "bfloat16")]
        if work.shape == "char":
            found.append(partial(Inkhorn, folder, None, threads, texts))
            if args.nanogpt is not None:
                found.append(partial(NanoGPT, args.nanogpt, SHAPES["char"]))
    return [IsolatedEngine(make, threads) for make in found]


def measure(peer: IsolatedEngine, work: Work) -> Callable[[], float]:
    """Tokens a second, or milliseconds where a single token is asked for."""
    peer.measure(replace(work, new=min(work.new, 16)))  # once to warm up

    def once() -> float:
        timing = peer.measure(work)
        return 1e3 * timing.first if work.new == 1 else work.texts * work.new / (timing.first + timing.rest)

    return once


@contextmanager
def busy_core() -> Iterator[None]:
    """Another process that never rests, on the last of our cores."""
    core = max(os.sched_getaffinity(0))
    program = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", program])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def _read_speed(size: int, threads: int) -> float:
    return float(native_bindings.library().ink_memory_bandwidth(size, threads, 10) / 1e9)


def run(args: Args, name: str) -> list[Series]:
    """One workload's rounds."""
    if name == "memory":
        sizes = {f"{mib} MiB": mib << 20 for mib in (5, 10, 20, 40, 128, 256)}
        reads = {title: partial(_read_speed, size, args.threads) for title, size in sizes.items()}
        return interleave(args.rounds, reads, "GB/s")
    work = WORKLOADS["char" if name == "busy" else name]
    peers = engines(args, work, ours_and_llama=name == "busy")
    tests = {peer.name: measure(peer, work) for peer in peers}
    try:
        with busy_core() if name == "busy" else nullcontext():
            return interleave(args.rounds, tests, "ms" if work.new == 1 else "tokens/s")
    finally:
        for peer in peers:
            peer.close()


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    names = args.only.split(",")
    unknown = set(names) - set(TITLES)
    if unknown:
        sys.exit(f"--only takes {', '.join(TITLES)}, not {', '.join(sorted(unknown))}")
    args.work.mkdir(parents=True, exist_ok=True)
    for name in names:
        report(TITLES[name], run(args, name), {"threads": args.threads})


if __name__ == "__main__":
    main()
