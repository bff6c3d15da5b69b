"""A server in its own process."""

import http.client
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import openai
import pytest


class ServerProcess:
    """A server that listens on `port`."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.url = process, url
        self.port = int(url.rsplit(":", 1)[1])

    def client(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, **more)

    def metric(self, name: str) -> float:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
        connection.close()
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if re.match(rf"inkhorn:{name}[{{ ]", line)
        )


@contextmanager
def run_server(*flags: str) -> Iterator[ServerProcess]:
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    drain = threading.Thread(target=process.stderr.read)
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.stderr.read())
    drain.start()
    try:
        yield ServerProcess(process, re.search(r"http://\S+", line)[0])  # type: ignore[index]
    finally:
        process.kill()
        process.wait()
        drain.join()
        process.stdout.close()
        process.stderr.close()
