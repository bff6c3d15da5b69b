"""How fast the page can answer: the first changed text after a switch, and the map of what matters for a token.

    python benchmarks/interventions.py [--rounds 10]

The shipped model behind a server on loopback. "First event" is the time from sending a streamed completion with one
head switched off to its first event with text; "importance" is the time of POST /api/importance for texts of several
lengths. Without interventions the first event is measured, too, in the same rounds.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any
from urllib.error import URLError
from urllib.request import Request, urlopen

import tyro
from common import Series, interleave, report

TEXT = "ROMEO:\nBut soft, what light through yonder window breaks?\nIt is the east, and Juliet is the sun.\n"
OFF = [{"component": "head", "layer": 0, "head": 2}]


@dataclass
class Args:
    rounds: int = 10
    """measurements of each quantity"""


def post(url: str, body: dict[str, Any]) -> Any:
    request = Request(url, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return urlopen(request, timeout=120)


def first_event(url: str, interventions: list[dict[str, Any]]) -> Callable[[], float]:
    body = {
        "prompt": "ROMEO:",
        "seed": 7,
        "max_tokens": 300,
        "logprobs": 5,
        "stream": True,
        "interventions": interventions,
    }

    def measure() -> float:
        start = time.perf_counter()
        with post(f"{url}/v1/completions", body) as response:
            for line in response:
                if line.startswith(b"data: {") and json.loads(line[6:])["choices"][0]["text"]:
                    return 1e3 * (time.perf_counter() - start)
        raise RuntimeError("the stream has no text")

    return measure


def importance(url: str, characters: int) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        with post(f"{url}/api/importance", {"text": (TEXT * 3)[:characters]}) as response:
            response.read()
        return 1e3 * (time.perf_counter() - start)

    return measure


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", str(port)]
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(300):
            with suppress(URLError), urlopen(f"{url}/health/ready"):
                break
            time.sleep(0.1)
        contenders = {
            "first event, no intervention": first_event(url, []),
            "first event, one head off": first_event(url, OFF),
            **{f"importance, {count} characters": importance(url, count) for count in (60, 120, 250)},
        }
        for measure in contenders.values():
            measure()  # loads the reference model
        series: list[Series] = interleave(args.rounds, contenders, "ms")
        report("Interventions and importance over HTTP", series, {})
    finally:
        os.kill(server.pid, signal.SIGTERM)
        server.wait()


if __name__ == "__main__":
    main()
