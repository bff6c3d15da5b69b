"""POST /api/snapshot: the same text and numbers as the snapshot's own, two in memory at most, and the errors."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers import distributed_worker
from helpers.server import app_client, bad_request
from helpers.training import BASE, trainer

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.inference.engine import Engine
from inkhorn.inference.snapshots import VIEW_TOKENS, list_snapshots, read_view
from inkhorn.server.served_model import ServedModel
from inkhorn.server.snapshot_cache import MAX_LOADED

JSON = {"Content-Type": "application/json"}
TRAIN = replace(BASE, steps=6, eval_every=3, save_every=3, sample_tokens=0, eval_at_loss=(), snapshots=4)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    trainer(distributed_worker.make_dataset(tmp_path_factory.mktemp("cache")), folder, TRAIN).run(resume=False)
    return folder


def load(run: Path) -> ServedModel:
    checkpoint = RunFolder(run).latest()
    assert checkpoint is not None
    return ServedModel("tiny", checkpoint, Engine.from_pretrained(checkpoint))


@pytest.fixture
def model(run: Path) -> Iterator[ServedModel]:
    model = load(run)
    yield model
    model.close()


@pytest.fixture
def client(model: ServedModel) -> Iterator[TestClient]:
    with app_client(model) as client:
        yield client


def test_text_and_numbers_are_those_of_the_snapshot(client: TestClient, model: ServedModel, run: Path) -> None:
    facts = client.get("/api/settings").json()["models"]["tiny"]["training"]
    snapshots = list_snapshots(run)
    assert facts["snapshots"] == [{"step": each.step, "loss": each.loss} for each in snapshots]
    for snapshot in snapshots:
        view = read_view(snapshot)
        assert (facts["prompt"], facts["seed"]) == (view["prompt"], view["seed"])
        body = {"step": snapshot.step, "text": view["prompt"], "seed": view["seed"], "layer": 1}
        answer = client.post("/api/snapshot", json=body | {"max_tokens": VIEW_TOKENS}).json()
        assert answer["model"] == "tiny"
        assert answer["text"] == view["text"]
        assert answer["explain"]["attention"] == view["attention"][1]
        assert answer["explain"]["lens"] == view["explain"]["lens"]
        assert len(model.snapshots._loaded) <= MAX_LOADED


def test_errors(client: TestClient, run: Path) -> None:
    steps = ", ".join(str(each.step) for each in list_snapshots(run))
    error = bad_request(client, "/api/snapshot", step=5, text="to be")
    assert error["message"] == f"step: the model has no snapshot of step 5; its snapshots: {steps}"
    assert "layer" in bad_request(client, "/api/snapshot", step=0, text="to be", layer=9)["message"]
    assert bad_request(client, "/api/snapshot", text="to be")["param"] == "step"
    assert bad_request(client, "/api/snapshot", step=0, text="to be", max_tokens=2000)["param"] == "max_tokens"
    lone = client.post("/api/snapshot", content=b'{"step": 0, "text": "\\ud800"}', headers=JSON)
    assert lone.status_code == 400
    assert lone.json()["error"]["param"] == "text"


def test_snapshots_of_other_weights(run: Path, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    first, second, *_ = list_snapshots(copy)
    shutil.copyfile(second.folder / "model.safetensors", first.folder / "model.safetensors")
    model = load(copy)
    with app_client(model) as client:
        response = client.post("/api/snapshot", json={"step": 0, "text": "to be"})
    assert response.status_code == 500
    message = response.json()["error"]["message"]
    assert "was made from other weights" in message
    assert str(tmp_path) not in message
    model.close()


def test_model_without_a_run(run: Path, tmp_path: Path) -> None:
    shutil.copytree(RunFolder(run).steps()[-1], tmp_path / "model")
    model = ServedModel("alone", tmp_path / "model", Engine.from_pretrained(tmp_path / "model"))
    with app_client(model) as client:
        assert client.get("/api/settings").json()["models"]["alone"]["training"] is None
        error = bad_request(client, "/api/snapshot", step=0, text="to be")
    assert error["message"].endswith("its snapshots: none")
    model.close()
