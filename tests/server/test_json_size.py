"""The bound on what a JSON body makes the parser build, which holds the event loop."""

import json
import re
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import given, settings
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from inkhorn.server import json_size
from inkhorn.server.json_size import MAX_CONTAINERS, MAX_LITERAL, MAX_MEMBERS, MAX_VALUES, check_json_size

TRICKY = st.text('"\\[]{},:a \n☃', max_size=8)
JSON = st.recursive(
    st.none() | st.integers(-(10**12), 10**12) | TRICKY,
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(TRICKY, inner, max_size=4),
    max_leaves=30,
)


def counts(value: Any) -> tuple[int, int, int, int]:
    """Commas, containers, members, and the longest literal of a value, found by walking it."""
    if isinstance(value, str):
        return 0, 0, 0, 0
    if not isinstance(value, (list, dict)):
        return 0, 0, 0, len(json.dumps(value))
    inner = [counts(one) for one in (value.values() if isinstance(value, dict) else value)]
    commas = max(len(value) - 1, 0) + sum(one[0] for one in inner)
    members = (len(value) if isinstance(value, dict) else 0) + sum(one[2] for one in inner)
    return commas, 1 + sum(one[1] for one in inner), members, max([one[3] for one in inner], default=0)


@settings(max_examples=40)
@given(value=JSON, escaped=st.booleans(), spaced=st.booleans())
def test_counts_are_those_of_the_parsed_value(value: Any, escaped: bool, spaced: bool) -> None:
    body = json.dumps([value], ensure_ascii=escaped, separators=None if spaced else (",", ":")).encode()
    expected = counts([value])
    names = ("MAX_VALUES", "MAX_CONTAINERS", "MAX_MEMBERS", "MAX_LITERAL")
    for index, name in enumerate(names):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(json_size, name, expected[index])
            check_json_size(body)
            patch.setattr(json_size, name, expected[index] - 1)
            with pytest.raises(HTTPException, match=f"has {expected[index]} "):
                check_json_size(body)


def bodies_beyond() -> dict[str, bytes]:
    return {
        "values": b'{"prompt":[' + b"1," * (MAX_VALUES + 1) + b"1]}",
        "lists and objects": b'{"prompt":"a","unknown":[' + b"[]," * MAX_CONTAINERS + b"[]]}",
        "members of objects": b'{"prompt":"a",' + b'"a":1,' * MAX_MEMBERS + b'"b":1}',
        "characters in one number": b'{"prompt":"a","seed":[' + b"9" * (MAX_LITERAL + 1) + b"]" + b" " * 10**5 + b"}",
    }


@pytest.mark.parametrize("what", bodies_beyond())
def test_hostile_bodies_are_refused_before_they_are_parsed(
    client: TestClient, monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    def loads(*_: Any, **__: Any) -> None:
        raise AssertionError("parsed")

    headers = {"Content-Type": "application/json"}
    with monkeypatch.context() as patch:
        patch.setattr("starlette.requests.json.loads", loads)
        response = client.post("/v1/completions", content=bodies_beyond()[what], headers=headers)
    error = response.json()["error"]
    assert response.status_code == 400
    assert re.search(rf"the request body has [\d,]+ {what}; at most", error["message"])
    assert error["type"] == "invalid_request_error"
    utf16 = json.dumps({"prompt": "a" * 60_000}).encode("utf-16")
    assert client.post("/v1/completions", content=utf16, headers=headers).status_code == 400


def test_large_valid_requests_pass(client: TestClient) -> None:
    body: dict[str, Any] = {"prompt": [1] * 100_000, "max_tokens": 1}
    assert client.post("/v1/completions", json=body).status_code == 200
    text = {"prompt": 'a"[{,:\\' * 20_000, "max_tokens": 1}
    assert client.post("/v1/completions", json=text).status_code == 200
    messages = [{"role": "user", "content": [{"type": "text", "text": "a"}]}] * 10_000
    response = client.post("/v1/chat/completions", json={"messages": messages, "max_tokens": 1})
    assert response.status_code == 200
