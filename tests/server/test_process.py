"""A real server in a process of its own, met by OpenAI's own client, by clients that leave, and by signals."""

import asyncio
import http.client
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai
import pytest
from helpers.server import save_tiny
from helpers.server_process import Running, running

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import load


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[Running]:
    with running("--model", str(folder), "--slots", "4") as server:
        yield server


LONG: dict[str, Any] = {"prompt": "a", "max_tokens": 60_000, "extra_body": {"ignore_eos": True}}


def wait_until(condition: Any, seconds: float = 10) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to pass"
        time.sleep(0.01)


def test_openai_s_client(server: Running, folder: Path) -> None:
    with load(folder) as engine:
        expected = engine.complete("ab", SamplingParams(temperature=1, seed=3, max_tokens=50, ignore_eos=True)).text
    more: dict[str, Any] = {"seed": 3, "max_tokens": 50, "extra_body": {"ignore_eos": True}}
    with server.client() as client:
        assert [model.id for model in client.models.list()] == ["tiny"]
        assert client.models.retrieve("tiny").owned_by == "inkhorn"
        whole = client.completions.create(model="tiny", prompt="ab", logprobs=2, **more)
        assert whole.choices[0].text == expected
        assert whole.usage is not None
        assert whole.usage.total_tokens == whole.usage.prompt_tokens + whole.usage.completion_tokens
        assert whole.choices[0].logprobs is not None
        assert "".join(whole.choices[0].logprobs.tokens or []) == expected
        stream = client.completions.create(
            model="tiny", prompt="ab", stream=True, stream_options={"include_usage": True}, **more
        )
        chunks = list(stream)
        assert "".join(chunk.choices[0].text for chunk in chunks[:-1]) == expected
        assert chunks[-1].usage == whole.usage
        said = client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": "ab"}], **more)
        assert said.choices[0].message.content == expected
        with client.chat.completions.create(
            model="tiny", messages=[{"role": "user", "content": "ab"}], stream=True, **more
        ) as talk:
            assert "".join(chunk.choices[0].delta.content or "" for chunk in talk) == expected


def test_openai_s_client_without_blocking(server: Running) -> None:
    async def ask() -> list[str]:
        async with openai.AsyncOpenAI(base_url=f"{server.url}/v1", api_key="none", max_retries=0) as client:

            async def one(seed: int) -> str:
                stream = await client.completions.create(
                    model="tiny", prompt="ab", seed=seed, max_tokens=40, stream=True
                )
                return "".join([chunk.choices[0].text async for chunk in stream])

            return await asyncio.gather(*(one(seed % 3) for seed in range(9)))

    texts = asyncio.run(ask())
    assert texts[:3] == texts[3:6] == texts[6:]
    assert len(set(texts[:3])) == 3


def test_openai_s_client_knows_the_errors(server: Running) -> None:
    with server.client() as client:
        with pytest.raises(openai.NotFoundError, match="no model 'other'"):
            client.completions.create(model="other", prompt="a")
        with pytest.raises(openai.BadRequestError, match="at most 65,536"):
            client.completions.create(model="tiny", prompt="a", max_tokens=10**6)


def test_who_goes_away_frees_the_slot(server: Running) -> None:
    with server.client() as client:
        stream = client.completions.create(model="tiny", stream=True, **LONG)
        next(iter(stream))
        assert server.metric("num_requests_running") == 1
        stream.close()
        wait_until(lambda: server.metric("num_requests_running") == 0)
    # The same for an answer that is not streamed: the client hangs up before it comes.
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    body = json.dumps({"prompt": "a", "max_tokens": 60_000, "ignore_eos": True})
    connection.request("POST", "/v1/completions", body, {"Content-Type": "application/json"})
    wait_until(lambda: server.metric("num_requests_running") == 1)
    connection.close()
    wait_until(lambda: server.metric("num_requests_running") == 0)


def test_a_slow_reader_costs_no_one_else(server: Running) -> None:
    with server.client() as client:
        slow = client.completions.create(model="tiny", stream=True, logprobs=5, **LONG)
        next(iter(slow))
        for _ in range(3):  # nobody reads `slow` meanwhile
            start = time.monotonic()
            client.completions.create(model="tiny", prompt="ab", max_tokens=20)
            assert time.monotonic() - start < 5
        slow.close()
        wait_until(lambda: server.metric("num_requests_running") == 0)


def test_sigterm_finishes_what_runs(folder: Path) -> None:
    with running("--model", str(folder)) as server, server.client() as client:
        stream = client.completions.create(
            model="tiny", stream=True, prompt="a", max_tokens=3000, extra_body={"ignore_eos": True}
        )
        chunks = iter(stream)
        next(chunks)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: not listens(server.port))
        assert list(chunks)[-1].choices[0].finish_reason == "length"
        assert server.process.wait(10) == 0


def test_sigterm_waits_no_longer_than_told(folder: Path) -> None:
    with running("--model", str(folder), "--drain-seconds", "1") as server, server.client() as client:
        stream = client.completions.create(model="tiny", stream=True, **LONG)
        next(iter(stream))
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        server.process.wait(10)
        assert time.monotonic() - start < 5


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
    ("flags", "code", "told"),
    [
        (["--port", "70000"], 2, "0 to 65535"),
        (["--model", "/nowhere"], 1, "does not exist"),
        (["--max-queue", "0"], 2, "max_queue must be at least 1"),
        (["--api-key-file", "/nowhere"], 2, "cannot read keys"),
    ],
)
def test_what_cannot_be_served(flags: list[str], code: int, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "inkhorn", "serve", *flags], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == code
    assert told in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_told(server: Running) -> None:
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", str(server.port)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
    assert done.returncode == 1
    assert "cannot listen" in done.stderr
