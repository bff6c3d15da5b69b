"""The static export of the page."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.web import ALPHABET, SHIPPED, save_bpe_checkpoint

from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.cli.main import main
from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.packed_weights import pack
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.web import export
from inkhorn.web.export import quantized_tensors, write_site


def test_unsupported_tokenizers_are_rejected(tmp_path: Path) -> None:
    folder = save_bpe_checkpoint(tmp_path / "checkpoint")
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["pre_tokenizer"]["add_prefix_space"] = True
    spec["normalizer"] = {"type": "NFC"}
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UsageError, match=r"a normalizer, a prefix space.*inkhorn serve supports all"):
        write_site(folder, "odd", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_export_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--web", "deep/site/"]) == 0
    output = capsys.readouterr().out
    assert "MB. Upload the folder to any static host" in output
    assert "python3 -m http.server -d deep/site 8080" in output
    out = tmp_path / "deep" / "site"
    written = files_of(out)
    assert {"index.html", "style.css", "engine/worker.js", "model/model.json", "model/weights.safetensors"} <= written
    assert not {"docs.html", "docs.js"} & written
    assert 9e6 < sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 12e6
    page = (out / "index.html").read_text(encoding="utf-8")
    assert '<meta name="inkhorn" content="static">' in page
    assert page.index("Content-Security-Policy") < page.index("<link")
    assert "; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; " in page
    assert "frame-ancestors" not in page
    metadata = json.loads((out / "model" / "model.json").read_text(encoding="utf-8"))
    assert metadata["id"] == "shakespeare"
    assert metadata["fingerprint"].startswith("fp_")
    assert metadata["fingerprint"].endswith("_int8_browser")
    assert (out / "model" / "weights.safetensors").stat().st_mode & 0o444 == 0o444
    (out / "left.over").touch()
    assert main(["export", "--web", "deep/site"]) == 0  # an earlier export is replaced
    assert files_of(out) == written
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_export_to_other_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    assert main(["export", "--web", str(tmp_path)]) == 2
    assert "is not an exported page: give a new or an empty folder" in capsys.readouterr().err
    assert main(["export", "--web", str(tmp_path / "letters.txt")]) == 2
    assert main(["export", "--web", "."]) == 2
    assert "is the current directory" in capsys.readouterr().err
    assert files_of(tmp_path) == {"letters.txt"}
    assert main(["export", str(tmp_path), "--web", str(tmp_path / "site")]) == 1
    assert main(["export"]) == 2
    assert files_of(tmp_path) == {"letters.txt"}


def test_failed_export_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "checkpoint", tmp_path / "site"
    tokenizer = CharTokenizer(ALPHABET)
    config = tiny_config(vocab_size=tokenizer.vocab_size)
    save_checkpoint(folder, tiny_model(config), tokenizer)
    write_site(folder, "tiny", out)
    before = {name: (out / name).read_bytes() for name in files_of(out)}
    monkeypatch.setattr(export, "write_tensor_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_site(folder, "tiny", out)
    assert {name: (out / name).read_bytes() for name in files_of(out)} == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "site"}


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_nan_weights_are_rejected() -> None:
    config = ModelConfig(vocab_size=3, block_size=4, n_layer=1, n_head=1, n_embd=4)
    weights = {"wte.weight": np.full((3, 4), np.nan, np.float32)}
    with pytest.raises(CheckpointError, match=r"wte\.weight contains NaN or infinity"):
        quantized_tensors(config, weights)


def test_quantized_weights_match_native_kernel() -> None:
    """The same integers and scales as native/pack.cpp computes."""
    if native_bindings.unavailable_reason() is not None:
        pytest.skip(f"no kernel: {native_bindings.unavailable_reason()}")
    config = read_config(SHIPPED)
    weights = read_weights(SHIPPED, config)
    packed = pack(config, weights, "int8").data.tobytes()
    tensors = quantized_tensors(config, weights)
    for name in ("h.0.attn.c_attn", "h.3.mlp.c_proj", "head"):
        rows, scale = tensors[f"{name}.weight"][:16], tensors[f"{name}.scale"][:16]  # the kernel's blocks have 16 rows
        unsigned = (rows.astype(np.int16) + 128).astype(np.uint8)
        block = unsigned.reshape(16, -1, 4).transpose(1, 0, 2)  # (inputs / 4, 16, 4)
        assert block.tobytes() in packed, name
        assert (scale.view(np.uint32) >> 16).astype("<u2").tobytes() in packed, name


def test_quantize_zero_and_denormal_rows() -> None:
    rows = np.random.default_rng(2).normal(size=(5, 64)).astype(np.float32)
    rows[1], rows[2] = 0, rows[2] * np.float32(1e-42)
    made = export._quantize("m", rows)
    quantized, scale = made["m.weight"], made["m.scale"]
    assert np.abs(quantized).max() <= 127
    assert not quantized[1].any()
    assert np.isfinite(scale).all()
    np.testing.assert_allclose(quantized * scale[:, None], rows, atol=np.abs(rows).max() / 127 / 1.9)
