"""A real server over loopback, met by 1 to 256 clients at once that each stream a text.

    python benchmarks/serve.py [--clients 1,8,64,256] [--rounds 3] [--requests 10000] [--no-llama]

The clients are one process beside the server, on the same cores, so they take their share of them. Each sends a
prompt, reads a text as it comes, and sends the next one: as many texts in all as make some seconds. Told are tokens a
second over all clients, the time to the first event, and the time between two events of a stream (an event holds what
was written in 15 ms). Then short requests, eight at once, while the server's memory is watched.

Where llama.cpp's server is installed it takes turns with ours in every round, on a GGUF of the same model: the binary
`llama-server` if it is on the PATH, else llama-cpp-python's, which writes one text at a time:

    pip install --no-deps llama-cpp-python==0.3.36 diskcache==5.6.3
    pip install --no-deps sse-starlette==3.7.0 starlette-context==0.5.1 pydantic-settings==2.16.3 python-dotenv==1.2.4
"""

import asyncio
import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from common import Series, report

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.convert.gguf import GgufType, write_gguf

PROMPT = "ROMEO:"
SLOTS = 64
"""texts that each server writes at once: our default, and what llama-server is told"""


@dataclass
class Args:
    model: str = "shakespeare"
    """what our server serves"""
    clients: str = "1,8,64,256"
    """how many at once, one after the other"""
    rounds: int = 3
    """of each number of clients"""
    tokens: int = 240
    """of each text: with the prompt they fit the shipped model's context, which nobody has to read again"""
    requests: int = 10_000
    """short ones, for the memory; 0 is none"""
    llama: bool = True
    """llama.cpp's server, too, where it is installed"""
    gguf_type: GgufType = "q8_0"
    """of its weights: 8 bits, as ours are by default"""


@dataclass
class Seen:
    """What the clients of one round saw."""

    tokens: int = 0
    errors: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


async def stream(port: int, seed: int, tokens: int, seen: Seen) -> None:
    """One request on a connection of its own, read event by event."""
    body = json.dumps(
        {
            "model": "model",
            "prompt": PROMPT,
            "max_tokens": tokens,
            "seed": seed,
            "temperature": 0.8,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }
    ).replace('"model": "model", ', "")
    start = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        head = "POST /v1/completions HTTP/1.1\r\nHost: l\r\nConnection: close\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        last, events, written = start, 0, 0
        while line := await reader.readline():
            if not line.startswith(b"data: "):
                continue
            now = time.perf_counter()
            if line.startswith(b"data: [DONE]"):
                break
            events += 1
            (seen.first if events == 1 else seen.gaps).append(now - last)
            last = now
            usage = re.search(rb'"completion_tokens": ?(\d+)', line)
            written = int(usage[1]) if usage else written
        seen.tokens += written or events
        seen.errors += events == 0
    except OSError:
        seen.errors += 1
    finally:
        writer.close()


async def crowd(port: int, clients: int, texts: int, tokens: int) -> tuple[Seen, float]:
    """Some clients, each with a text after another until all are written."""
    seen, seeds = Seen(), iter(range(texts))

    async def client() -> None:
        for seed in seeds:
            await stream(port, seed, tokens, seen)

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return seen, time.perf_counter() - start


@contextmanager
def server(command: list[str], port: int | None = None) -> Iterator[tuple[int, int]]:
    """A server's port and process id; it is there when it answers."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        if port is None:
            port = int(process.stdout.readline().rsplit(":", 1)[1])
        for _ in range(600):
            seen = Seen()
            with suppress(OSError):
                asyncio.run(stream(port, 0, 4, seen))
            if seen.tokens:
                break
            if process.poll() is not None:
                sys.exit(f"this server does not run: {' '.join(command)}")
            time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def llama_command(gguf: Path, block_size: int, port: int) -> tuple[str, list[str]] | None:
    """The name and the command of the llama.cpp server that is installed, if one is."""
    threads = str(len(os.sched_getaffinity(0)))
    if binary := shutil.which("llama-server"):
        command = [binary, "-m", str(gguf), "--port", str(port), "-t", threads, "-np", str(SLOTS)]
        return "llama-server", [*command, "-c", str(SLOTS * block_size)]
    needed = ("llama_cpp", "sse_starlette", "starlette_context", "pydantic_settings")
    if all(importlib.util.find_spec(name) for name in needed):
        command = [sys.executable, "-m", "llama_cpp.server", "--model", str(gguf), "--port", str(port)]
        command += ["--n_threads", threads, "--n_threads_batch", threads, "--n_ctx", str(block_size)]
        return "llama_cpp.server", [*command, "--interrupt_requests", "false"]
    return None


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def measure(ports: Mapping[str, int], args: Args) -> list[Series]:
    """Every number of clients, in rounds in which the servers take turns."""
    series = []
    for clients in map(int, args.clients.split(",")):
        texts = max(64, 2 * clients)
        found: dict[str, list[tuple[Seen, float]]] = {name: [] for name in ports}
        for port in ports.values():
            asyncio.run(crowd(port, clients, clients, 16))
        for number in range(args.rounds):
            for name, port in ports.items():
                found[name].append(asyncio.run(crowd(port, clients, texts, args.tokens)))
                seen, seconds = found[name][-1]
                told = f"{seen.tokens / seconds:,.0f} tokens/s, {seen.errors} errors"
                print(f"  {clients} clients, round {number + 1}/{args.rounds}: {name}: {told}", file=sys.stderr)
        for name in ports:
            series += told_of(f"{name}, {clients} client{'s' * (clients > 1)}", found[name])
    return series


def told_of(title: str, found: list[tuple[Seen, float]]) -> list[Series]:
    """The rows of one server under one load."""
    series = [Series(title, "tokens/s", tuple(seen.tokens / seconds for seen, seconds in found))]
    first = [value for seen, _ in found for value in seen.first]
    gaps = [value for seen, _ in found for value in seen.gaps]
    for what, values in (("first event", first), ("between events", gaps)):
        for share in (0.5, 0.99):
            series.append(Series(f"  {what}, p{100 * share:.0f}", "ms", (1e3 * quantile(values, share),)))
    errors = sum(seen.errors for seen, _ in found)
    return [*series, Series("  errors", "requests", (float(errors),))]


def memory(port: int, pid: int, requests: int) -> str:
    """MiB before and after each tenth of some short requests, eight at once."""
    found = [resident(pid)]
    for _ in range(10):
        seen, _ = asyncio.run(crowd(port, 8, requests // 10, 8))
        assert not seen.errors
        found.append(resident(pid))
    return " ".join(f"{value:.1f}" for value in found)


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    facts = {}
    with ExitStack() as running, tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "inkhorn", "serve", "--port", "0", "--max-queued", "1024", "-m", args.model]
        ours, pid = running.enter_context(server([*command, "--max-num-seqs", str(SLOTS)]))
        ports = {"inkhorn": ours}
        folder, port, gguf = resolve_checkpoint(args.model), free_port(), Path(work) / "model.gguf"
        if args.llama and (found := llama_command(gguf, read_config(folder).block_size, port)):
            write_gguf(folder, gguf, args.gguf_type)
            name, command = found
            ports[f"{name} {args.gguf_type}"], _ = running.enter_context(server(command, port))
        elif args.llama:
            facts["llama.cpp's server"] = "is not installed"
        series = measure(ports, args)
        if args.requests:
            facts["MiB before and during the short requests"] = memory(ours, pid, args.requests)
    report(f"Serving {args.model}, {args.tokens} tokens a text", series, facts)


if __name__ == "__main__":
    main()
