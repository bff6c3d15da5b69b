"""A server in its own process."""

import http.client
import re
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import openai
import pytest


class ServerProcess:
    """A server that listens on `port`."""

    def __init__(self, process: "subprocess.Popen[str]", url: str) -> None:
        self.process, self.url = process, url
        self.port = int(url.rsplit(":", 1)[1])
        self.log: list[str] = []
        """lines of standard error so far"""

    def client(self, **more: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", max_retries=0, **more)

    def request(
        self, method: str, path: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> tuple[int, dict[str, str], str]:
        """The status, headers (in lower case) and text of a response; a body is JSON unless `headers` say otherwise."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        connection.request(method, path, body, {"Content-Type": "application/json"} if headers is None else headers)
        response = connection.getresponse()
        found = {name.lower(): value for name, value in response.getheaders()}
        text = response.read().decode("utf-8", "replace")
        connection.close()
        return response.status, found, text

    def metric(self, name: str) -> float:
        page = self.request("GET", "/metrics")[2]
        return sum(
            float(line.rsplit(" ", 1)[1]) for line in page.splitlines() if re.match(rf"inkhorn:{name}[{{ ]", line)
        )


@contextmanager
def run_server(*flags: str, code: str = "") -> Iterator[ServerProcess]:
    """Run `inkhorn serve` with these flags; `code` runs before it, to break something."""
    start = f"import sys\nfrom inkhorn.cli.main import main\n{code}\nsys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", start, "serve", "--port", "0", *flags]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    line = process.stdout.readline()
    if not line:
        pytest.fail(process.stderr.read())
    server = ServerProcess(process, re.search(r"http://\S+", line)[0])  # type: ignore[index]
    drain = threading.Thread(target=server.log.extend, args=(process.stderr,))
    drain.start()
    try:
        yield server
    finally:
        process.kill()
        process.wait()
        drain.join()
        process.stdout.close()
        process.stderr.close()
