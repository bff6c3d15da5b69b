"""`benchmarks/record.py` and what it reads of nanoGPT's log: the arithmetic behind a record, on numbers made up."""

import importlib
import json
import sys
from pathlib import Path
from typing import Any

import pytest

from inkhorn.recipes import RECIPES

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))  # scripts, not a package: they import one another so
nanogpt = importlib.import_module("nanogpt")
record = importlib.import_module("record")

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
    """A run measured every 100 steps, at 2 s a hundred after 3 s of start-up."""
    points = (record.Point(100 * i, 3 + 2.0 * i, loss) for i, loss in enumerate(losses, start=1))
    facts = {"side": "ours", "seed": 1, "parameters": 9, "steps": 400, "tokens_per_step": 50, "startup": 3.0}
    return record.Run(**facts | {"curve": tuple(points)} | changes)


def test_what_nanogpt_logs_is_read() -> None:
    assert nanogpt.step_seconds(LOG) == pytest.approx([32.40535, 0.0205, 0.0195])
    assert nanogpt.own_estimates(LOG)[:2] == [4.2823, 2.5001]
    assert len(nanogpt.own_estimates(LOG)) == 3
    assert nanogpt.flags("a=1 b=x") == ["--a=1", "--b=x"]


def test_each_change_of_its_script_is_made_once(tmp_path: Path) -> None:
    folder, text = tmp_path / "theirs", tmp_path / "text"
    (folder / "data" / "shakespeare_char").mkdir(parents=True)
    (folder / "data" / "shakespeare_char" / "prepare.py").write_text("import requests\n")
    changes = nanogpt.seed_change(7) | nanogpt.KEEP_EACH_EVALUATION
    (folder / "train.py").write_text("\n".join(changes))
    text.write_text("To be")
    data = nanogpt.copy_with_text(folder, text, tmp_path / "copy", changes)
    assert (data / "input.txt").read_text() == "To be"
    script = (tmp_path / "copy" / "train.py").read_text()
    assert "7 + seed_offset" in script
    assert "'ckpt.pt'" not in script
    assert all(new in script for new in changes.values())
    (folder / "train.py").write_text("\n".join(list(changes)[1:]))
    with pytest.raises(SystemExit, match="0 times, not once"):
        nanogpt.copy_with_text(folder, text, tmp_path / "other", changes)


def test_the_goal_is_passed_at_the_first_point_as_low() -> None:
    curve = run(1.6, 1.5, 1.4, 1.55)
    assert curve.passed(1.5) == curve.curve[1]
    assert curve.passed(1.49) == curve.curve[2]
    assert curve.passed(1.39) is None
    assert (curve.lowest.step, curve.final.step) == (300, 400)
    assert run(1.4, 1.4).lowest.step == 100


def test_start_up_is_what_the_first_steps_take_longer() -> None:
    assert record.startup([30.0] + [1.0] * 9 + [1.0, 1.0, 50.0]) == 29
    assert record.startup([1.0] * 10 + [2.0] * 5) == 0, "never less than nothing"
    assert record.startup([30.0, 1.0]) == 0, "no later steps to tell by"
    assert record.startup([]) == 0


def test_summary() -> None:
    assert record.summary([1.0, 2.0, 6.0]) == {
        "mean": 3.0,
        "deviation": pytest.approx(7**0.5),
        "lowest": 1.0,
        "highest": 6.0,
    }
    assert record.summary([2.0])["deviation"] is None


def test_the_story_of_a_whole_run() -> None:
    story = run(1.6, 1.5, 1.4, 1.55).story(1.5, None)
    assert "1.5 passed after 7.0 s, at step 200; lowest 1.4000 at step 300, at the end 1.5500 after 11.0 s" in story
    assert "2,500 tokens/s, 3.0 s start-up" in story, "400 steps of 50 tokens in 8 s"
    assert "1.3 not reached in 400 steps" in run(1.6, 1.5, 1.4, 1.55).story(1.3, 1)


def test_the_story_of_a_run_cut_short_says_how_long_the_whole_would_take() -> None:
    story = run(1.6, 1.5, steps=360_000).story(1.4, 0.5)
    assert "1.4 not reached in 0.5 min: loss 1.5000 after 10,000 tokens, 2,500 tokens/s" in story
    assert "about 2 hours to its 360,000 steps" in story
    assert "1.55 passed after 7.0 s, at step 200: loss" in run(1.6, 1.5, steps=360_000).story(1.55, 0.5)


def test_series_hold_what_was_reached() -> None:
    runs = [run(1.6, 1.4), run(1.6, 1.5), run(1.3, own_estimate=1.25)]
    values = {series.name: series.values for series in record.series_of(runs, 1.45)}
    assert values["ours: seconds to 1.45"] == (7, 5)
    assert values["ours: the same without start-up"] == (4, 2)
    assert values["ours: lowest loss"] == (1.4, 1.5, 1.3)
    assert values["ours: best of its own estimates"] == (1.25,)
    assert "ours: seconds to 1" not in {series.name for series in record.series_of(runs, 1)}
    shown = record.table(record.series_of(runs, 1.45))
    assert "6.0        1.4        5.0        7.0  n=2" in shown
    assert "1.4000     0.1000     1.3000     1.5000  n=3" in shown


def test_a_recipe_is_changed_by_words() -> None:
    recipe = RECIPES["tiny-shakespeare"]()
    new = record.changed(recipe, ["n_layer=2", "steps=7", "lr=1e-2", "schedule=cosine", "zero_init=False"])
    assert (new.shape.n_layer, new.train.steps, new.train.lr) == (2, 7, 0.01)
    assert (new.train.schedule, new.train.zero_init) == ("cosine", False)
    assert record.changed(recipe, []) == recipe
    for wrong in ("n_layers=2", "steps"):
        with pytest.raises(SystemExit, match=f"--set {wrong}: give NAME=VALUE.*{wrong[:5]}"):
            record.changed(recipe, [wrong])


def test_each_run_is_kept_at_once(tmp_path: Path) -> None:
    args = record.Args(text=Path(), goal=1.45)
    for one in (run(1.6, 1.4), run(1.6)):
        record.keep(tmp_path / "runs", one, args, {"device": "abacus"})
    first, second = map(json.loads, (tmp_path / "runs").read_text().splitlines())
    assert (first["seconds_to_goal"], first["final"], first["device"]) == (7, 1.4, "abacus")
    assert first["curve"][0] == {"step": 100, "seconds": 5.0, "loss": 1.6}
    assert second["seconds_to_goal"] is None
