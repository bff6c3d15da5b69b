"""The commands info, bench and export --quantize, as a user types them."""

import json
import time
from pathlib import Path

import numpy as np
import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.shipped import CHARACTERS
from helpers.web import save_bpe_checkpoint

from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.main import main
from inkhorn.config.model import ModelConfig
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.base import ModelInput
from inkhorn.inference.backends.native_backend import NativeBackend
from inkhorn.inference.backends.packed_weights import pack
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt
from inkhorn.tokenizer.char import CharTokenizer

REASON = native_bindings.unavailable_reason()
native = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def run(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as left:
        return int(left.code or 0)


@native
def test_info(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("info", "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert entries["backend"] == "native"
    assert entries["instruction set"] in entries["supported"]
    assert Path(entries["kernel"]).is_file()
    assert run("info") == 0
    assert "backend" in capsys.readouterr().out


@native
def test_info_marks_untimed_instruction_sets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(native_bindings, "UNTIMED_ISAS", (native_bindings.isa(),))
    assert run("info") == 0
    assert f"{native_bindings.isa()} (never timed on hardware)" in capsys.readouterr().out
    assert run("info", "--json") == 0
    assert json.loads(capsys.readouterr().out)["never timed"] == [native_bindings.isa()]


def test_info_with_numpy_selected(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("INKHORN_BACKEND", "numpy")
    assert run("info", "--json") == 0
    entries = json.loads(capsys.readouterr().out)
    assert (entries["backend"], entries["reason"]) == ("numpy", "INKHORN_BACKEND is set to numpy")
    assert run("bench", "--tokens", "3") == 2
    assert "INKHORN_BACKEND is set to numpy" in capsys.readouterr().err


def test_info_without_kernel(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(native_bindings, "library_path", lambda: None)
    native_bindings._open.cache_clear()
    try:
        assert run("info", "--json") == 0
        entries = json.loads(capsys.readouterr().out)
        assert entries["backend"] == "numpy"
        assert "no C++20 compiler" in entries["reason"]
        assert run("generate", "ROMEO:", "--words", "3", "--seed", "1") == 0  # NumPy serves
        assert run("generate", "ROMEO:", "--quantize", "int8") == 2
        assert "supports fp32 only" in capsys.readouterr().err
    finally:
        native_bindings._open.cache_clear()


@native
def test_library_with_another_abi(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(native_bindings, "ABI", native_bindings.ABI + 1)
    native_bindings._open.cache_clear()
    try:
        assert "has ABI version" in str(native_bindings.unavailable_reason())
        (tmp_path / "libinkhorn_kernel.so").write_text("no library")
        monkeypatch.setattr(native_bindings, "library_path", lambda: tmp_path / "libinkhorn_kernel.so")
        native_bindings._open.cache_clear()
        assert "cannot be used" in str(native_bindings.unavailable_reason())
    finally:
        native_bindings._open.cache_clear()


@native
def test_bench_of_tokens_that_are_not_characters(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sequences: the rate in characters follows from the text of the last one."""
    folder = save_bpe_checkpoint(tmp_path / "bpe")
    flags = ("--tokens", "20", "--rounds", "1", "--batch-sizes", "2", "--quantize", "fp32", "--model", str(folder))
    assert run("bench", *flags, "--json") == 0
    row = json.loads(capsys.readouterr().out)["rows"][0]
    with Engine.from_pretrained(folder, precision="fp32") as engine:
        params = SamplingParams(seed=1, max_tokens=20, ignore_eos=True)
        found = engine.submit(Prompt("", (engine.eos_id or 0,)), params, 1).result()
    assert len(found.text) != found.num_tokens == 20
    ratio = row["characters_per_second"] / row["tokens_per_second"]
    assert ratio == pytest.approx(len(found.text) / found.num_tokens)


@native
def test_bench_rows(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--tokens", "20", "--rounds", "2", "--batch-sizes", "1", "3", "--quantize", "int8", "bf16")
    assert run("bench", *flags, "--model", CHARACTERS, "--json") == 0
    result = json.loads(capsys.readouterr().out)
    rows = result["rows"]
    assert result["not_measured"] == []
    found = [(row["precision"], row["batch_size"]) for row in rows]
    assert found == [
        ("int8", 1),
        ("int8", 3),
        ("bf16", 1),
        ("bf16", 3),
    ]
    for row in rows:
        assert 0 < row["lowest"] <= row["tokens_per_second"] <= row["highest"]
        assert row["share"] == pytest.approx(
            row["tokens_per_second"] / row["batch_size"] * row["bytes"] / row["bandwidth"], rel=1e-9
        )
        assert row["characters_per_second"] == pytest.approx(row["tokens_per_second"], rel=0.9), "a model of characters"
    assert rows[0]["bytes"] < 0.6 * rows[2]["bytes"]
    assert run("bench", *flags) == 0
    assert len(capsys.readouterr().out.splitlines()) == 5


@native
def test_bench_of_a_tiny_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Weights of less than a page, which no thread reads in whole pages, have a share of the bandwidth, too."""
    config = tiny_config(vocab_size=9, n_layer=1, n_head=1, n_embd=8, tie_word_embeddings=False)
    save_checkpoint(tmp_path, tiny_model(config), CharTokenizer("abcdefgh"))
    flags = ("--model", str(tmp_path), "--tokens", "4", "--rounds", "1", "--batch-sizes", "1", "--quantize", "int8")
    assert run("bench", *flags, "--json") == 0
    (row,) = json.loads(capsys.readouterr().out)["rows"]
    assert row["bytes"] < 4096
    assert row["bandwidth"] > 0


@native
def test_memory_bandwidth_of_any_size() -> None:
    bandwidth = native_bindings.library().ink_memory_bandwidth
    assert all(bandwidth(size, threads, 1) > 0 for size in (8, 100, 4096, 5001) for threads in (1, 2))
    assert bandwidth(0, 1, 1) == bandwidth(8, 0, 1) == bandwidth(8, 1, 0) == 0


@native
def test_bench_ends_after_the_given_time(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ("--tokens", "100000", "--rounds", "1000000000", "--batch-sizes", "1", "2", "--quantize", "int8")
    assert run("bench", *flags, "--seconds", "1", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    found = [(row["precision"], row["batch_size"]) for row in result["rows"]] + list(map(tuple, result["not_measured"]))
    assert sorted(found) == [("int8", 1), ("int8", 2)]


@native
def test_bench_names_what_it_had_no_time_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter(range(0, 1_000_000, 40))  # every look at the clock finds 40 seconds gone
    monkeypatch.setattr("inkhorn.cli.bench.time.perf_counter", lambda: float(next(clock)))
    assert run("bench", "--quantize", "int8", "--batch-sizes", "1", "4") == 0
    lines = capsys.readouterr().out.splitlines()[1:]
    assert [line.split()[:2] for line in lines] == [["int8", "1"], ["int8", "4"]]
    assert all("not measured within 25 s; raise --seconds" in line for line in lines)


@native
@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--tokens", "0"], "--tokens must be at least 1"),
        (["--rounds", "0"], "--rounds must be at least 1"),
        (["--batch-sizes", "0"], "--batch-sizes[0] must be between 1 and 256"),
        (["--quantize", "int6"], "int6"),
        (["--threads", "0"], "--threads must be at least 1"),
        (["--model", "nowhere"], "nowhere does not exist"),
    ],
)
def test_bench_invalid_options(flags: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("bench", *flags) in (1, 2)
    assert message in capsys.readouterr().err


@native
def test_quantized_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "small"
    assert run("export", "shakespeare", str(out), "--quantize", "int8") == 0
    size = (out / "packed.safetensors").stat().st_size / 1e6
    expected = f"{read_config(out).num_parameters:,} parameters, int8, {size:.1f} MB"
    assert expected in capsys.readouterr().out
    assert not (out / "model.safetensors").exists()
    texts = []
    for model in ("shakespeare", str(out)):
        assert run("generate", "ROMEO:", "--model", model, "--seed", "5", "--words", "20", "--quantize", "int8") == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]
    assert run("export", "shakespeare", str(out), "--quantize", "int8") == 1
    assert "already holds a checkpoint" in capsys.readouterr().err


@native
def test_idle_backend_uses_no_cpu() -> None:
    config = ModelConfig(vocab_size=20, block_size=16, n_layer=1, n_head=2, n_embd=32)
    weights = {spec.name: np.zeros(spec.shape, np.float32) for spec in config.tensor_specs()}
    backend = NativeBackend(pack(config, weights, "fp32"), max_num_seqs=1)
    backend.run([ModelInput(0, 0, [1, 2, 3])])
    time.sleep(0.05)  # the threads spin for a moment before they sleep
    used = time.process_time()
    time.sleep(0.3)
    assert time.process_time() - used < 0.03
