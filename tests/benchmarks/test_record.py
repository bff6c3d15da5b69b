"""Tests of `benchmarks/record.py`, its report, and the parsing of nanoGPT's log, on synthetic numbers."""

import importlib
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from helpers.paths import ROOT

from inkhorn.config.recipes import RECIPES
from inkhorn.model import GPT

sys.path.insert(0, str(ROOT / "benchmarks"))  # the benchmarks are scripts that import one another
nanogpt = importlib.import_module("nanogpt")
record = importlib.import_module("record")
recipe_overrides = importlib.import_module("recipe_overrides")
record_report = importlib.import_module("record_report")

LOG = """\
tokens per iteration will be: 16,384
number of parameters: 10.65M
step 0: train loss 4.2874, val loss 4.2823
iter 0: loss 4.2664, time 32405.35ms, mfu -100.00%
iter 1: loss 3.1234, time 20.50ms, mfu -100.00%
step 2: train loss 2.4874, val loss 2.5001
saving checkpoint to out-shakespeare-char
iter 2: loss nan, time 19.50ms, mfu 17.25%
step 3: train loss nan, val loss nan
"""


def run(*losses: float, **changes: Any) -> Any:
    """A run evaluated every 100 steps; 100 steps take 2 s, after 3 s of start-up."""
    points = (record_report.Point(100 * i, 3 + 2.0 * i, loss, 3.0) for i, loss in enumerate(losses, start=1))
    facts = {"side": "ours", "seed": 1, "parameters": 9, "steps": 400, "tokens_per_step": 50}
    return record_report.Run(**facts | {"curve": tuple(points)} | changes)


def test_nanogpt_log_is_parsed() -> None:
    assert nanogpt.step_seconds(LOG) == pytest.approx([32.40535, 0.0205, 0.0195])
    assert nanogpt.logged_val_losses(LOG)[:2] == [4.2823, 2.5001]
    assert len(nanogpt.logged_val_losses(LOG)) == 3
    assert nanogpt.flags("a=1 b=x") == ["--a=1", "--b=x"]


def checkout(folder: Path) -> Path:
    """Write a minimal nanoGPT checkout."""
    for name in nanogpt.NEEDED:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("import requests\n")
    (folder / "train.py").write_text("\n".join(nanogpt.SCRIPT_CHANGES))
    return folder


def test_script_changes(tmp_path: Path) -> None:
    folder, text = checkout(tmp_path / "theirs"), tmp_path / "text"
    text.write_text("To be")
    changes = nanogpt.SCRIPT_CHANGES | nanogpt.seed_change(7)
    data = nanogpt.copy_with_text(folder, text, tmp_path / "copy", changes)
    assert (data / "input.txt").read_text() == "To be"
    script = (tmp_path / "copy" / "train.py").read_text()
    assert "7 + seed_offset" in script
    assert "'ckpt.pt'" not in script
    assert all(new in script for new in changes.values())
    (folder / "train.py").write_text("\n".join(list(changes)[1:]))
    with pytest.raises(SystemExit, match="0 times, not once"):
        nanogpt.copy_with_text(folder, text, tmp_path / "other", changes)


def test_nanogpt_eval_interval_scales_with_max_iters() -> None:
    assert "eval_interval" not in nanogpt.record_settings("cuda", ["n_layer=2"], 20)
    assert "compile" not in nanogpt.record_settings("cuda", [], 20)
    assert nanogpt.record_settings("cpu", ["max_iters=100"], 20).endswith("eval_iters=20 eval_interval=5 max_iters=100")
    assert " eval_interval=1 " in nanogpt.record_settings("cpu", ["max_iters=7"], 20)
    assert nanogpt.record_settings("cpu", ["max_iters=100", "eval_interval=50"], 20).endswith(" eval_interval=50")
    assert "eval_interval" not in nanogpt.record_settings("cpu", ["max_iters=many"], 20), "left for train.py to reject"


def test_invalid_arguments(tmp_path: Path) -> None:
    text, kept = tmp_path / "text", tmp_path / "kept"
    text.write_text("To be")
    good = record.Args(text=text, nanogpt=checkout(tmp_path / "theirs"), save=tmp_path / "runs", keep=kept, seeds=2)
    record.check(good)
    (kept / "inkhorn-1338" / "step-0000100").mkdir(parents=True)
    record.check(good)
    (kept / "inkhorn-1338" / "step-0000100" / "config.json").touch()
    with pytest.raises(SystemExit, match="inkhorn-1338 holds checkpoints already"):
        record.check(good)
    record.check(good, {("inkhorn", 1338)})  # that run is not repeated
    good.keep = None
    for name, (value, message) in {
        "nanogpt": (None, "give --nanogpt FOLDER"),
        "text": (tmp_path / "nothing", "--text .*nothing: there is no such file"),
        "save": (tmp_path / "nowhere" / "runs", "--save .*: give a file in a folder that exists"),
        "changes": (("tokenizer=gpt2",), "--set tokenizer=gpt2: give char or bpe, which are learnt from"),
        "nanogpt_changes": (("max_iters", "a=1"), "--nanogpt-set max_iters: give NAME=VALUE"),
    }.items():
        with pytest.raises(SystemExit, match=message):
            record.check(replace(good, **{name: value}))
    with pytest.raises(SystemExit, match="--set vocab_size=256: give a whole number of at least 257"):
        record.check(replace(good, changes=("tokenizer=bpe", "vocab_size=256")))
    for name in nanogpt.NEEDED:
        (good.nanogpt / name).unlink()
        with pytest.raises(SystemExit, match=f"there is no .*{name}: give the folder of a checkout of nanoGPT"):
            record.check(good)
        checkout(good.nanogpt)
    record.check(replace(good, nanogpt=None, ours_only=True))
    with pytest.raises(SystemExit, match="--claim compares the mean of several seeds: give --seeds 5"):
        record.check(replace(good, ours_only=True, claim=1.4, seeds=1))


def test_evaluation_preserves_rng_state(tmp_path: Path) -> None:
    architecture = RECIPES["test"].architecture
    GPT(architecture.to_model_config(9)).save_pretrained(tmp_path / "step-0000003")
    callbacks = record.EvalCallbacks(tmp_path, np.arange(100, dtype=np.uint16) % 9, 198, "cpu", None)
    callbacks.seconds = [1.0, 1.0, 2.0]
    before = torch.get_rng_state()
    callbacks.measure(3)
    assert torch.equal(torch.get_rng_state(), before)
    (point,) = callbacks.curve
    assert (point.step, point.seconds, point.startup) == (3, 4.0, 0.0)
    assert point.loss == pytest.approx(np.log(9) / 2, abs=0.25)  # 99 predicted tokens have 198 characters


def test_run_exits_when_parent_process_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fake_exit(code: int) -> None:
        raise SystemExit(code)

    monkeypatch.setattr(os, "_exit", fake_exit)
    callbacks = record.EvalCallbacks(tmp_path, np.zeros(2), 1, "cpu", None)
    line = {"tokens": 60, "step": 3, "train/tokens_per_sec": 10.0}
    for alive in (None, True, False):
        parent = None if alive is None else SimpleNamespace(is_alive=lambda alive=alive: alive)
        monkeypatch.setattr(record.multiprocessing, "parent_process", lambda parent=parent: parent)
        if alive is False:
            with pytest.raises(SystemExit, match="1"):
                callbacks.on_step(line)
        else:
            callbacks.on_step(line)
    assert callbacks.seconds == [2.0, 2.0]


def test_time_to_goal() -> None:
    curve = run(1.6, 1.5, 1.4, 1.55)
    assert curve.reached(1.5) == curve.curve[1]
    assert curve.reached(1.49) == curve.curve[2]
    assert curve.reached(1.39) is None
    assert (curve.lowest.step, curve.final.step) == (300, 400)
    assert run(1.4, 1.4).lowest.step == 100


def test_startup_is_excess_time_of_slow_steps() -> None:
    assert record_report.startup([30.0] + [1.0] * 9 + [1.0, 5.0, 50.0, 1.0]) == 29 + 49, (
        "recompilation later in the run counts"
    )
    assert record_report.startup([1.0] * 10 + [2.0] * 5) == 0
    assert record_report.startup([30.0, 1.0]) == 0, "no typical step to compare with"
    assert record_report.startup([]) == 0


def test_hours_format() -> None:
    assert [record_report.hours(3600 * number) for number in (0.123, 2, 9.96, 123.4, 12345)] == [
        "0.12 hours",
        "2 hours",
        "10 hours",
        "123 hours",
        "12,345 hours",
    ]


def test_time_ratio_without_goal() -> None:
    fast, slow = [run(1.4), run(1.6, 1.4)], [run(1.6, 1.6, 1.4), run(1.6, 1.6, 1.6, 1.4)]
    assert record_report.time_ratio(fast, slow, 1.45) == f"{6 / 10:.3f}"
    assert "1 of 2 inkhorn runs and 2 of 2 nanoGPT runs" in record_report.time_ratio([run(1.6), run(1.4)], slow, 1.45)
    assert "2 of 2 inkhorn runs and 0 of 2 nanoGPT runs" in record_report.time_ratio(fast, [run(1.6), run(1.5)], 1.45)


def test_outcome_of_one_side() -> None:
    text = record_report.outcome([run(1.6, 1.4, 1.4, 1.4), run(1.6, 1.5)], 1.45)
    assert text == "9 parameters; points per run: 2 to 4; 1 of 2 runs reached 1.45; stopped early: 1"
    assert "points per run: 1;" in record_report.outcome([run(1.6)], 1.45)


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_claim_is_a_t_test_over_the_final_losses() -> None:
    """t = (1.40 - 1.41) / (0.01 / sqrt 3) = -1.73 with two degrees of freedom: p = 0.113 by its closed form."""
    runs = [run(1.3, 1.5, 1.2, final) for final in (1.39, 1.40, 1.41)]
    t = (1.40 - 1.41) / (0.01 / 3**0.5)
    p = 0.5 * (1 + t / (2 + t * t) ** 0.5)
    assert p == pytest.approx(0.113, abs=1e-3)
    text = "mean final loss below 1.41 does not hold: p = 0.11, n = 3, at step 400"
    assert record_report.claim_holds(runs, 1.41) == text
    assert "below 1.5 holds: p = 0.0017" in record_report.claim_holds(runs, 1.5)
    assert "does not hold" in record_report.claim_holds(runs, 1.3), "the lowest loss of a curve does not count"
    assert record_report.claim_holds([*runs, run(1.3, 1.2)], 1.5).startswith("none")


def test_development_split_is_a_part_of_the_training_text(tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("t" * 81 + "d" * 9 + "v" * 10, "utf-8")
    (tmp_path / "new").mkdir()
    part = record.training_part(text, tmp_path / "new")
    data = record.tokenize_to_disk(record.from_path(part), tmp_path / "tokens")
    assert data.tokenizer.decode(data.train) == "t" * 81
    assert data.tokenizer.decode(data.val) == "d" * 9


def test_commit_of_folder(tmp_path: Path) -> None:
    assert record_report.commit(tmp_path) is None
    git = ["git", "-c", "user.name=n", "-c", "user.email=e@example.org", "-c", "commit.gpgsign=false"]
    for command in (["init", "-q"], ["commit", "-q", "--allow-empty", "-m", "m"], ["tag", "-a", "v1", "-m", "v1"]):
        subprocess.run([*git, *command], cwd=tmp_path, check=True, capture_output=True)
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, check=True, capture_output=True, text=True)
    assert record_report.commit(tmp_path) == head.stdout.strip()


def test_summary() -> None:
    assert record_report.summary([1.0, 2.0, 6.0]) == {
        "mean": 3.0,
        "deviation": pytest.approx(7**0.5),
        "lowest": 1.0,
        "highest": 6.0,
    }
    assert record_report.summary([2.0])["deviation"] is None


def test_description_of_complete_run() -> None:
    text = run(1.6, 1.5, 1.4, 1.55).describe(1.5, None)
    assert "1.5 reached after 7.0 s, at step 200; lowest 1.4000 at step 300, final 1.5500 after 11.0 s" in text
    assert "2,500 tokens/s, 3.0 s start-up" in text, "400 steps of 50 tokens in 8 s"
    assert "1.3 not reached in 400 steps" in run(1.6, 1.5, 1.4, 1.55).describe(1.3, 1)


def test_estimated_duration_of_stopped_run() -> None:
    text = run(1.6, 1.5, steps=360_000).describe(1.4, 0.5)
    assert "1.4 not reached in 0.5 min: loss 1.5000 after 10,000 tokens, 2,500 tokens/s" in text
    assert "about 2 hours estimated for all 360,000 steps" in text
    assert "1.55 reached after 7.0 s, at step 200: loss" in run(1.6, 1.5, steps=360_000).describe(1.55, 0.5)


def test_series_of_one_side() -> None:
    runs = [run(1.6, 1.4), run(1.6, 1.5), run(1.3, own_estimate=1.25)]
    values = {series.name: series.values for series in record_report.series_of(runs, 1.45)}
    assert values["ours: seconds to 1.45"] == (7, 5)
    assert values["ours: the same without start-up"] == (4, 2)
    assert values["ours: lowest loss"] == (1.4, 1.5, 1.3)
    assert values["ours: best of its own estimates"] == (1.25,)
    assert "ours: seconds to 1" not in {series.name for series in record_report.series_of(runs, 1)}
    shown = record_report.table(record_report.series_of(runs, 1.45))
    assert "6.0        1.4        5.0        7.0  n=2" in shown
    assert "1.4000     0.1000     1.3000     1.5000  n=3" in shown


def test_recipe_overrides_are_parsed() -> None:
    recipe = RECIPES["tiny-shakespeare"]
    new = recipe_overrides.override(recipe, ["n_layer=2", "steps=7", "lr=1e-2", "schedule=cosine", "zero_init=False"])
    assert (new.architecture.n_layer, new.train.steps, new.train.lr) == (2, 7, 0.01)
    assert (new.train.schedule, new.train.zero_init) == ("cosine", False)
    new = recipe_overrides.override(recipe, ["tokenizer=bpe", "vocab_size=512"])
    assert (new.tokenizer, new.vocab_size, new.train) == ("bpe", 512, recipe.train)
    assert recipe_overrides.override(recipe, []) == recipe
    for wrong in ("n_layers=2", "steps"):
        with pytest.raises(SystemExit, match=f"--set {wrong}: give NAME=VALUE.*{wrong[:5]}"):
            recipe_overrides.override(recipe, [wrong])


def test_each_run_is_saved_immediately(tmp_path: Path) -> None:
    for one in (run(1.6, 1.4), run(1.6)):
        record_report.save_line(tmp_path / "runs", one, 1.45, {"device": "cpu", "commit": "c0ffee"})
    first, second = map(json.loads, (tmp_path / "runs").read_text().splitlines())
    assert (first["seconds_to_goal"], first["final"], first["startup"], first["commit"]) == (7, 1.4, 3, "c0ffee")
    assert first["curve"][0] == {"step": 100, "seconds": 5.0, "loss": 1.6, "startup": 3.0}
    assert second["seconds_to_goal"] is None


def test_saved_runs_are_read_if_their_settings_are_the_same(tmp_path: Path) -> None:
    path = tmp_path / "runs.jsonl"
    assert record_report.saved_runs(None, {}) == record_report.saved_runs(path, {}) == {}
    for steps, seed in (("steps=1", 1), ("steps=2", 1), ("steps=2", 2)):
        facts = {"changed": [steps], "scored": "the validation split"}
        record_report.save_line(path, run(1.6, seed=seed, notes=(steps,)), 1.45, facts)
    found = record_report.saved_runs(path, {"changed": ["steps=2"], "scored": "the validation split"})
    assert found == {("ours", seed): run(1.6, seed=seed, notes=("steps=2",)) for seed in (1, 2)}
    assert not record_report.saved_runs(path, {"changed": ["steps=2"], "scored": "another text"})
