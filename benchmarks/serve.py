"""A real server over loopback, met by 1 to 256 clients at once that each stream a text.

    python benchmarks/serve.py [--clients 1,8,64,256] [--rounds 3] [--requests 10000] [--llama GGUF]

The clients are one process beside the server, on the same cores, so they take their share of them. Each sends a
prompt, reads 256 tokens as they come, and sends the next one: as many texts in all as make some seconds. Told are
tokens a second over all clients, the time to the first event, and the time between two events of a stream (an event
holds what was written in 15 ms). Then short requests, eight at once, while the server's memory is watched. With
--llama, llama.cpp's Python server takes its turn, on a GGUF of the same model.
"""

import asyncio
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import tyro
from common import Series, report

TOKENS = 256
PROMPT = "ROMEO:"


@dataclass
class Args:
    model: str = "shakespeare"
    """what our server serves"""
    clients: str = "1,8,64,256"
    """how many at once, one after the other"""
    rounds: int = 3
    """of each number of clients"""
    requests: int = 10_000
    """short ones, for the memory"""
    llama: Path | None = None
    """a GGUF file for llama.cpp's server"""


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
        for _ in range(300):
            try:
                asyncio.run(stream(port, 0, 4, Seen()))
                break
            except OSError:
                time.sleep(0.1)
        yield port, process.pid
    finally:
        process.terminate()
        process.wait()


def resident(pid: int) -> float:
    """MiB of memory that a process holds."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def measure(name: str, port: int, args: Args) -> list[Series]:
    """Every number of clients, in rounds."""
    series = []
    for clients in map(int, args.clients.split(",")):
        texts = max(64, 2 * clients)
        asyncio.run(crowd(port, clients, clients, 16))
        found = [asyncio.run(crowd(port, clients, texts, TOKENS)) for _ in range(args.rounds)]
        rates = tuple(seen.tokens / seconds for seen, seconds in found)
        first = [value for seen, _ in found for value in seen.first]
        gaps = [value for seen, _ in found for value in seen.gaps]
        title = f"{name}, {clients} client{'s' * (clients > 1)}"
        series.append(Series(title, "tokens/s", rates))
        for what, values in (("first event", first), ("between events", gaps)):
            for share in (0.5, 0.99):
                series.append(Series(f"  {what}, p{100 * share:.0f}", "ms", (1e3 * quantile(values, share),)))
        errors = sum(seen.errors for seen, _ in found)
        series.append(Series("  errors", "requests", (float(errors),)))
        print(f"  {title}: {statistics.median(rates):,.0f} tokens/s, {errors} errors", file=sys.stderr)
    return series


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    facts = {}
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", "0", "--max-queue", "1024", "-m", args.model]
    with server(command) as (port, pid):
        series = measure("inkhorn", port, args)
        before = resident(pid)
        memory = [before]
        for _ in range(10):
            seen, _ = asyncio.run(crowd(port, 8, args.requests // 10, 8))
            assert not seen.errors
            memory.append(resident(pid))
        facts["MiB before and during the short requests"] = " ".join(f"{value:.1f}" for value in memory)
    if args.llama is not None:
        command = [sys.executable, "-m", "llama_cpp.server", "--model", str(args.llama), "--port", "8123"]
        command += ["--n_threads", "2", "--n_ctx", "256", "--interrupt_requests", "false"]
        with server(command, 8123) as (port, _):
            series += measure("llama.cpp", port, args)
    report(f"Serving {args.model}, {TOKENS} tokens a text", series, facts)


if __name__ == "__main__":
    main()
