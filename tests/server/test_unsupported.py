"""Fields that promise something about the output which the server cannot keep are refused by name, never ignored."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import bad_request

from inkhorn.server.unsupported import _NOTHING, _UNSUPPORTED

BODIES: dict[str, dict[str, Any]] = {
    "/v1/completions": {"prompt": "ab", "max_tokens": 2},
    "/v1/chat/completions": {"messages": [{"content": "ab"}], "max_tokens": 2},
    "/v1/responses": {"input": "ab", "max_output_tokens": 2},
}


@pytest.mark.parametrize("path", BODIES)
def test_refused_by_name(client: TestClient, path: str) -> None:
    schema = client.get("/openapi.json").json()["components"]["schemas"]
    name = {"/v1/completions": "CompletionRequest", "/v1/responses": "ResponsesRequest"}.get(path, "ChatRequest")
    for field in _UNSUPPORTED.keys() - schema[name]["properties"].keys():
        for value in ({"type": "something"}, ["something"], "something", 1):
            error = bad_request(client, path, **BODIES[path], **{field: value})
            assert error["param"] == field
            assert error["message"].startswith(f"{field}: ")
            assert error["code"] == "unsupported_parameter"


@pytest.mark.parametrize("path", BODIES)
def test_values_that_ask_for_nothing(client: TestClient, path: str) -> None:
    """Clients send empty lists of tools and the format text by default."""
    schema = client.get("/openapi.json").json()["components"]["schemas"]
    name = {"/v1/completions": "CompletionRequest", "/v1/responses": "ResponsesRequest"}.get(path, "ChatRequest")
    extra = _UNSUPPORTED.keys() - schema[name]["properties"].keys()
    for choice in range(max(len(_NOTHING), *(len(neutral) for _, neutral in _UNSUPPORTED.values()))):
        fields = {field: _NOTHING[choice % len(_NOTHING)] for field in extra}
        fields |= {field: neutral[choice] for field in extra if len(neutral := _UNSUPPORTED[field][1]) > choice}
        assert client.post(path, json=BODIES[path] | fields).status_code == 200


def test_message_with_tool_calls(client: TestClient) -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}
    error = bad_request(client, "/v1/chat/completions", messages=[message])
    assert error["message"].startswith("messages[0].tool_calls: ")


def test_suffix(client: TestClient) -> None:
    assert bad_request(client, prompt="ab", suffix="c")["param"] == "suffix"


def test_many_stop_strings(client: TestClient) -> None:
    stops = [f"{number}" for number in range(64)]
    assert client.post("/v1/completions", json={"prompt": "ab", "stop": stops}).status_code == 200
