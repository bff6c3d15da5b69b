"""Requests that no client should send: values at and beyond bounds, wrong types, huge sizes and broken encodings."""

import json
import random
from dataclasses import dataclass, field
from typing import Any

PATHS = ("/v1/completions", "/v1/chat/completions", "/v1/responses", "/tokenize", "/detokenize", "/api/explain")
VALID: dict[str, dict[str, Any]] = {
    "/v1/completions": {
        "prompt": "ab",
        "max_tokens": 3,
        "temperature": 1.0,
        "top_k": 0,
        "top_p": 1.0,
        "min_p": 0.0,
        "repetition_penalty": 1.0,
        "presence_penalty": 0.0,
        "frequency_penalty": 0.0,
        "logit_bias": {"1": 1},
        "seed": 1,
        "min_tokens": 0,
        "max_words": 3,
        "end_at_sentence": False,
        "stop": ["x"],
        "stop_token_ids": [1],
        "ignore_eos": False,
        "context_overflow": "shift",
        "n": 1,
        "best_of": 1,
        "logprobs": 1,
        "echo": True,
        "stream": False,
        "stream_options": {"include_usage": True},
        "model": None,
        "suffix": "",
        "user": "me",
    },
    "/v1/chat/completions": {
        "messages": [{"role": "user", "content": "ab"}],
        "max_completion_tokens": 3,
        "max_tokens": 3,
        "logprobs": True,
        "top_logprobs": 1,
        "temperature": 1.0,
        "seed": 1,
        "n": 1,
        "stop": "x",
        "stream": False,
    },
    "/v1/responses": {
        "input": [{"role": "user", "content": "ab"}],
        "instructions": "a",
        "max_output_tokens": 3,
        "include": ["message.output_text.logprobs"],
        "top_logprobs": 1,
        "truncation": "auto",
        "metadata": {"a": "b"},
        "temperature": 1.0,
        "stream": False,
    },
    "/tokenize": {"prompt": "ab", "add_special_tokens": False, "return_token_strs": True},
    "/detokenize": {"tokens": [1, 2]},
    "/api/explain": {"text": "ab", "layer": 0},
}
"""A valid body of each path, with every field."""

NUMBERS = (0, 1, -1, 2, 20, 21, 128, 129, 255, 256, 1024, 1025, 65_535, 65_536, 2**31 - 1, 2**31, 2**32, 2**53, 2**63)
TEXTS = (
    "",
    "a",
    "\0",
    "\r\n\r\n",
    "\ud800",
    "\udfff\ud800",
    "\u0085\u2028\u2029",
    "\ufeffa",
    "e\u0301",
    "\U0001f60a" * 9,
    "\u202eab",
    "x" * 300,
    "ab " * 2000,
    "9" * 5000,
    "nan",
    "null",
    "../../etc/passwd",
    "%s%n{0}",
    "[" * 500,
    "<script>",
)


@dataclass
class HostileRequest:
    method: str
    path: str
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


def value(source: random.Random, depth: int = 0) -> Any:
    """A hostile JSON value."""
    kind = source.randrange(9 if depth < 3 else 6)
    if kind == 0:
        return source.choice((-1, 1)) * source.choice(NUMBERS)
    if kind == 1:
        floats = (0.0, -0.0, 0.5, 1.5, 2.0, 1e308, -1e308, 5e-324, float("nan"), float("inf"), float("-inf"))
        return source.choice(floats)
    if kind == 2:
        return source.choice(TEXTS)
    if kind == 3:
        return source.choice((True, False, None))
    if kind == 4:
        return source.choice((10**400, -(10**400), 2**64 - 1, 2**64, -(2**63), -(2**63) - 1))
    if kind == 5:
        return source.choice(([], {}, [None], {"": None}))
    if kind in (6, 7):
        item = value(source, 3 if source.random() < 0.8 else depth + 1)
        size = source.choice((1, 2, 5, 1025, 20_000))
        return [item] * (size if depth == 0 and not isinstance(item, list | dict) and item not in TEXTS[-9:] else 3)
    return {source.choice(TEXTS)[:300]: value(source, depth + 1) for _ in range(source.choice((1, 3, 9)))}


def hostile_request(source: random.Random) -> HostileRequest:
    """A request with one or more faults; now and then a valid one."""
    path = source.choice(PATHS)
    known = VALID[path]
    names = source.sample(list(known), source.randint(1, min(6, len(known))))
    body = {name: known[name] for name in names}
    for required in ("prompt", "messages", "tokens", "text"):
        if required in known and source.random() < 0.9:
            body[required] = known[required]
    for _ in range(source.randint(0, 3)):
        name = source.choice(list(known) if source.random() < 0.9 else TEXTS)
        body[name[:300]] = value(source)
    if "max_tokens" in known and source.random() < 0.9:
        body.setdefault("max_tokens", 3)
    if path == "/v1/responses" and source.random() < 0.9:
        body.setdefault("max_output_tokens", 3)
    if source.random() < 0.2:
        body["stream"] = True
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    fault = source.randrange(24)
    if fault == 0:
        data = data[: source.randrange(len(data))]
    elif fault == 1:
        data = data.decode().encode(source.choice(("utf-16", "utf-32", "utf-8-sig", "utf-7")))
    elif fault == 2:
        position = source.randrange(len(data))
        data = data[:position] + bytes([source.randrange(256)]) + data[position:]
    elif fault == 3:
        data = source.choice((b"", b"null", b"[]", b'"a"', b"\xff\xfe", b"[" * 5000, b'{"a":' * 5000, b"1" * 5000))
    elif fault == 4:
        headers["Content-Type"] = source.choice(("", "text/plain", "application/json; charset=utf-16", "x", "a/b/c"))
    elif fault == 5:
        headers[source.choice(("X-Request-Id", "Authorization", "X-Api-Key", "Origin", "Accept"))] = source.choice(
            ("", "x" * 5000, "Bearer", "Bearer  ", "\xe9", "a, b", "null", "Basic ==")
        )
    elif fault == 6:
        path = source.choice(
            ("/", "//", "/..", "/v1/models/%00", "/v1/models/" + "a" * 3000, "/%ff", "/static/%2e%2e/x")
        )
    method = source.choice(("PUT", "DELETE", "PATCH", "GET", "OPTIONS", "TRACE")) if fault == 7 else "POST"
    return HostileRequest(method, path, data, headers)
