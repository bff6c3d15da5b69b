"""A Ray cluster on this machine, and clients of the application on it."""

import json
import os
import socket
import subprocess
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, TypeVar

import openai

T = TypeVar("T")

SECONDS = 600.0
"""Ray takes minutes on a busy machine."""

PATIENCE = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "300",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "300",
    "RAY_DASHBOARD_STARTUP_TIMEOUT_S": "600",
    "RAY_health_check_timeout_ms": "120000",
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_worker_niceness": "0",  # by default workers give way to everything else
}
"""Environment of processes that start a cluster: on a busy machine Ray's own limits would end what is only slow."""

TOO_BUSY = "timed out during startup"
"""Ray's error if a node does not start within 30 s, a limit that cannot be set."""


def run_command(command: Sequence[str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Run a command that may start a cluster; again if the machine was too busy for it."""
    for _ in range(5):
        done = subprocess.run(command, capture_output=True, text=True, timeout=1500, check=False, **options)
        if TOO_BUSY not in done.stderr:
            break
    return done


def started(start: Callable[..., T], *args: Any, **options: Any) -> T:
    """Start a cluster; again if the machine was too busy for it."""
    for _ in range(5):
        try:
            return start(*args, **options)
        except Exception as error:
            if TOO_BUSY not in str(error):
                raise
            last = error
    raise last


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


@contextmanager
def cluster(cpus: int = 3) -> Iterator[int]:
    """A cluster in which Serve listens; the value is its port. It claims more cores than there may be, so that
    replicas of tests are not refused."""
    os.environ.update(PATIENCE)
    import ray
    from ray import serve

    port = free_port()
    quiet = {"log_to_driver": False, "logging_level": "ERROR"}
    started(ray.init, num_cpus=cpus, include_dashboard=False, address="local", **quiet)
    try:
        serve.start(http_options={"host": "127.0.0.1", "port": port})
        yield port
    finally:
        ray.shutdown()


def post(port: int, body: dict[str, Any], path: str = "/v1/completions") -> tuple[int, dict[str, Any]]:
    """The status and the JSON of a response."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}", json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    try:
        with urllib.request.urlopen(request, timeout=SECONDS) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        with error:
            return error.code, json.load(error)


def get(port: int, path: str) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=SECONDS) as response:
        text: str = response.read().decode()
        return text


@dataclass
class Answer:
    """A streamed text: complete if it has a finish reason."""

    text: str = ""
    fingerprints: set[str] = field(default_factory=set)
    done: bool = False
    error: str | None = None


def stream(port: int, body: dict[str, Any]) -> Answer:
    """Read a stream to its end, whatever that is, with OpenAI's client."""
    answer = Answer()
    ours = {name: body[name] for name in ("ignore_eos",) if name in body}
    given = {"model": None} | {name: value for name, value in body.items() if name not in ours}
    url = f"http://127.0.0.1:{port}/v1"
    with openai.OpenAI(base_url=url, api_key="none", max_retries=0, timeout=SECONDS) as client:
        try:
            for chunk in client.completions.create(**given, extra_body=ours, stream=True):
                answer.fingerprints.add(chunk.system_fingerprint or "")
                answer.text += chunk.choices[0].text
                answer.done |= chunk.choices[0].finish_reason is not None
        except Exception as error:  # a broken connection, or an error in the stream
            answer.error = f"{type(error).__name__}: {error}"
    return answer


class Load:
    """Clients that send one streaming request after another, each with a seed of its own."""

    def __init__(self, port: int, clients: int, body: dict[str, Any]) -> None:
        self.answers: list[tuple[int, Answer]] = []
        self._stop, self._port, self.body = threading.Event(), port, dict(body)
        self._threads = [threading.Thread(target=self._run, args=(seed,)) for seed in range(clients)]
        for thread in self._threads:
            thread.start()

    def _run(self, seed: int) -> None:
        while not self._stop.is_set():
            self.answers.append((seed, stream(self._port, self.body | {"seed": seed})))

    def __enter__(self) -> "Load":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


def wait_for(condition: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        with suppress(OSError):
            if condition():
                return
        time.sleep(0.2)
    raise AssertionError(f"timed out: {what}")


def running_replicas(deployment: str) -> int:
    from ray import serve

    applications = serve.status().applications
    states = applications["inkhorn"].deployments[deployment].replica_states if "inkhorn" in applications else {}
    return int(states.get("RUNNING", 0))
