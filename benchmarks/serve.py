"""Serving throughput and latency over loopback with 1 to 256 concurrent streaming clients.

    python benchmarks/serve.py [--clients 1,8,64,256] [--rounds 3] [--requests 10000] [--no-llama]

The clients share one process, which competes with the server for the same cores. Each client sends a request, reads the
stream to its end and sends the next request. Reported are tokens per second over all clients, the time to the first
event, and the time between the events of a stream (an event holds the tokens of 15 ms). Afterwards the server's memory
is measured during short requests, eight at a time.

If llama.cpp's server is installed, its rounds alternate with Inkhorn's, on a GGUF file of the same model. The benchmark
uses `llama-server` if it is on the PATH, else the server of llama-cpp-python, which handles one request at a time:

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
"""Concurrent sequences of each server (Inkhorn's default)."""


@dataclass
class Args:
    model: str = "shakespeare"
    """a bundled model's name, or a checkpoint folder"""
    clients: str = "1,8,64,256"
    """numbers of concurrent clients, measured in this order"""
    rounds: int = 3
    """measurements per number of clients"""
    tokens: int = 240
    """tokens per request; with the prompt they fit the bundled model's context"""
    requests: int = 10_000
    """short requests of the memory measurement; 0 skips it"""
    llama: bool = True
    """also measure llama.cpp's server if installed"""
    gguf_type: GgufType = "q8_0"
    """weight format of llama.cpp; 8 bits, like Inkhorn's default"""


@dataclass
class ClientStats:
    """Client-side measurements of one round."""

    tokens: int = 0
    errors: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)


async def stream(port: int, seed: int, tokens: int, stats: ClientStats) -> None:
    """Send one request on a new connection and time its events."""
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
        last, events, num_tokens = start, 0, 0
        while line := await reader.readline():
            if not line.startswith(b"data: "):
                continue
            now = time.perf_counter()
            if line.startswith(b"data: [DONE]"):
                break
            events += 1
            (stats.first if events == 1 else stats.gaps).append(now - last)
            last = now
            usage = re.search(rb'"completion_tokens": ?(\d+)', line)
            num_tokens = int(usage[1]) if usage else num_tokens
        stats.tokens += num_tokens or events
        stats.errors += events == 0
    except OSError:
        stats.errors += 1
    finally:
        writer.close()


async def run_clients(port: int, clients: int, requests: int, tokens: int) -> tuple[ClientStats, float]:
    """Run concurrent clients until `requests` requests are complete."""
    stats, seeds = ClientStats(), iter(range(requests))

    async def client() -> None:
        for seed in seeds:
            await stream(port, seed, tokens, stats)

    start = time.perf_counter()
    await asyncio.gather(*(client() for _ in range(clients)))
    return stats, time.perf_counter() - start


@contextmanager
def server(command: list[str], port: int | None = None) -> Iterator[tuple[int, int]]:
    """Start a server, wait until it answers, and yield its port and process id."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        assert process.stdout is not None
        if port is None:
            port = int(process.stdout.readline().rsplit(":", 1)[1])
        for _ in range(600):
            stats = ClientStats()
            with suppress(OSError):
                asyncio.run(stream(port, 0, 4, stats))
            if stats.tokens:
                break
            if process.poll() is not None:
                sys.exit(f"this server failed to start: {' '.join(command)}")
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
    """Return the name and the command of the installed llama.cpp server, or None."""
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
    """Resident memory of a process in MiB."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def measure(ports: Mapping[str, int], args: Args) -> list[Series]:
    """Measure all servers in interleaved rounds for each number of clients."""
    series = []
    for clients in map(int, args.clients.split(",")):
        requests = max(64, 2 * clients)
        found: dict[str, list[tuple[ClientStats, float]]] = {name: [] for name in ports}
        for port in ports.values():
            asyncio.run(run_clients(port, clients, clients, 16))
        for number in range(args.rounds):
            for name, port in ports.items():
                found[name].append(asyncio.run(run_clients(port, clients, requests, args.tokens)))
                stats, seconds = found[name][-1]
                summary = f"{stats.tokens / seconds:,.0f} tokens/s, {stats.errors} errors"
                print(f"  {clients} clients, round {number + 1}/{args.rounds}: {name}: {summary}", file=sys.stderr)
        for name in ports:
            series += series_of(f"{name}, {clients} client{'s' * (clients > 1)}", found[name])
    return series


def series_of(title: str, found: list[tuple[ClientStats, float]]) -> list[Series]:
    """The results of one server for one number of clients."""
    series = [Series(title, "tokens/s", tuple(stats.tokens / seconds for stats, seconds in found))]
    first = [value for stats, _ in found for value in stats.first]
    gaps = [value for stats, _ in found for value in stats.gaps]
    for what, values in (("first event", first), ("between events", gaps)):
        for share in (0.5, 0.99):
            series.append(Series(f"  {what}, p{100 * share:.0f}", "ms", (1e3 * quantile(values, share),)))
    errors = sum(stats.errors for stats, _ in found)
    return [*series, Series("  errors", "requests", (float(errors),))]


def memory(port: int, pid: int, requests: int) -> str:
    """Server memory in MiB before and after each tenth of the short requests, eight at a time."""
    found = [resident(pid)]
    for _ in range(10):
        stats, _ = asyncio.run(run_clients(port, 8, requests // 10, 8))
        assert not stats.errors
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
    report(f"Serving {args.model}, {args.tokens} tokens per request", series, facts)


if __name__ == "__main__":
    main()
