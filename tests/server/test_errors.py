"""Error responses: their status, and OpenAI's format."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import ALPHABET, app_client, bad_request, load_served
from pydantic import ValidationError

from inkhorn.server.schemas.requests import ChatRequest, CompletionRequest
from inkhorn.tokenizer.char import CharTokenizer

ALL_TOKENS = list(range(CharTokenizer(ALPHABET).vocab_size))


@pytest.mark.parametrize(
    ("body", "param", "message"),
    [
        ({"prompt": "a", "temperature": 3}, "temperature", "less than or equal to 2"),
        ({"prompt": "a", "temperature": "hot"}, "temperature", "number"),
        ({"prompt": "a", "top_p": -0.1}, "top_p", "greater than or equal to 0"),
        ({"prompt": "a", "top_k": -2}, "top_k", "greater than or equal to -1"),
        ({"prompt": "a", "max_tokens": -1}, "max_tokens", "greater than or equal to 0"),
        ({"prompt": "a", "max_tokens": 10**9}, "max_tokens", "at most 65,536"),
        ({"prompt": "a", "n": 0}, "n", "greater than or equal to 1"),
        ({"prompt": ["a"] * 100, "n": 100}, "n", "the limit is 128"),
        ({"prompt": "a", "logprobs": 21}, "logprobs", "20"),
        ({"prompt": "a", "stop": ["a"] * 65}, "stop", "64"),
        ({"prompt": "a", "stop": ""}, "stop", "must not contain an empty string"),
        ({"prompt": "a", "suffix": "end"}, "suffix", "left to right"),
        ({"prompt": "a", "n": 3, "best_of": 2}, "best_of", "at least n (3)"),
        ({"prompt": "a", "best_of": 2, "stream": True}, "best_of", "cannot be combined with stream"),
        ({"prompt": "a", "stream_options": {"include_usage": True}}, "stream_options", "requires stream"),
        ({"prompt": "a", "logit_bias": {"x": 1}}, "logit_bias", "invalid token id 'x'"),
        ({"prompt": "a", "logit_bias": {"999": 1}}, "logit_bias", "invalid token id '999'"),
        ({"prompt": "a", "logit_bias": {"1" * 5000: 1}}, "logit_bias", "invalid token id"),
        ({"prompt": "a", "logit_bias": {str(i): 1 for i in range(1025)}}, "logit_bias", "at most 1024"),
        ({"prompt": "a", "stop_token_ids": [1] * 200_000}, "stop_token_ids", "at most 1024"),
        ({"prompt": "a", "min_tokens": 1, "stop_token_ids": list(range(20))}, None, "ids of this model"),
        ({"prompt": "a", "min_tokens": 1, "stop_token_ids": ALL_TOKENS}, None, "leave no token"),
        ({"prompt": "a", "top_k": 2**31}, "top_k", "less than or equal to 2147483647"),
        ({"prompt": "a", "model": "x" * 300}, "model", "at most 256 characters"),
        ({"prompt": "a", "logit_bias": {"1": 101}}, "logit_bias", "less than or equal to 100"),
        ({"prompt": [[999]]}, "prompt", "invalid token id 999"),
        ({"prompt": []}, "prompt", "empty"),
        ({"prompt": [[]]}, "prompt", "empty"),
        ({"prompt": "a" * 100_001}, "prompt", "at most 100,000"),
        ({"prompt": "a", "min_tokens": 30}, "min_tokens", "must not exceed max_tokens"),
        ({"prompt": "a", "context_overflow": "slide"}, "context_overflow", "'shift', 'recompute' or 'stop'"),
    ],
)
def test_invalid_fields_return_400(client: TestClient, body: dict[str, Any], param: str | None, message: str) -> None:
    error = bad_request(client, **body)
    assert message in error["message"]
    assert error["param"] == param


@pytest.mark.parametrize(("path", "status"), [("/v1/completions", 200), ("/tokenize", 200)])
def test_lone_surrogate(client: TestClient, path: str, status: int) -> None:
    """JSON can spell a lone surrogate. It is replaced like any unknown character, or rejected."""
    body = b'{"prompt": "a\\ud800", "echo": true}'
    response = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == status
    assert "U+D800" in response.text


def test_lone_surrogate_in_what_a_response_repeats(client: TestClient) -> None:
    body = b'{"input": "a", "max_output_tokens": 1, "instructions": "b\\udfff", "metadata": {"c\\ud800": "d\\ud800"}}'
    response = client.post("/v1/responses", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 200, response.text
    assert (response.json()["instructions"], response.json()["metadata"]) == ("b\ufffd", {"c\ufffd": "d\ufffd"})


def test_invalid_json_returns_400(client: TestClient) -> None:
    response = client.post("/v1/completions", content=b"{nonsense", headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    assert "not valid JSON" in response.json()["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("POST", "/v1/models", 405), ("GET", "/v1/models/other", 404)],
)
def test_unknown_routes_return_openai_errors(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path)
    assert response.status_code == status
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_unknown_model_suggests_the_closest(client: TestClient) -> None:
    response = client.post("/v1/completions", json={"prompt": "a", "model": "tiney"})
    error = response.json()["error"]
    assert response.status_code == 404
    assert (error["code"], error["param"]) == ("model_not_found", "model")
    assert "did you mean 'tiny'?" in error["message"]


def test_model_failure_returns_503(folder: Path) -> None:
    served = load_served(folder)
    weights = served.engine.backend.model.weights  # type: ignore[attr-defined]
    name = next(iter(weights))
    served.engine.backend.model.weights = weights | {name: weights[name] * math.nan}  # type: ignore[attr-defined]
    with app_client(served) as client:
        response = client.post("/v1/completions", json={"prompt": "a"})
        assert response.status_code == 503
        assert "damaged" in response.json()["error"]["message"]
        with client.stream("POST", "/v1/completions", json={"prompt": "a", "stream": True}) as stream:
            events = [line for line in stream.iter_lines() if line]
        assert "damaged" in json.loads(events[0][6:])["error"]["message"]
        assert events[-1] == "data: [DONE]"


@pytest.mark.parametrize(
    "body",
    [
        {"prompt": ["a"] * 300_000},
        {"prompt": [[1]] * 100_000},
        {"messages": [{}] * 100_000},
        {"messages": [1] * 300_000},
        {"prompt": "a", "stop_token_ids": ["a"] * 300_000},
        {"prompt": "a", "stop": [1] * 300_000},
        {"prompt": [1, "a"] * 100_000},
    ],
    ids=lambda body: next(reversed(body)),
)
def test_long_lists_are_refused_at_the_first_error(body: dict[str, Any]) -> None:
    """An error for each item would keep the event loop busy for many seconds."""
    kind = ChatRequest if "messages" in body else CompletionRequest
    with pytest.raises(ValidationError) as caught:
        kind.model_validate(body)
    assert caught.value.error_count() <= 8
