"""Snapshots: which steps, what they hold, crashes and longer runs, and the errors about snapshots of other weights."""

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from helpers.training import BASE, CPU, RecordingCallbacks, config_for, trainer

import inkhorn
from inkhorn.checkpoint.int8 import quantize
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.data.dataset import Dataset
from inkhorn.errors import CheckpointError
from inkhorn.evaluation.loss import split_loss
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.numpy_model import KVCache, NumpyModel
from inkhorn.inference.snapshots import VIEW_TOKENS, list_snapshots, read_view, snapshots_of
from inkhorn.model import GPT
from inkhorn.training.snapshots import LOSS_TOKENS, SnapshotWriter, snapshot_steps

TRAIN = replace(BASE, steps=6, eval_every=3, save_every=1, sample_tokens=0, eval_at_loss=(), snapshots=4)


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    folder = trainer(data, out, TRAIN)
    folder.folder.keep = 100
    folder.run(resume=False)
    return out


def steps_of(out: Path) -> list[int]:
    return [snapshot.step for snapshot in list_snapshots(out)]


def test_steps_double() -> None:
    for steps, count in ((2000, 12), (1, 12), (7, 12), (100_000, 12), (50, 2), (50, 1)):
        found = sorted(snapshot_steps(steps, count))
        assert found[-1] == steps
        assert len(found) <= count
        assert count < 2 or found[0] == 0
    found = sorted(snapshot_steps(2000, 12))
    assert found == [0, 2, 4, 8, 16, 32, 63, 126, 252, 502, 1002, 2000]
    assert snapshot_steps(100, 0) == frozenset()


def test_run_keeps_snapshots_of_its_checkpoints(run: Path) -> None:
    """The weights are those of the checkpoint at that step, and each is at most half a scale from it."""
    best, latest = RunFolder(run).best(), RunFolder(run).latest()
    assert best is not None
    assert latest is not None
    assert set(steps_of(run)) == {*snapshot_steps(6, 4), RunFolder.step_of(best)}
    for snapshot in list_snapshots(run)[1:]:
        checkpoint = run / f"step-{snapshot.step:07d}"
        assert snapshot.weights == weights_digest(checkpoint)
        config = read_config(checkpoint)
        assert read_config(snapshot.folder) == config
        exact, rounded = read_weights(checkpoint, config), read_weights(snapshot.folder, config)
        for spec in config.tensor_specs():
            if len(spec.shape) == 1:
                assert np.array_equal(rounded[spec.name], exact[spec.name])
                continue
            _, scale = quantize(exact[spec.name], 0 if spec.is_linear else 1)
            assert (np.abs(rounded[spec.name] - exact[spec.name]) <= 0.501 * scale).all()
    assert snapshots_of(latest) == list_snapshots(run)
    size = sum(path.stat().st_size for path in (run / "snapshots").rglob("model.safetensors"))
    assert size < len(steps_of(run)) * (2 * config.num_parameters + 4000)  # a quarter for larger models


def test_logits_are_close_to_the_checkpoint(run: Path) -> None:
    """Within four times the error that each layer's rounding alone makes, measured on the same tokens."""
    snapshot = list_snapshots(run)[-1]
    exact = NumpyModel.from_pretrained(run / f"step-{snapshot.step:07d}")
    rounded = NumpyModel.from_pretrained(snapshot.folder)
    ids = [1, 5, 2, 7, 3, 3]

    def logits(model: NumpyModel) -> np.ndarray:
        return model.forward(ids, KVCache(model.config), all_logits=True)

    reference = logits(exact)
    error = float(np.abs(logits(rounded) - reference).max())
    assert error > 0
    single = 0.0
    for name in exact.weights:
        mixed = NumpyModel(exact.config, {**exact.weights, name: rounded.weights[name]})
        single += float(np.abs(logits(mixed) - reference).max())
    assert error <= 2 * single
    assert error < 0.05 * float(np.abs(reference).max())


def test_loss_is_that_of_the_validation_windows(run: Path, data: Dataset) -> None:
    for snapshot in list_snapshots(run)[1:]:
        model = GPT.from_pretrained(run / f"step-{snapshot.step:07d}")
        assert snapshot.loss == pytest.approx(split_loss(model, data.val[: LOSS_TOKENS + 1], CPU), abs=1e-4)
    start = list_snapshots(run)[0]
    assert start.loss == pytest.approx(math.log(data.tokenizer.vocab_size), abs=0.3)


def test_view_is_what_the_engine_writes(run: Path) -> None:
    views = [read_view(snapshot) for snapshot in list_snapshots(run)]
    assert len({view["prompt"] for view in views}) == 1
    assert views[0]["explain"]["lens"] != views[-1]["explain"]["lens"]  # the model has changed
    for snapshot, view in zip(list_snapshots(run), views, strict=True):
        with inkhorn.load(snapshot.folder) as model:
            again = model.generate(view["prompt"], seed=view["seed"], max_tokens=VIEW_TOKENS)
            assert view["text"] == again.text
            for layer, attention in enumerate(view["attention"]):
                explained = model.explain(view["prompt"], layer).to_json()
                assert attention == explained["attention"]
            assert view["explain"]["lens"] == explained["lens"]
    assert views[0]["explain"]["tokens"] == views[-1]["explain"]["tokens"]


def test_snapshots_do_not_change_training(run: Path, data: Dataset, tmp_path: Path) -> None:
    trainer(data, tmp_path, replace(TRAIN, snapshots=0)).run(resume=False)
    assert not (tmp_path / "snapshots").exists()
    assert weights_digest(tmp_path / "step-0000006") == weights_digest(run / "step-0000006")


def test_resumed_and_longer_runs(data: Dataset, tmp_path: Path) -> None:
    """Snapshots after the checkpoint are made again; a longer run keeps no more than there may be."""
    short = trainer(data, tmp_path, TRAIN).run(resume=False)
    assert short.step == 6
    expected = {path.name: path.read_bytes() for path in sorted((tmp_path / "snapshots").rglob("*.safetensors"))}
    shutil.rmtree(tmp_path / "step-0000006")
    (tmp_path / "snapshots" / "step-0000003.0123456789ab.tmp").mkdir()
    trainer(data, tmp_path, TRAIN).run(resume=True)
    assert {
        path.name: path.read_bytes() for path in sorted((tmp_path / "snapshots").rglob("*.safetensors"))
    } == expected
    assert not list((tmp_path / "snapshots").glob("*.tmp"))
    trainer(data, tmp_path, replace(TRAIN, steps=40)).run(resume=True)
    found = steps_of(tmp_path)
    assert len(found) <= 6
    assert {0, 40} <= set(found)
    for checkpoint in tmp_path.glob("step-*"):
        shutil.rmtree(checkpoint)
    trainer(data, tmp_path, TRAIN).run(resume=True)  # nothing to resume from: a new run
    assert max(steps_of(tmp_path)) == 6


def test_other_weights_are_refused(run: Path, data: Dataset, tmp_path: Path) -> None:
    copy = tmp_path / "run"
    shutil.copytree(run, copy)
    first, second, *_ = list_snapshots(copy)
    shutil.copyfile(second.folder / "view.json", first.folder / "view.json")
    with pytest.raises(CheckpointError, match=r"view.json was made from other weights \(.{8}, not .{8}\): delete"):
        read_view(first)
    shutil.copyfile(second.folder / "model.safetensors", first.folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"snapshot.json was made from other weights"):
        list_snapshots(copy)
    shutil.rmtree(first.folder)
    latest = RunFolder(copy).latest()
    assert latest is not None
    about = copy / "snapshots" / latest.name / "snapshot.json"
    about.write_text(json.dumps(json.loads(about.read_text()) | {"weights": "01234567"}))
    with pytest.raises(CheckpointError, match="made from other weights"):
        snapshots_of(latest)
    about.write_text('{"step": 6}')
    with pytest.raises(CheckpointError, match=r"snapshot.json is damaged: KeyError\('loss'\)"):
        list_snapshots(copy)


def test_large_models_keep_none(data: Dataset, tmp_path: Path) -> None:
    train = replace(BASE, snapshots=12, max_snapshot_mb=1)
    config = replace(config_for(data, train), n_embd=160)
    assert config.num_parameters * 14 > 1e6
    writer = SnapshotWriter(tmp_path, config, train, data, CPU, RecordingCallbacks())
    assert not writer.steps
    assert "would take" in writer.describe()
    assert "(--max-snapshot-mb)" in writer.describe()


def test_full_disk_does_not_end_the_run(data: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inkhorn.training.snapshots.write_int8", fails)
    callbacks = RecordingCallbacks()
    state = trainer(data, tmp_path, TRAIN, callbacks).run(resume=False)
    assert state.step == 6
    assert any("The snapshot of step 0 was not saved: [Errno 28]" in message for message in callbacks.messages)
    assert not list((tmp_path / "snapshots").iterdir())
