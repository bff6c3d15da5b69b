"""Hostile requests: no status 5xx, every header in place, and no effect on other requests."""

import json
import os
import random
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import schemathesis
from fastapi.testclient import TestClient
from helpers.hostile import hostile_request
from helpers.server import complete, wait_until
from helpers.server_process import ServerProcess, run_server
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.generation import GenerationMode

from inkhorn.server.served_model import ServedModel

CANARY: dict[str, Any] = {"prompt": "ab", "seed": 5, "max_tokens": 12, "ignore_eos": True}
SECONDS = float(os.environ.get("INKHORN_FUZZ_SECONDS", "60"))
"""Duration of each of the two long tests."""


def encoded(headers: Mapping[str, str]) -> dict[bytes, bytes]:
    return {name.encode(): value.encode("latin-1") for name, value in headers.items()}


def check_response(status: int, headers: Mapping[str, str], text: str) -> None:
    assert status < 500, text
    assert headers["x-request-id"]
    assert headers["x-content-type-options"] == "nosniff"
    if status >= 400:
        assert set(json.loads(text)["error"]) == {"message", "type", "param", "code"}
    elif headers["content-type"].startswith("text/event-stream"):
        events = [line[6:] for line in text.splitlines() if line.startswith("data: ")]
        if events[-1] == "[DONE]":
            events.pop()
        else:  # a stream of the Responses API
            assert json.loads(events[-1])["type"] in ("response.completed", "response.incomplete")
        assert all("error" not in json.loads(event) for event in events)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(seed=st.integers(0, 2**32))
def test_hostile_requests(client: TestClient, model: ServedModel, seed: int) -> None:
    sent = hostile_request(random.Random(seed))
    response = client.request(sent.method, sent.path, content=sent.body, headers=encoded(sent.headers))
    check_response(response.status_code, response.headers, response.text)
    assert model.engine.failure is None
    assert model.engine.request_counts == (0, 0)


def test_hostile_requests_leave_no_trace(client: TestClient) -> None:
    expected = complete(client, **CANARY)["choices"]
    for seed in range(30):
        sent = hostile_request(random.Random(seed))
        client.request(sent.method, sent.path, content=sent.body, headers=encoded(sent.headers))
    assert complete(client, **CANARY)["choices"] == expected


class Canary:
    """Sends one request again and again from a thread, and checks its text."""

    def __init__(self, server: ServerProcess) -> None:
        self._server, self._stop = server, threading.Event()
        self.errors: list[str] = []
        self.count = 0
        self._expected = self._ask()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _ask(self) -> str:
        status, _, text = self._server.request("POST", "/v1/completions", json.dumps(CANARY).encode())
        return f"{status} {json.loads(text)['choices'] if status == 200 else text}"

    def _run(self) -> None:
        while not self._stop.is_set():
            try:
                found = self._ask()
            except Exception as error:
                found = repr(error)
            self.count += 1
            if found != self._expected:
                self.errors.append(found)
            time.sleep(0.02)

    def finish(self) -> None:
        self._stop.set()
        self._thread.join()
        assert self._expected.startswith("200")
        assert self.errors == []
        assert self.count > 3


@pytest.mark.fuzz
def test_fuzz_with_hostile_values(folder: Path) -> None:
    seed = random.randrange(2**32)
    source, number = random.Random(seed), 0
    with run_server("--model", str(folder)) as server:
        canary = Canary(server)
        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                sent = hostile_request(source)
                try:
                    check_response(*server.request(sent.method, sent.path, sent.body, sent.headers))
                except Exception as error:
                    error.add_note(f"seed {seed}, request {number}: {sent.method} {sent.path} {sent.headers}")
                    error.add_note(repr(sent.body[:2000]))
                    raise
                number += 1
        finally:
            canary.finish()
        wait_until(lambda: server.metric("num_requests_running") == 0)
        assert server.process.poll() is None


@pytest.mark.fuzz
def test_fuzz_with_schemathesis(folder: Path) -> None:
    with run_server("--model", str(folder), "--max-tokens", "64", "--max-choices", "8") as server:
        api = schemathesis.openapi.from_url(f"{server.url}/openapi.json")
        canary = Canary(server)

        def check(operation: Any, mode: GenerationMode) -> None:
            @settings(max_examples=15, deadline=None, database=None, suppress_health_check=list(HealthCheck))
            @given(case=operation.as_strategy(generation_mode=mode))
            def run(case: Any) -> None:
                response = case.call(base_url=server.url)
                assert response.status_code < 500, response.text
                assert response.headers["x-request-id"]

            run()

        try:
            end = time.monotonic() + SECONDS
            while time.monotonic() < end:
                for found in api.get_all_operations():
                    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                        if time.monotonic() < end and (found.ok().body or mode == GenerationMode.POSITIVE):
                            check(found.ok(), mode)
        finally:
            canary.finish()
        assert server.process.poll() is None
