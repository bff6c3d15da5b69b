"""Models, tokenizers, inspection, health, and the web UI."""

import html
import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.server import app_client, bad_request, complete, load_served, save_tiny

from inkhorn.errors import UsageError
from inkhorn.inference.explain import explain
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import ServerConfig
from inkhorn.web.settings import page_settings


def test_models(client: TestClient, model: ServedModel) -> None:
    [listed] = client.get("/v1/models").json()["data"]
    assert client.get("/v1/models/tiny").json() == listed
    assert listed["meta"]["n_params"] == model.config.num_parameters


def test_tokenize_and_detokenize(client: TestClient) -> None:
    tokens = client.post("/tokenize", json={"prompt": "ab:é", "return_token_strs": True}).json()
    assert tokens["token_strs"] == list("ab:é")
    assert "token_strs" not in client.post("/tokenize", json={"prompt": "ab"}).json()
    assert client.post("/detokenize", json={"tokens": tokens["tokens"]}).json() == {"prompt": "ab:é"}
    assert "invalid token id 10000" in bad_request(client, "/detokenize", tokens=[10_000])["message"]
    assert client.get("/tokenizer_info").json()["eos_token"] == "<|endoftext|>"


def test_several_models(folder: Path, tmp_path: Path) -> None:
    first, second = load_served(folder), load_served(save_tiny(tmp_path / "other", seed=1), name="other")
    with app_client(first, second) as client:
        assert [model["id"] for model in client.get("/v1/models").json()["data"]] == ["tiny", "other"]
        assert first.fingerprint != second.fingerprint
        bodies: list[dict[str, str]] = [{}, {"model": "tiny"}, {"model": "other"}]
        responses = [complete(client, prompt="ab", seed=1, **body) for body in bodies]
        assert responses[0]["choices"] == responses[1]["choices"] != responses[2]["choices"]
        assert responses[2]["system_fingerprint"] == second.fingerprint
    with pytest.raises(UsageError, match="same name"):
        ModelRegistry(first, load_served(folder))


def test_explain_equals_inference_explain(client: TestClient, model: ServedModel) -> None:
    response = client.post("/api/explain", json={"text": "ab A:", "layer": 1}).json()
    expected = explain(
        model.reference, model.engine.tokenizer, model.engine.encode_prompt("ab A:").token_ids, 1
    ).to_json()
    assert response == {"model": "tiny"} | json.loads(json.dumps(expected))
    assert "layer" in bad_request(client, "/api/explain", text="ab", layer=2)["message"]
    for head in (0, 1):
        response = client.post("/api/explain", json={"text": "ab A:", "layer": 1, "head": head}).json()
        ids = model.engine.encode_prompt("ab A:").token_ids
        expected = explain(model.reference, model.engine.tokenizer, ids, 1, head=head).to_json()
        assert response["vectors"] == json.loads(json.dumps(expected["vectors"]))
    assert "head must be from 0 to 1, not 2" in bad_request(client, "/api/explain", text="ab", head=2)["message"]


def test_explain_with_the_start_token(client: TestClient) -> None:
    """The positions and probabilities are those of a text that was generated from an empty prompt."""
    body = {"prompt": "", "max_tokens": 6, "seed": 2, "ignore_eos": True, "logprobs": 0}
    choice = complete(client, **body)["choices"][0]
    response = client.post("/api/explain", json={"text": choice["text"], "add_special_tokens": True}).json()
    assert response["tokens"] == ["<|endoftext|>", *choice["logprobs"]["tokens"]]
    logprobs = [-surprisal for surprisal in response["surprisal"][1:]]
    assert logprobs == pytest.approx(choice["logprobs"]["token_logprobs"], abs=2e-3)
    empty = client.post("/api/explain", json={"text": "", "add_special_tokens": True}).json()
    assert empty["tokens"] == ["<|endoftext|>"]


def test_health_and_version(client: TestClient) -> None:
    assert client.get("/health").json() == client.get("/health/ready").json() == {"status": "ok"}
    assert client.get("/version").json()["version"]


def test_settings_equal_the_web_ui_s(client: TestClient) -> None:
    sampling = client.get("/api/settings").json()["sampling"]
    assert sampling == page_settings({})["sampling"]
    facts = client.get("/api/settings").json()["models"]["tiny"]
    assert (facts["title"], facts["layout"], facts["openings"]) == ("tiny", "plain", [])
    assert {"type": "number", "minimum": 0, "maximum": 2, "default": 0.8}.items() <= sampling["temperature"].items()


def test_web_ui_and_security_headers(client: TestClient, model: ServedModel) -> None:
    for path in ("/", "/docs", "/docs.js", "/style.css"):
        response = client.get(path)
        assert response.status_code == 200, path
        assert "default-src 'none'" in response.headers["content-security-policy"]
        assert response.headers["x-content-type-options"] == "nosniff"
    assert client.get("/../settings.py").status_code == 404
    with app_client(model, web_ui=False) as without:
        assert without.get("/").status_code == without.get("/docs").status_code == 404


def test_mistyped_urls(client: TestClient) -> None:
    """A browser gets a page with links that work from there; a program gets JSON."""
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    for path, root in (("/dcos", "./"), ("/a/<b>", "../"), ("/index.html/", "../"), ("/not_found.html", "./")):
        response = client.get(path, headers=browser)
        assert response.status_code == 404, path
        assert response.headers["content-type"].startswith("text/html")
        assert f'<a href="{root}">Open the playground</a>' in response.text
        assert f"<code>{html.escape(path)}</code>" in response.text
        assert client.get(path).json()["error"]["type"] == "not_found_error"


def test_page_has_the_model_s_facts(client: TestClient) -> None:
    for path in ("/", "/index.html"):
        page = client.get(path).text
        assert "<title>tiny</title>" in page
        assert '<meta name="inkhorn" content="server">' in page
        assert '<a href="docs">API reference</a>' in page
        assert "{{" not in page
        assert client.head(path).status_code == 200


def test_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is named after its folder, however the path is written, or by --served-model-name."""
    folders = [save_tiny(tmp_path / run / "step-1") for run in ("a", "b")]
    monkeypatch.chdir(folders[0])

    def names(*models: str | Path, **options: Any) -> list[str]:
        config = ServerConfig(models=tuple(map(str, models)), **options)
        with closing(ModelRegistry.load(config)) as registry:
            return registry.names

    assert names(".") == names("../step-1") == names(folders[0]) == ["step-1"]
    with pytest.raises(UsageError, match=r"same name .*--served-model-name"):
        names(*folders)
    assert names(*folders, served_model_names=("one", "two")) == ["one", "two"]
    with pytest.raises(UsageError, match="1 names for 2 models"):
        names(*folders, served_model_names=("one",))


def test_tokenize_follows_on_unknown(model: ServedModel) -> None:
    with app_client(model) as client:
        found = client.post("/tokenize", json={"prompt": "a?b"}).json()
        assert "not in the vocabulary: '?'" in found["warnings"][0]
        prompt = client.post("/v1/completions", json={"prompt": "a?b", "max_tokens": 1, "echo": True, "logprobs": 0})
        assert found["count"] == len(prompt.json()["choices"][0]["logprobs"]["tokens"]) - 1
    with app_client(model, on_unknown="error") as client:
        assert client.post("/tokenize", json={"prompt": "a?b"}).status_code == 400
