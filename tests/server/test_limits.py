"""API keys, CORS, rate limit, timeouts, body and queue limits, the access log, and metrics."""

import json
import logging
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers.server import app_client, complete, load_served, wait_until

from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import Limits


def test_api_keys(model: ServedModel) -> None:
    with app_client(model, api_keys=("first", "second")) as client:
        for headers in ({}, {"Authorization": "Bearer third"}, {"Authorization": "Basic first"}, {"X-Api-Key": ""}):
            response = client.get("/v1/models", headers=headers)
            assert response.status_code == 401
            assert response.headers["www-authenticate"] == "Bearer"
            error = response.json()["error"]
            assert (error["type"], error["code"]) == ("authentication_error", "invalid_api_key")
        for headers in ({"Authorization": "Bearer second"}, {"X-Api-Key": "first"}):
            assert client.get("/v1/models", headers=headers).status_code == 200
        for path in ("/metrics", "/tokenizer_info", "/api/settings", "/v1/models/tiny"):
            assert client.get(path).status_code == 401, path
        for path in ("/v1/completions", "/v1/chat/completions", "/api/explain", "/tokenize", "/detokenize"):
            assert client.post(path, json={}).status_code == 401, path
        for path in ("/health", "/health/ready", "/version", "/", "/docs", "/openapi.json"):
            assert client.get(path).status_code == 200, path


def test_cors_origins(model: ServedModel) -> None:
    preflight = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    with app_client(model) as client:
        assert "access-control-allow-origin" not in client.options("/v1/completions", headers=preflight).headers
    with app_client(model, cors_origins=("https://example.org",), api_keys=("key",)) as client:
        response = client.options("/v1/completions", headers=preflight)
        assert response.headers["access-control-allow-origin"] == "https://example.org"


def test_rate_limit(model: ServedModel) -> None:
    with app_client(model, limits=Limits(rate_limit=2)) as client:
        assert [client.get("/v1/models").status_code for _ in range(3)] == [200, 200, 429]
        assert int(client.get("/v1/models").headers["retry-after"]) >= 1
        assert client.get("/health").status_code == client.get("/metrics").status_code == 200


def test_rate_limit_is_per_key(model: ServedModel) -> None:
    with app_client(model, limits=Limits(rate_limit=1), api_keys=("first", "second")) as client:
        keys = ("first", "first", "second")
        responses = [client.get("/v1/models", headers={"Authorization": f"Bearer {key}"}) for key in keys]
        assert [response.status_code for response in responses] == [200, 429, 200]


def test_max_body_bytes(model: ServedModel) -> None:
    with app_client(model, limits=Limits(max_body_bytes=200)) as client:
        response = client.post("/v1/completions", json={"prompt": "a" * 300})
        assert response.status_code == 413
        assert "limit of 200 bytes" in response.json()["error"]["message"]
        parts = iter([b'{"prompt": "', b"a" * 300, b'"}'])  # sent without Content-Length
        headers = {"Content-Type": "application/json"}
        assert client.post("/v1/completions", content=parts, headers=headers).status_code == 413


def test_max_seconds(model: ServedModel) -> None:
    with app_client(model, limits=Limits(max_seconds=0.05)) as client:
        body = {"prompt": "a", "max_tokens": 60_000, "ignore_eos": True}
        response = client.post("/v1/completions", json=body)
        assert response.status_code == 408
        assert "0.05 seconds" in response.json()["error"]["message"]
        with client.stream("POST", "/v1/completions", json=body | {"stream": True}) as stream:
            events = [line for line in stream.iter_lines() if line]
        assert "0.05 seconds" in json.loads(events[-2][6:])["error"]["message"]
        assert events[-1] == "data: [DONE]"
    wait_until(lambda: model.engine.request_counts == (0, 0))


def test_defaults_keep_the_limit_of_tokens(model: ServedModel) -> None:
    with app_client(model, limits=Limits(max_tokens=4)) as client:
        assert complete(client, prompt="a", ignore_eos=True)["usage"]["completion_tokens"] == 4
        body = {"messages": [{"content": "a"}], "ignore_eos": True}
        assert client.post("/v1/chat/completions", json=body).json()["usage"]["completion_tokens"] == 4
        assert client.post("/v1/completions", json={"prompt": "a", "max_tokens": 5}).status_code == 400


def test_max_queued(folder: Path) -> None:
    with app_client(load_served(folder, max_num_seqs=1, max_queued=1), limits=Limits(max_queued=1)) as client:
        response = client.post("/v1/completions", json={"prompt": "a", "n": 3, "max_tokens": 2000, "ignore_eos": True})
        assert response.status_code == 429
        assert response.headers["retry-after"] == "1"
        assert response.json()["error"]["code"] == "queue_full"
        assert complete(client, prompt="a", n=2)["choices"]  # the rejected request left nothing in the queue


def test_request_id_and_access_log(client: TestClient, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "inkhorn.server"):
        response = client.post("/v1/completions", json={"prompt": "ab ba"}, headers={"X-Request-Id": "mine-1"})
    assert response.headers["x-request-id"] == "mine-1"
    line = json.loads(caplog.records[-1].getMessage())
    assert (line["id"], line["path"], line["status"], line["prompt_tokens"]) == ("mine-1", "/v1/completions", 200, 5)
    assert line["completion_tokens"] > 0
    assert "ab ba" not in caplog.text


def test_log_prompts(model: ServedModel, caplog: pytest.LogCaptureFixture) -> None:
    with app_client(model, log_prompts=True) as client, caplog.at_level(logging.INFO, "inkhorn.server"):
        client.post("/v1/completions", json={"prompt": "ab ba"})
    assert json.loads(caplog.records[-1].getMessage())["prompts"] == ["ab ba"]


def test_metrics(client: TestClient) -> None:
    complete(client, prompt="ab", max_tokens=5, ignore_eos=True)
    metrics = client.get("/metrics").text
    for line in (
        'inkhorn:generation_tokens_total{model_name="tiny"}',
        'inkhorn:request_success_total{finished_reason="length",model_name="tiny"}',
        'http_requests_total{handler="/v1/completions",method="POST",status="200"}',
        'inkhorn:time_to_first_token_seconds_bucket{le="0.001",model_name="tiny"}',
        'inkhorn:num_requests_running{model_name="tiny"} 0.0',
    ):
        assert line in metrics
