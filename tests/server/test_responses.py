"""POST /v1/responses, judged by the types of OpenAI's client."""

import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import ALPHABET, app_client, bad_request, complete
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from inkhorn.server.schemas.responses_api import LOGPROBS
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import Limits

PATH = "/v1/responses"
SAMPLING: dict[str, Any] = {"seed": 1, "ignore_eos": True}
EVENT: TypeAdapter[Any] = TypeAdapter(ResponseStreamEvent)


def respond(client: TestClient, **body: Any) -> dict[str, Any]:
    response = client.post(PATH, json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    Response.model_validate(found, strict=False)
    return found


def stream(client: TestClient, **body: Any) -> list[dict[str, Any]]:
    """The events of a streamed response: each is named, valid and numbered, and there is no [DONE]."""
    with client.stream("POST", PATH, json=body | {"stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        blocks = [block for block in response.read().decode().split("\n\n") if block and not block.startswith(":")]
    events = []
    for number, block in enumerate(blocks):
        name, data = block.split("\n")
        event = json.loads(data.removeprefix("data: "))
        assert name == f"event: {event['type']}"
        assert event["sequence_number"] == number
        EVENT.validate_python(event)
        events.append(event)
    return events


def text_of(response: dict[str, Any]) -> str:
    return Response.model_validate(response).output_text


INPUTS: list[Any] = [
    "ab\n\nA:",
    [{"role": "system", "content": "ab"}, {"type": "message", "role": "user", "content": "A:"}],
    [
        {"role": "user", "content": [{"type": "input_text", "text": "ab"}]},
        {"role": "assistant", "content": [{"type": "output_text", "text": "A:"}]},
    ],
]


@pytest.mark.parametrize("given", INPUTS, ids=["string", "messages", "parts"])
def test_text_is_continued(client: TestClient, given: Any) -> None:
    expected = complete(client, prompt="ab\n\nA:", max_tokens=30, **SAMPLING)["choices"][0]["text"]
    response = respond(client, input=given, max_output_tokens=30, **SAMPLING)
    assert text_of(response) == expected
    assert response["status"] == "incomplete"
    assert response["incomplete_details"] == {"reason": "max_output_tokens"}
    assert response["usage"]["input_tokens"] == 6
    assert (response["usage"]["output_tokens"], response["usage"]["total_tokens"]) == (30, 36)


def test_instructions_and_metadata(client: TestClient) -> None:
    body = {"instructions": "ab", "input": "A:", "metadata": {"run": "7"}, "store": True, "stop": list(ALPHABET)}
    response = respond(client, **body, **SAMPLING)
    assert response["usage"]["input_tokens"] == 6
    assert response["instructions"] == "ab"
    assert response["metadata"] == {"run": "7"}
    assert response["store"] is False
    assert response["status"] == "completed"
    assert response["completed_at"] is not None


def test_stream(client: TestClient) -> None:
    body: dict[str, Any] = {"input": "ab", "max_output_tokens": 40, "include": [LOGPROBS], "top_logprobs": 2}
    whole = respond(client, **body, **SAMPLING)
    events = stream(client, **body, **SAMPLING)
    kinds = list(dict.fromkeys(event["type"] for event in events))
    assert kinds == [
        "response.created",
        "response.in_progress",
        "response.output_item.added",
        "response.content_part.added",
        "response.output_text.delta",
        "response.output_text.done",
        "response.content_part.done",
        "response.output_item.done",
        "response.incomplete",
    ]
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert "".join(event["delta"] for event in deltas) == text_of(whole)
    last = events[-1]["response"]
    assert last["id"] == events[0]["response"]["id"]
    own = ("id", "created_at", "completed_at")
    [ours], [theirs] = last["output"], whole["output"]
    assert ours["content"] == theirs["content"]
    assert {k: v for k, v in last.items() if k not in (*own, "output")} == {
        k: v for k, v in whole.items() if k not in (*own, "output")
    }
    entries = ours["content"][0]["logprobs"]
    assert [entry for event in deltas for entry in event["logprobs"]] == entries
    assert "".join(entry["token"] for entry in entries) == text_of(whole)
    assert all(len(entry["top_logprobs"]) == 2 for entry in entries)


def test_completed_stream(client: TestClient) -> None:
    assert stream(client, input="ab", stop=list(ALPHABET), **SAMPLING)[-1]["type"] == "response.completed"


def test_failed_stream(model: ServedModel) -> None:
    with app_client(model, limits=Limits(max_seconds=1e-6)) as client:
        last = stream(client, input="ab", max_output_tokens=2000, **SAMPLING)[-1]
    assert last["type"] == "response.failed"
    assert "timeout" in last["response"]["error"]["message"]


def test_warnings(client: TestClient) -> None:
    response = respond(client, input="ab?", max_tokens=3, text={"format": {"type": "text"}, "verbosity": "low"})
    shown = " ".join(response["warnings"])
    assert "'max_tokens'" in shown
    assert "'text.verbosity'" in shown
    assert "not in the vocabulary: '?'" in shown
    assert response["max_output_tokens"] == 512


def test_warnings_and_prompt_changes_of_a_stream(client: TestClient) -> None:
    change = {"index": 0, "text": "ab...", "characters": [{"character": "…", "replacement": "..."}]}
    body = {"input": "ab…", "max_output_tokens": 3, "unheard_of": 1}
    assert respond(client, **body)["prompt_changes"] == [change]
    for event in stream(client, **body):
        if "response" in event:  # the first events and the last
            assert event["response"]["prompt_changes"] == [change]
            assert "unknown field 'unheard_of' ignored" in event["response"]["warnings"]
    assert "prompt_changes" not in respond(client, input="ab", max_output_tokens=3)


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"input": []}, "input"),
        ({"input": [{"type": "function_call_output", "output": "x"}]}, "input"),
        ({"input": [{"content": [{"type": "input_image", "image_url": "x"}]}]}, "input"),
        ({"input": [{"content": [{"type": "input_text"}]}]}, "input"),
        ({"input": "a" * 30, "truncation": "disabled"}, "input"),
        ({"input": "a" * 2_000_000}, "input"),
        ({"max_output_tokens": 0}, "max_output_tokens"),
        ({"max_output_tokens": 10**9}, "max_output_tokens"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"n": 2}, "n"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"text": {"format": {"type": "json_schema", "schema": {}}}}, "response_format"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt"),
        ({"temperature": 3}, "temperature"),
    ],
)
def test_invalid_requests_return_400(client: TestClient, body: dict[str, Any], param: str) -> None:
    assert bad_request(client, PATH, **{"input": "ab"} | body)["param"] == param
