"""POST /v1/chat/completions."""

from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import bad_request, complete, stream_chunks

PATH = "/v1/chat/completions"


@pytest.mark.parametrize("stream", [False, True])
def test_messages_are_joined_and_continued(client: TestClient, stream: bool) -> None:
    messages = [{"role": "system", "content": "ab"}, {"role": "user", "content": [{"type": "text", "text": "A:"}]}]
    sampling: dict[str, Any] = {"seed": 1, "max_tokens": 30, "ignore_eos": True}
    body = {"messages": messages, "logprobs": True, "top_logprobs": 2} | sampling
    expected = complete(client, prompt="ab\n\nA:", **sampling)["choices"][0]["text"]
    if stream:
        chunks = stream_chunks(client, PATH, **body)
        assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
        assert chunks[0]["choices"][0]["delta"]["role"] == "assistant"
        assert all("role" not in chunk["choices"][0]["delta"] for chunk in chunks[1:])
        assert "".join(chunk["choices"][0]["delta"]["content"] for chunk in chunks) == expected
    else:
        response = client.post(PATH, json=body).json()
        assert response["object"] == "chat.completion"
        [choice] = response["choices"]
        assert choice["message"] == {"role": "assistant", "content": expected, "refusal": None}
        assert "".join(entry["token"] for entry in choice["logprobs"]["content"]) == expected
        assert all(len(entry["top_logprobs"]) == 2 for entry in choice["logprobs"]["content"])


def test_stream_include_usage(client: TestClient) -> None:
    body: dict[str, Any] = {"messages": [{"content": "ab"}], "max_completion_tokens": 5, "ignore_eos": True}
    chunks = stream_chunks(client, PATH, stream_options={"include_usage": True}, **body)
    assert chunks[-1]["usage"] == {"prompt_tokens": 2, "completion_tokens": 5, "total_tokens": 7}


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"content": [{"type": "text"}]}]}, "messages"),
        ({"messages": [{"content": [{"type": "image_url", "image_url": {"url": "x"}}]}]}, "messages"),
        ({"messages": [{"content": [{"type": "text", "text": "a"}, {"type": "input_audio"}]}]}, "messages"),
        ({"messages": [{"content": [{"text": "a"}]}]}, "messages"),
        ({"messages": [{"content": "ab"}], "top_logprobs": 2}, "top_logprobs"),
        ({"messages": [{"content": "ab"}], "max_completion_tokens": 10**9}, "max_completion_tokens"),
    ],
)
def test_invalid_requests_return_400(client: TestClient, body: dict[str, Any], param: str) -> None:
    assert bad_request(client, PATH, **body)["param"] == param


def test_refused_parts_are_named(client: TestClient) -> None:
    parts = [{"type": "text", "text": "a"}, {"type": "image_url", "image_url": {"url": "x"}}]
    message = bad_request(client, PATH, messages=[{"content": "a"}, {"content": parts}])["message"]
    assert message == "messages[1].content[1]: parts of type 'image_url' are not supported; these models read text only"


@pytest.mark.parametrize("stream", [False, True])
def test_warnings(client: TestClient, stream: bool) -> None:
    body: dict[str, Any] = {"messages": [{"content": "a\N{SNOWMAN}", "nickname": 1}], "max_tokens": 3, "foo": 1}
    if stream:
        [warnings] = [
            chunk["warnings"]
            for chunk in stream_chunks(client, PATH, stream_options={"bar": 1}, **body)
            if "warnings" in chunk
        ]
        assert "unknown field 'stream_options.bar' ignored" in warnings
    else:
        warnings = client.post(PATH, json=body).json()["warnings"]
    assert "unknown field 'foo' ignored" in warnings
    assert "unknown field 'messages[0].nickname' ignored" in warnings
    assert any("SNOWMAN" in warning for warning in warnings)


def test_prompt_changes(client: TestClient) -> None:
    body: dict[str, Any] = {"messages": [{"content": "ab…"}], "max_tokens": 3}
    changes = client.post(PATH, json=body).json()["prompt_changes"]
    assert [one["characters"] for one in changes] == [[{"character": "…", "replacement": "..."}]]
    first, *others = stream_chunks(client, PATH, **body)
    assert first["prompt_changes"] == changes
    assert not any("prompt_changes" in chunk for chunk in others)
