"""Interventions over HTTP, and the inspection endpoints."""

from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from helpers.models import run
from helpers.server import complete, folder_client, save_tiny, stream_chunks

from inkhorn.config.interventions import Intervention
from inkhorn.inference.activation_files import steering_facts
from inkhorn.inference.api import Model
from inkhorn.inference.explain import explain
from inkhorn.inspection.atlas import read_atlas
from inkhorn.inspection.atlas_page import POLICY, atlas_page
from inkhorn.inspection.attribution import attribution
from inkhorn.inspection.importance import importance
from inkhorn.server.served_model import ServedModel

OFF = {"component": "mlp", "layer": 0}
CHANGES: list[dict[str, Any]] = [
    {"component": "head", "layer": 1, "head": 1, "action": "scale", "factor": -2},
    {"component": "resid", "layer": 1, "action": "add", "vector": [1, -1.5] * 8},
    {"component": "resid", "layer": 0, "action": "patch", "prompt": "gh", "position": 1},
]
REQUEST: dict[str, Any] = {"prompt": "ab cd", "max_tokens": 20, "seed": 3}


def as_intervention(given: dict[str, Any]) -> Intervention:
    fields: dict[str, Any] = {**given}
    if "vector" in fields:
        fields["vector"] = tuple(fields["vector"])
    return Intervention(**fields)


def as_interventions(changes: list[dict[str, Any]]) -> list[Intervention]:
    return [as_intervention(each) for each in changes]


def test_texts_are_those_of_the_python_api(client: TestClient, model: ServedModel) -> None:
    python = Model(model.engine, model.folder)
    plain = complete(client, **REQUEST)["choices"][0]["text"]
    for changes in ([OFF], CHANGES):
        body: dict[str, Any] = {**REQUEST, "interventions": changes}
        wanted = as_interventions(changes)
        expected = python.generate("ab cd", max_tokens=20, seed=3, temperature=1.0, interventions=wanted)
        assert complete(client, **body)["choices"][0]["text"] == expected.text
        streamed = "".join(chunk["choices"][0]["text"] for chunk in stream_chunks(client, **body))
        assert streamed == expected.text
    assert complete(client, **REQUEST, interventions=[OFF])["choices"][0]["text"] != plain
    assert complete(client, **REQUEST, interventions=[])["choices"][0]["text"] == plain


def test_chats_and_responses_take_interventions(client: TestClient) -> None:
    expected = complete(client, **REQUEST, interventions=[OFF])["choices"][0]["text"]
    sampling = {"seed": 3, "interventions": [OFF]}
    body = {"messages": [{"role": "user", "content": "ab cd"}], "max_completion_tokens": 20, **sampling}
    assert client.post("/v1/chat/completions", json=body).json()["choices"][0]["message"]["content"] == expected
    response = client.post("/v1/responses", json={"input": "ab cd", "max_output_tokens": 20, **sampling}).json()
    assert response["output"][0]["content"][0]["text"] == expected


def test_each_prompt_of_a_request_is_patched_at_its_own_position(client: TestClient) -> None:
    patch = {"component": "resid", "layer": 0, "action": "patch", "prompt": "gh", "position": -1}
    prompts = ["ab", "ab cd ef"]
    body = {"max_tokens": 8, "temperature": 0, "interventions": [patch]}
    together = [choice["text"] for choice in complete(client, prompt=prompts, **body)["choices"]]
    assert together == [complete(client, prompt=each, **body)["choices"][0]["text"] for each in prompts]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ([{"component": "mlp", "layer": 9}], "interventions[0].layer: mlp has layers 0 to 1 in this model, not 9"),
        ([OFF, {"component": "head", "layer": 0}], "interventions[1].head: the component head needs the number"),
        ([{"layer": 0}], "interventions[0].component: field required"),
        ([{"component": "soul", "layer": 0}], "interventions[0].component: input should be"),
        ([{**OFF, "action": "scale", "factor": 1e9}], "interventions[0].factor"),
        ([{**OFF, "action": "add", "vector": [1e39]}], "interventions[0].vector"),
        ([{**OFF, "action": "add", "vector": [1.0]}], "interventions[0].vector: it has 1 numbers"),
        ([{**OFF, "action": "add", "vector": "../../x"}], "steering vector is added to the residual stream"),
        ([{"component": "resid", "layer": 0, "action": "add", "vector": "../x"}], "is not a name"),
        ([{**OFF, "action": "mean"}], "this model has no mean activations"),
        ([{**OFF, "action": "patch", "prompt": str(i)} for i in range(9)], "patches from 9 prompts"),
        ([OFF] * 257, "interventions"),
        ("all", "interventions"),
    ],
)
def test_bad_interventions_are_refused(client: TestClient, changes: Any, message: str) -> None:
    response = client.post("/v1/completions", json={**REQUEST, "interventions": changes})
    assert response.status_code == 400, response.text
    error = response.json()["error"]
    assert message in error["message"]
    assert error["param"].startswith("interventions")


def test_interventions_that_overflow_are_the_requests_fault(client: TestClient) -> None:
    huge = [{"component": "resid", "layer": layer, "action": "scale", "factor": 1000} for layer in [1] * 20]
    response = client.post("/v1/completions", json={**REQUEST, "interventions": huge})
    assert response.status_code == 400, response.text
    assert "the interventions are too large" in response.json()["error"]["message"]


def test_unknown_fields_of_an_intervention_are_reported(client: TestClient) -> None:
    body = complete(client, **REQUEST, interventions=[{**OFF, "strength": 3}])
    assert body["warnings"] == ["unknown field 'interventions[0].strength' ignored"]


def test_explain_with_interventions(client: TestClient, model: ServedModel) -> None:
    ids = model.engine.encode_prompt("ab cd").token_ids
    edits = model.resolver.resolve(as_interventions(CHANGES), len(ids))
    body = {"text": "ab cd", "layer": 1, "interventions": CHANGES}
    expected = explain(model.reference, model.engine.tokenizer, ids, 1, edits).to_json()
    assert client.post("/api/explain", json=body).json() == {"model": "tiny", **expected}


@pytest.mark.parametrize("changes", [[], [OFF]])
def test_importance(client: TestClient, model: ServedModel, changes: list[dict[str, Any]]) -> None:
    ids = model.engine.encode_prompt("ab cd").token_ids
    edits = model.resolver.resolve(as_interventions(changes), len(ids))
    found = client.post("/api/importance", json={"text": "ab cd", "interventions": changes}).json()
    assert found["effects"] == importance(model.reference, ids, edits).to_json()
    assert found["direct"] == attribution(model.reference, ids, edits).to_json()
    assert [len(row) for row in found["effects"]["heads"]] == [2, 2]


def test_importance_needs_two_tokens(client: TestClient) -> None:
    response = client.post("/api/importance", json={"text": "a"})
    assert response.status_code == 400
    assert "at least two tokens" in response.json()["error"]["message"]


def test_the_page_s_facts_and_the_atlas(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Vectors with their effects, the atlas as numbers and as a page; files of other weights are left out."""
    folder = save_tiny(tmp_path / "letters")
    (tmp_path / "a.txt").write_text("ab ab. cd\nab ab")
    (tmp_path / "b.txt").write_text("dddccc\n" * 9)
    with folder_client(folder) as client:
        facts = client.get("/api/settings").json()["models"]["tiny"]
        assert (facts["steering"], facts["atlas"], facts["means"]) == ([], False, False)
        assert "has no head atlas" in client.get("/api/atlas").json()["error"]["message"]
        assert client.get("/atlas.html").status_code == 404
    assert run("inspect", str(folder), "--text", str(tmp_path / "a.txt")) == 0
    texts = ("--positive", str(tmp_path / "a.txt"), "--negative", str(tmp_path / "b.txt"))
    assert run("steer", str(folder), "--name", "kind", "--samples", "1", *texts) == 0
    with folder_client(folder) as client:
        facts = client.get("/api/settings").json()["models"]["tiny"]
        assert (facts["atlas"], facts["means"]) == (True, True)
        (vector,) = facts["steering"]
        assert (vector["name"], vector["positive"], vector["negative"]) == ("kind", "a", "b")
        assert vector["effects"] == steering_facts(folder, "kind").effects
        found, atlas = client.get("/api/atlas", params={"model": "tiny"}).json(), read_atlas(folder)
        assert found == {"model": "tiny", "page": "atlas.html?model=tiny", **atlas.summary()}
        page = client.get(f"/{found['page']}")
        assert page.text == atlas_page(atlas, "tiny", "./")
        assert page.headers["content-security-policy"].startswith(POLICY)
        for path in ("/api/atlas", "/atlas.html"):
            assert client.get(path, params={"model": "other"}).status_code == 404
    with folder_client(folder, api_keys=("key",)) as client:  # a link cannot send the key
        assert client.get("/atlas.html").status_code == 404
        assert client.get("/api/atlas").status_code == 401
        assert client.get("/api/atlas", headers={"Authorization": "Bearer key"}).json()["page"] is None
    save_tiny(folder, seed=2)
    with folder_client(folder) as client, caplog.at_level("WARNING", "inkhorn.web"):
        facts = client.get("/api/settings").json()["models"]["tiny"]
        assert (facts["steering"], facts["atlas"], facts["means"]) == ([], False, False)
        assert client.get("/api/atlas").status_code == 404
    assert "kind.safetensors was made from other weights" in caplog.text
    assert "heads.json was made from other weights" in caplog.text
