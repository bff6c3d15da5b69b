"""Every response, whichever layer made it: headers, log and metrics; HEAD, unknown paths and methods, and hosts."""

import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import app_client
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.server.middleware import check_host, host_name
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import Limits, ServerConfig, Settings
from inkhorn.web import STATIC_DIR

ORIGIN = "https://example.org"
KEY = {"Authorization": "Bearer key"}


@pytest.fixture
def guarded(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> Iterator[TestClient]:
    """An application with every limit; detokenizing fails, as a fault of the server."""
    monkeypatch.setattr(model.engine.tokenizer, "decode", lambda ids: 1 / 0)
    limits = Limits(rate_limit=5, max_body_bytes=300)
    with app_client(
        model, api_keys=("key", "limited"), cors_origins=(f"{ORIGIN}/",), allowed_hosts=("testserver",), limits=limits
    ) as client:
        yield client


CASES: list[tuple[int, str, str, dict[str, str], dict[str, Any] | None]] = [
    (200, "GET", "/health", {}, None),
    (200, "HEAD", "/v1/models", KEY, None),
    (200, "GET", "/style.css", {}, None),
    (400, "POST", "/v1/completions", KEY, {"prompt": 1}),
    (401, "POST", "/v1/completions", {}, {}),
    (403, "GET", "/health", {"Host": "evil.example:80"}, None),
    (404, "GET", "/nothing", {}, None),
    (404, "POST", "/v1/nothing", {}, {}),
    (405, "GET", "/v1/completions", {}, None),
    (405, "POST", "/style.css", {}, {}),
    (413, "POST", "/v1/completions", KEY, {"prompt": "a" * 400}),
    (429, "GET", "/v1/models", {"Authorization": "Bearer limited"}, None),
    (500, "POST", "/detokenize", KEY, {"tokens": [1]}),
]


@pytest.mark.parametrize(("status", "method", "path", "headers", "body"), CASES, ids=[f"{c[0]} {c[1]}" for c in CASES])
def test_every_response(
    guarded: TestClient,
    caplog: pytest.LogCaptureFixture,
    status: int,
    method: str,
    path: str,
    headers: dict[str, str],
    body: dict[str, Any] | None,
) -> None:
    if status == 429:
        for _ in range(5):
            guarded.request(method, path, headers=headers)
    with caplog.at_level(logging.DEBUG, "inkhorn.server"):
        response = guarded.request(
            method, path, headers={"Origin": ORIGIN, "X-Request-Id": "mine"} | headers, json=body
        )
    assert response.status_code == status
    assert response.headers["x-request-id"] == "mine"
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert response.headers["x-content-type-options"] == "nosniff"
    assert response.headers["access-control-allow-origin"] == ORIGIN
    assert "Retry-After" in response.headers["access-control-expose-headers"]
    line = json.loads(caplog.records[-1].getMessage())
    assert (line["id"], line["status"], line["method"], line["path"]) == ("mine", status, method, path)
    if status >= 400:
        assert set(response.json()["error"]) == {"message", "type", "param", "code"}
    if status == 500:
        assert any(record.exc_info and record.exc_info[0] is ZeroDivisionError for record in caplog.records)
    metrics = guarded.get("/metrics", headers=KEY).text
    counted = f'method="{method}",status="{status}"'
    assert any(counted in each and "http_requests_total" in each for each in metrics.splitlines())


def test_metrics_name_the_handler_of_refused_requests(model: ServedModel) -> None:
    with app_client(model, api_keys=("key",), limits=Limits(max_body_bytes=50)) as client:
        client.post("/v1/completions", json={})
        client.post("/v1/completions", json={"prompt": "a" * 100})
        client.get("/v1/models/some/model")
        client.get("/" + "x" * 50)
        metrics = client.get("/metrics", headers=KEY).text
    for handler, status in (("/v1/completions", 401), ("/v1/completions", 413), ("/v1/models/{model_id}", 401)):
        assert f'http_requests_total{{handler="{handler}",method="' in metrics
        assert any(f'handler="{handler}"' in line and f'status="{status}"' in line for line in metrics.splitlines())
    assert 'handler="other",method="GET",status="404"' in metrics


def test_prompts_of_refused_requests_are_not_counted(model: ServedModel) -> None:
    with app_client(model, limits=Limits(max_queued=1)) as client:
        body = {"prompt": "abcdef", "n": 100, "max_tokens": 3}
        assert client.post("/v1/completions", json=body).status_code == 429
        assert 'inkhorn:prompt_tokens_total{model_name="tiny"}' not in client.get("/metrics").text


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/health/ready", "/v1/models", "/metrics", "/openapi.json"])
def test_head_equals_get_without_the_body(client: TestClient, path: str) -> None:
    head, get = client.head(path), client.get(path)
    assert (head.status_code, head.content) == (get.status_code, b"") == (200, b"")
    assert head.headers["content-type"] == get.headers["content-type"]


def test_allow_lists_the_methods_that_work(client: TestClient) -> None:
    document = client.get("/openapi.json").json()
    for path, operations in document["paths"].items():
        url = path.replace("{model_id}", "tiny")
        refused = client.request("PATCH", url)
        assert refused.status_code == 405, path
        declared = {name.upper() for name in operations}
        allowed = set(refused.headers["allow"].split(", "))
        assert allowed == declared | ({"HEAD"} if "GET" in declared else set()), path
        for method in {"GET", "POST", "PUT", "DELETE", "OPTIONS", "TRACE"} - allowed:
            response = client.request(method, url)
            assert (response.status_code, response.headers["allow"]) == (405, refused.headers["allow"]), path


@given(st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), max_size=20).map(lambda text: f"/{text}"))
def test_any_path_gets_an_openai_error(client: TestClient, path: str) -> None:
    response = client.post(path, json={})
    assert response.status_code in (400, 404, 405)
    assert set(response.json()["error"]) == {"message", "type", "param", "code"}


def test_all_files_of_the_web_ui_are_served(client: TestClient) -> None:
    names = [file.relative_to(STATIC_DIR).as_posix() for file in STATIC_DIR.rglob("*") if file.is_file()]
    for name in names:
        if name == "not_found.html":  # the answer to a mistyped address
            continue
        status = 404 if name.startswith("watch/") else 200  # these belong to `inkhorn train --watch`
        assert client.head(f"/{name}").status_code == status, name


@pytest.mark.parametrize(
    ("header", "name"),
    [
        ("localhost:8000", "localhost"),
        ("LOCALHOST", "localhost"),
        ("localhost.", "localhost"),
        ("127.0.0.1:80", "127.0.0.1"),
        ("[::1]:8000", "::1"),
        ("[::1]", "::1"),
        ("", ""),
    ],
)
def test_host_name(header: str, name: str) -> None:
    assert host_name(header) == name


@pytest.mark.parametrize(
    ("options", "allowed", "refused"),
    [
        ({}, ["localhost:8000", "127.0.0.1", "[::1]:1", ""], ["evil.example", "localhost.evil.example", "10.0.0.1"]),
        ({"host": "localhost"}, ["127.0.0.1"], ["evil.example"]),
        ({"allowed_hosts": ("My.Name",)}, ["my.name:80", "localhost"], ["evil.example"]),
        ({"allowed_hosts": ("*",)}, ["evil.example"], []),
        ({"api_keys": ("key",)}, ["evil.example"], []),
        ({"host": "0.0.0.0"}, ["evil.example", "10.0.0.1"], []),
        ({"host": "0.0.0.0", "allowed_hosts": ("name",)}, ["name", "localhost"], ["evil.example", "0.0.0.0"]),
        ({"host": "10.0.0.1", "allowed_hosts": ("name",)}, ["name", "10.0.0.1:8000"], ["evil.example"]),
    ],
)
def test_allowed_hosts(options: dict[str, Any], allowed: list[str], refused: list[str]) -> None:
    hosts = ServerConfig(**options).hosts()
    for header in allowed:
        check_host(header, hosts)
    for header in refused:
        with pytest.raises(Exception, match="--allowed-host"):
            check_host(header, hosts)


@pytest.mark.parametrize("origin", ["example.org", "https://example.org/path", "https://", "null"])
def test_origins_are_checked(origin: str) -> None:
    with pytest.raises(ValueError, match="is not an origin"):
        Settings(cors_origins=(origin,))


@pytest.mark.parametrize("scheme", ["Bearer ", "bearer ", "BEARER   "])
def test_rate_limit_does_not_depend_on_the_spelling(model: ServedModel, scheme: str) -> None:
    with app_client(model, limits=Limits(rate_limit=1), api_keys=("key",)) as client:
        assert client.get("/v1/models", headers={"X-Api-Key": "key"}).status_code == 200
        assert client.get("/v1/models", headers={"Authorization": f"{scheme}key"}).status_code == 429


def test_wrong_keys_are_limited(model: ServedModel) -> None:
    with app_client(model, limits=Limits(rate_limit=2), api_keys=("key",)) as client:
        statuses = [client.get("/v1/models", headers={"X-Api-Key": f"guess{i}"}).status_code for i in range(4)]
        assert statuses == [401, 401, 429, 429]
        assert client.get("/v1/models", headers=KEY).status_code == 200


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_keys_with_other_characters_than_ascii(model: ServedModel, encoding: str) -> None:
    with app_client(model, api_keys=("clé",)) as client:
        for name, value in (("X-Api-Key", "clé"), ("Authorization", "Bearer clé")):
            headers = {name.encode(): value.encode(encoding)}
            assert client.get("/v1/models", headers=headers).status_code == 200
        assert client.get("/v1/models", headers={"X-Api-Key": "cl?"}).status_code == 401


def test_failed_engine_fails_the_probes(model: ServedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    with app_client(model) as client:
        monkeypatch.setattr(model.engine._loop, "failure", RuntimeError("a bug"))
        for path in ("/health", "/health/ready"):
            response = client.get(path)
            assert response.status_code == 503
            assert "the engine of model tiny has failed: RuntimeError: a bug" in response.json()["error"]["message"]
