"""A server process: OpenAI's client, disconnecting and slow clients, signals, and errors at startup."""

import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from helpers.server import wait_until
from helpers.server_process import ServerProcess, run_server

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    with run_server("--model", str(folder), "--max-num-seqs", "4") as server:
        yield server


LONG: dict[str, Any] = {"prompt": "a", "max_tokens": 60_000, "extra_body": {"ignore_eos": True}}


def test_openai_client(server: ServerProcess, folder: Path) -> None:
    with Engine.from_pretrained(folder) as engine:
        expected = (
            engine.submit("ab", SamplingParams(temperature=1, seed=3, max_tokens=50, ignore_eos=True)).result().text
        )
    more: dict[str, Any] = {"seed": 3, "max_tokens": 50, "extra_body": {"ignore_eos": True}}
    with server.client() as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "inkhorn"
        response = client.completions.create(model="tiny", prompt="ab", logprobs=2, **more)
        assert response.choices[0].text == expected
        assert response.usage is not None
        assert response.usage.total_tokens == response.usage.prompt_tokens + response.usage.completion_tokens
        assert response.choices[0].logprobs is not None
        assert "".join(response.choices[0].logprobs.tokens or []) == expected
        stream = client.completions.create(
            model="tiny", prompt="ab", stream=True, stream_options={"include_usage": True}, **more
        )
        chunks = list(stream)
        assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == expected
        assert chunks[-1].usage == response.usage
        chat = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "ab"}], **more)
        assert chat.choices[0].message.content == expected
        with client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "ab"}], stream=True, **more
        ) as chunks_of_chat:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks_of_chat) == expected


def test_async_openai_client(server: ServerProcess) -> None:
    async def request_all() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:

            async def one(seed: int) -> str:
                stream = await client.completions.create(
                    model="tiny", prompt="ab", seed=seed, max_tokens=40, stream=True
                )
                return "".join([chunk.choices[0].text async for chunk in stream])

            return await asyncio.gather(*(one(seed % 3) for seed in range(9)))

    texts = asyncio.run(request_all())
    assert texts[:3] == texts[3:6] == texts[6:]
    assert len(set(texts[:3])) == 3


def test_openai_client_errors(server: ServerProcess) -> None:
    with server.client() as client:
        with pytest.raises(openai.NotFoundError, match="the model 'other' does not exist"):
            client.completions.create(model="other", prompt="a")
        with pytest.raises(openai.BadRequestError, match="at most 65,536"):
            client.completions.create(model="tiny", prompt="a", max_tokens=10**6)


def test_disconnect_frees_the_slot(server: ServerProcess) -> None:
    with server.client() as client:
        stream = client.completions.create(model="tiny", stream=True, **LONG)
        next(iter(stream))
        assert server.metric("num_requests_running") == 1
        stream.close()
        wait_until(lambda: server.metric("num_requests_running") == 0)
    # The same for a response that is not streamed: the client disconnects before it arrives.
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    body = json.dumps({"prompt": "a", "max_tokens": 60_000, "ignore_eos": True})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    wait_until(lambda: server.metric("num_requests_running") == 1)
    connection.close()
    wait_until(lambda: server.metric("num_requests_running") == 0)


def test_slow_reader_does_not_block_others(server: ServerProcess) -> None:
    with server.client() as client:
        slow = client.completions.create(model="tiny", stream=True, logprobs=5, **LONG)
        next(iter(slow))
        for _ in range(3):  # `slow` is not read, so that its response, of several megabytes, cannot finish
            assert client.completions.create(model="tiny", prompt="ab", max_tokens=20).choices
        slow.close()
        wait_until(lambda: server.metric("num_requests_running") == 0)


def test_sigterm_drains_running_requests(folder: Path) -> None:
    with run_server("--model", str(folder)) as server, server.client() as client:
        stream = client.completions.create(
            model="tiny", stream=True, prompt="a", max_tokens=3000, extra_body={"ignore_eos": True}
        )
        chunks = iter(stream)
        next(chunks)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(server.port))
        assert list(chunks)[-1].choices[0].finish_reason == "length"
        assert server.process.wait(60) == 0


def test_shutdown_timeout(folder: Path) -> None:
    with run_server("--model", str(folder), "--shutdown-timeout", "1") as server, server.client() as client:
        stream = client.completions.create(model="tiny", stream=True, logprobs=5, **LONG)
        next(iter(stream))
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(60)  # the stream is not read, so that without the timeout the server would wait forever


def listens(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/health")
        connection.getresponse().read()
    except OSError:
        return False
    finally:
        connection.close()
    return True


@pytest.mark.parametrize(
    ("flags", "code", "message"),
    [
        (["--port", "70000"], 2, "between 0 and 65535"),
        (["--model", "/nowhere"], 1, "does not exist"),
        (["--max-queued", "0"], 2, "--max-queued must be at least 1"),
        (["--api-key-file", "/nowhere"], 2, "cannot read API keys"),
    ],
)
def test_startup_errors(flags: list[str], code: int, message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inkhorn", "serve", *flags], capture_output=True, text=True, timeout=180
    )
    assert done.returncode == code
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_port_in_use(server: ServerProcess) -> None:
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=180, env=os.environ)
    assert done.returncode == 1
    assert "cannot listen on" in done.stderr


FAILING_SCHEDULER = """
from inkhorn.inference.scheduler import Scheduler
schedule = Scheduler.schedule
def schedule_or_fail(self):
    if any(len(sequence.token_ids) == 7 for sequence in self.waiting):
        raise RuntimeError("a bug")
    return schedule(self)
Scheduler.schedule = schedule_or_fail
"""


def test_failed_engine_ends_the_server(folder: Path) -> None:
    with run_server("--model", str(folder), code=FAILING_SCHEDULER) as server:
        body = {"prompt": "ab", "max_tokens": 2}
        assert server.request("POST", "/v1/completions", json.dumps(body).encode())[0] == 200
        status, _, text = server.request("POST", "/v1/completions", json.dumps(body | {"prompt": "abcdefg"}).encode())
        assert status == 503
        assert "the engine has failed and must be restarted: RuntimeError: a bug" in text
        assert server.process.wait(60) == 1
        wait_until(lambda: "has failed" in "".join(server.log))
        assert "inkhorn: the engine of model tiny has failed" in server.log[-1]


def test_shutdown_ends_streams_with_an_error_event(folder: Path) -> None:
    # More tokens than a fast machine generates within the timeout.
    with run_server("--model", str(folder), "--shutdown-timeout", "1", "--max-tokens", "10000000") as server:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        body = json.dumps({"prompt": "a", "max_tokens": 10_000_000, "ignore_eos": True, "stream": True})
        connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        response.readline()
        server.process.send_signal(signal.SIGTERM)
        events = [line for line in response.read().decode().splitlines() if line.startswith("data: ")]
        assert "the server is shutting down" in json.loads(events[-2][6:])["error"]["message"]
        assert events[-1] == "data: [DONE]"
        connection.close()
        assert server.process.wait(60) == 0


def test_second_interrupt_ends_a_busy_server_without_a_traceback(folder: Path) -> None:
    with run_server("--model", str(folder)) as server, server.client() as client:
        stream = client.completions.create(model="tiny", stream=True, **LONG)
        next(iter(stream))
        server.process.send_signal(signal.SIGINT)
        wait_until(lambda: any("waiting for 1 request, at most 30 s" in line for line in server.log))
        server.process.send_signal(signal.SIGINT)
        with pytest.raises(openai.APIError, match="the server is shutting down"):
            list(stream)
        assert server.process.wait(60) == 0
    assert "Traceback" not in "".join(server.log)


def exchange(port: int, data: bytes) -> bytes:
    """Send bytes on a new connection; returns what comes until the server closes it."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall(data)
        found = b""
        while part := connection.recv(1 << 16):
            found += part
    return found


def test_connections_without_a_request_are_closed(folder: Path) -> None:
    with run_server("--model", str(folder), "--timeout-keep-alive", "1", "--max-seconds", "1") as server:
        for head in (b"", b"GET /hea", b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Slow: "):
            assert exchange(server.port, head) == b""
        waiting = b"POST /tokenize HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
        response = exchange(server.port, waiting)
        assert response.startswith(b"HTTP/1.1 408 ")
        assert b"x-request-id" in response
        assert b"x-should-retry: false" in response
        assert listens(server.port)


def test_http_1_0_gets_no_chunked_body(server: ServerProcess) -> None:
    for stream in (False, True):
        body = json.dumps({"prompt": "ab", "max_tokens": 5, "stream": stream}).encode()
        head = f"POST /v1/completions HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        headers, _, content = exchange(server.port, head.encode() + body).partition(b"\r\n\r\n")
        assert headers.startswith(b"HTTP/1.1 200 ")
        assert b"chunked" not in headers
        assert content.endswith(b"data: [DONE]\n\n" if stream else b"}")


def test_what_is_not_http_gets_an_openai_error(server: ServerProcess) -> None:
    before = server.request("GET", "/metrics")[2]
    for data in (b"\0\0\0\0\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nbad header\r\n\r\n"):
        headers, _, content = exchange(server.port, data).partition(b"\r\n\r\n")
        assert headers.startswith(b"HTTP/1.1 400 ")
        assert b"x-request-id: " in headers
        assert b"x-content-type-options: nosniff" in headers
        assert json.loads(content)["error"]["code"] == "invalid_http"
    counted = 'http_requests_total{handler="other",method="other",status="400"} 3.0'
    assert counted not in before
    assert counted in server.request("GET", "/metrics")[2]


def test_a_head_that_never_ends_is_refused(server: ServerProcess) -> None:
    response = exchange(server.port, b"GET /health HTTP/1.1\r\n" + b"X-Long: " + b"a" * 200_000)
    assert response.startswith(b"HTTP/1.1 431 ")
    assert json.loads(response.partition(b"\r\n\r\n")[2])["error"]["message"]


def test_forwarded_addresses_are_not_believed(folder: Path) -> None:
    flags = ["--model", str(folder), "--rate-limit", "1"]
    for trusted in (False, True):
        with run_server(*flags, *(["--forwarded-allow-ips", "127.0.0.1"] if trusted else [])) as server:
            addresses = ("10.0.0.1", "10.0.0.2")
            statuses = [server.request("GET", "/v1/models", None, {"X-Forwarded-For": a})[0] for a in addresses]
            assert statuses == ([200, 200] if trusted else [200, 429])


def test_other_hosts_are_refused_on_loopback(server: ServerProcess, folder: Path) -> None:
    assert server.request("GET", "/v1/models", None, {"Host": "evil.example"})[0] == 403
    assert server.request("GET", "/v1/models", None, {"Host": "LOCALHOST:1"})[0] == 200
    with run_server("--model", str(folder), "--allowed-host", "my.name") as other:
        assert other.request("GET", "/v1/models", None, {"Host": "my.name:80"})[0] == 200
        assert other.request("GET", "/v1/models", None, {"Host": "evil.example"})[0] == 403
