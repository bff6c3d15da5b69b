"""The command `inkhorn estimate`."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers.models import tiny_config, tiny_model

from inkhorn.cli.estimate_tables import duration, memory
from inkhorn.cli.main import main
from inkhorn.config.recipes import RECIPES
from inkhorn.costs.model import (
    packed_bytes,
    training_flops,
)
from inkhorn.costs.scaling_laws import HOFFMANN


def run_estimate(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    assert main(["estimate", *argv]) == 0
    return capsys.readouterr().out


def facts_of(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(run_estimate(capsys, *argv, "--json"))
    return found


def test_lists_recipes(capsys: pytest.CaptureFixture[str]) -> None:
    shown = run_estimate(capsys)
    rows = {row["recipe"]: row for row in json.loads(run_estimate(capsys, "--json"))}
    assert set(rows) == set(RECIPES)
    assert rows["gpt2"]["parameters"] == 124_439_808
    for name, row in rows.items():
        assert re.search(rf"^{name} +{row['parameters']:,} ", shown, re.M)


def test_gpt2(capsys: pytest.CaptureFixture[str]) -> None:
    recipe = RECIPES["gpt2"]
    config = recipe.architecture.to_model_config(50257)
    facts = facts_of(capsys, "gpt2", "--peak-tflops", "300", "--mfu", "0.5", "--devices", "8", "--price", "2")
    assert facts["parameters"] == sum(part["parameters"] for part in facts["parts"]) == 124_439_808
    assert facts["training_flops_per_token"] == training_flops(config)
    tokens = facts["tokens"]
    assert tokens == recipe.train.steps * recipe.train.batch_size * recipe.train.grad_accum * 1024
    time = facts["time"]
    assert time["hours"] == pytest.approx(tokens * training_flops(config) / (8 * 0.5 * 300e12) / 3600)
    assert time["cost"] == pytest.approx(time["hours"] * 8 * 2)
    assert facts["serving"]["bytes"]["int8"]["weights"] == packed_bytes(config, "int8")
    assert facts["scaling"]["losses"][HOFFMANN.name] == pytest.approx(HOFFMANN.loss(124_439_808, tokens))
    shown = run_estimate(capsys, "gpt2", "--peak-tflops", "300", "--devices", "8", "--price", "2")
    for words in ("124,439,808", "854,438,400", "8 devices: peak 2,400 TFLOP/s", "assumed", "cost"):
        assert words in shown


def test_flags(capsys: pytest.CaptureFixture[str]) -> None:
    other = ["--peak-tflops", "1"]
    usual = facts_of(capsys, "gpt2", *other)
    changes = [
        "--n-layer",
        "2",
        "--vocab-size",
        "1000",
        "--tokens",
        "5000",
        "--batch-size",
        "2",
        "--optimizer",
        "adamw",
    ]
    facts = facts_of(capsys, "gpt2", *other, *changes, "--max-num-seqs", "1", "--dtype", "float32")
    assert (facts["config"]["n_layer"], facts["config"]["vocab_size"], facts["tokens"]) == (2, 1000, 5000)
    assert facts["training"]["bytes"]["optimizer, adamw"] == 8 * facts["parameters"]
    assert facts["training"]["dtype"] == "float32"
    assert "matrices in bfloat16" in usual["training"]["bytes"]
    assert 16 * 6 * facts["serving"]["bytes"]["fp32"]["caches"] == usual["serving"]["bytes"]["fp32"]["caches"]


def test_checkpoint_folder(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tiny_config(n_inner=50, tie_word_embeddings=False)
    tiny_model(config).save_pretrained(tmp_path)
    facts = facts_of(capsys, str(tmp_path), "--peak-tflops", "1")
    assert facts["parameters"] == config.num_parameters
    assert (facts["tokens"], facts["tokens_from"]) == (20 * config.num_parameters, "20 per parameter")
    assert facts["scaling"]["losses"] == {}  # the laws do not apply to characters


def test_compute_budget(capsys: pytest.CaptureFixture[str]) -> None:
    given = facts_of(capsys, "gpt2", "--flops", "1e19", "--peak-tflops", "1")["scaling"]
    assert given["budget"] == 1e19
    for best in given["best"]:
        assert 6 * best["parameters"] * best["tokens"] == pytest.approx(1e19)
        shape = replace(RECIPES["gpt2"].architecture.to_model_config(50257), n_layer=best["n_layer"])
        shape = replace(shape, n_head=best["n_head"], n_embd=best["n_embd"])
        assert 0.7 < shape.num_parameters / best["parameters"] < 1.4
    hours = facts_of(capsys, "gpt2", "--hours", "10", "--peak-tflops", "1", "--mfu", "0.5")["scaling"]
    assert hours["budget"] == pytest.approx(10 * 3600 * 0.5e12)


def test_measured_mfu(capsys: pytest.CaptureFixture[str]) -> None:
    assumed, measured = facts_of(capsys, "test"), facts_of(capsys, "test", "--measure")
    assert assumed["time"]["mfu"] == 0.4
    assert assumed["training"]["free"] > 0
    time = measured["time"]
    assert time["mfu_is"] == "measured"
    assert 0 < time["mfu"] < 1
    assert time["tokens_per_second"] == pytest.approx(
        time["mfu"] * time["peak_flops"] / measured["training_flops_per_token"]
    )


def test_measure_without_memory(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkhorn.hardware.memory.free_bytes", lambda device: 1000.0)
    assert main(["estimate", "test", "--measure"]) == 1
    assert "inkhorn: not measured: 8 rows of 32 tokens need about" in capsys.readouterr().err


NO_TORCH = """
import importlib.machinery, sys
look = importlib.machinery.PathFinder.find_spec
importlib.machinery.PathFinder.find_spec = lambda name, *rest: None if name == "torch" else look(name, *rest)
from inkhorn.cli.main import main
from inkhorn.cli.estimate_tables import duration, memory
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    ("flags", "code", "words"),
    [
        ([], 0, "install inkhorn[train] to measure"),
        (["--peak-tflops", "312"], 0, "312 TFLOP/s"),
        (["--hours", "3"], 1, "this command needs torch: "),
    ],
)
def test_without_torch(flags: list[str], code: int, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", NO_TORCH, "estimate", "gpt2", *flags], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr
    assert words in done.stdout + done.stderr
    assert (code == 1) or "124,439,808" in done.stdout


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["gtp2"], "did you mean 'gpt2'"),
        (["--tokens", "5"], "give the model first"),
        (["gpt2", "--mfu", "1.5"], "--mfu must be greater than 0 and at most 1, not 1.5"),
        (["gpt2", "--tokens", "0"], "--tokens must be at least 1, not 0"),
        (["gpt2", "--peak-tflops", "nan"], "--peak-tflops must be greater than 0"),
        (["gpt2", "--hours", "1", "--flops", "1e9"], "either --hours or --flops"),
        (["gpt2", "--measure", "--peak-tflops", "1"], "either --measure or --peak-tflops"),
        (["gpt2", "--n-head", "7"], "must be a multiple of n_head"),
    ],
)
def test_invalid_requests(argv: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["estimate", *argv]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("size", "words"), [(0, "0.0 kB"), (1234, "1.2 kB"), (999_999_999, "1,000.0 MB"), (2.5e9, "2.50 GB")]
)
def test_format_bytes(size: float, words: str) -> None:
    assert memory(size) == words


@pytest.mark.parametrize(
    ("hours", "words"),
    [(0.01, "36 seconds"), (0.5, "30.0 minutes"), (3, "3.0 hours"), (72, "3.0 days"), (20_000, "2.3 years")],
)
def test_format_duration(hours: float, words: str) -> None:
    assert duration(hours) == words
