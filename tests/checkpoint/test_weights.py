import json
import math
import os
import stat
import struct
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from helpers.models import tiny_config, write_arrays
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError
from inkhorn.utils.files import read_json

Tensors = dict[str, Any]
TINY = tiny_config()


def random_tensors(config: ModelConfig, dtype: str = "float32", seed: int = 0) -> Tensors:
    random = np.random.default_rng(seed)
    return {spec.name: random.standard_normal(spec.shape).astype(dtype) for spec in config.tensor_specs()}


def hf_name(name: str, config: ModelConfig) -> str:
    return next(spec.hf_name for spec in config.tensor_specs() if spec.name == name)


def shapes_of(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    return {spec.name: spec.shape for spec in config.tensor_specs()}


def on_disk(config: ModelConfig, prefix: str = "transformer.") -> Tensors:
    """A file's tensors, as transformers names them, or without its prefix."""
    tensors = random_tensors(config)
    return {hf_name(n, config).replace("transformer.", prefix): tensor for n, tensor in tensors.items()}


def put(folder: Path, tensors: Tensors) -> None:
    save_file(tensors, folder / "model.safetensors")


def assert_equal(read: Tensors, expected: Tensors) -> None:
    assert list(read) == list(expected)
    for name, array in expected.items():
        assert read[name].dtype == np.float32
        np.testing.assert_array_equal(read[name], array.astype(np.float32), err_msg=name)


# Reading


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("prefix", ["transformer.", ""])
def test_prefix_is_optional(tmp_path: Path, kind: str, tied: bool, prefix: str) -> None:
    config = tiny_config(model_type=kind, tie_word_embeddings=tied)
    put(tmp_path, on_disk(config, prefix))
    assert_equal(read_weights(tmp_path, config), random_tensors(config))


def test_gpt1_names() -> None:
    config = tiny_config(model_type="openai-gpt", tie_word_embeddings=False)
    names = {spec.hf_name for spec in config.tensor_specs()}
    assert {"transformer.tokens_embed.weight", "transformer.positions_embed.weight", "lm_head.weight"} < names
    assert not any("wte" in name or "wpe" in name or "ln_f" in name for name in names)


def test_mask_buffers_are_ignored(tmp_path: Path) -> None:
    mask = {f"transformer.h.{i}.attn.bias": np.tril(np.ones((1, 1, 12, 12), np.bool_)) for i in range(2)}
    mask |= {f"h.{i}.attn.masked_bias": np.array(-1e4, np.float16) for i in range(2)}
    put(tmp_path, on_disk(TINY) | mask)
    assert_equal(read_weights(tmp_path, TINY), random_tensors(TINY))


def test_repeated_tied_head_is_ignored(tmp_path: Path) -> None:
    tensors = on_disk(TINY)
    put(tmp_path, tensors | {"lm_head.weight": tensors["transformer.wte.weight"].copy()})
    assert_equal(read_weights(tmp_path, TINY), random_tensors(TINY))


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_float_types_are_read_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    tensors = {name: torch.from_numpy(array).to(dtype) for name, array in on_disk(TINY).items()}
    edge = torch.finfo(dtype)  # subnormals, the largest number, both zeros
    tensors["transformer.ln_f.bias"][:5] = torch.tensor(
        [edge.smallest_normal / 4, -edge.smallest_normal, 0.0, -0.0, 1.0]
    ).to(dtype)
    tensors["transformer.ln_f.bias"][5] = min(edge.max, torch.finfo(torch.float32).max)
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    read = read_weights(tmp_path, TINY)
    for name in shapes_of(TINY):
        expected = tensors[hf_name(name, TINY)].to(torch.float32).numpy()
        assert read[name].tobytes() == expected.tobytes(), name  # by bits: -0.0 is not 0.0


def test_arrays_are_independent_of_the_file(tmp_path: Path) -> None:
    put(tmp_path, on_disk(TINY))
    read = read_weights(tmp_path, TINY)
    read["ln_f.bias"][:] = 5.0  # writable
    (tmp_path / "model.safetensors").write_bytes(b"")
    assert np.isfinite(read["wte.weight"]).all()


# Errors


def assert_rejected(folder: Path, *words: str, config: ModelConfig = TINY) -> None:
    with pytest.raises(CheckpointError) as caught:
        read_weights(folder, config)
    for word in (str(folder), *words):
        assert word in str(caught.value)


def test_missing_file(tmp_path: Path) -> None:
    assert_rejected(tmp_path, "has no model.safetensors")
    assert_rejected(tmp_path / "nowhere", "has no model.safetensors")
    (tmp_path / "model.safetensors").mkdir()
    assert_rejected(tmp_path, "has no model.safetensors")


def test_truncated_file(tmp_path: Path) -> None:
    put(tmp_path, on_disk(TINY))
    path = tmp_path / "model.safetensors"
    whole = path.read_bytes()
    for length in (0, 1, 7, 8, 9, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert_rejected(tmp_path, "damaged or not a safetensors file")
    path.write_bytes(whole + b"\0")
    assert_rejected(tmp_path, "damaged or not a safetensors file")


@pytest.mark.parametrize(
    "content",
    [b"garbage", b"\0" * 1000, b"PK\x03\x04" + b"x" * 500, b"\xff" * 64, struct.pack("<Q", 4) + b"nope", b"\x80\x04}"],
)
def test_garbage(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(content)
    assert_rejected(tmp_path, "damaged or not a safetensors file")


@given(st.data())
def test_corrupt_header(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    folder = tmp_path_factory.getbasetemp()
    config = tiny_config(n_layer=1, vocab_size=3, block_size=2, n_embd=2, n_head=1)
    put(folder, on_disk(config))
    content = bytearray((folder / "model.safetensors").read_bytes())
    end_of_header = 8 + int.from_bytes(content[:8], "little")
    for place in data.draw(st.lists(st.integers(0, end_of_header - 1), min_size=1, max_size=3)):
        content[place] = data.draw(st.integers(0, 255))
    (folder / "model.safetensors").write_bytes(content)
    try:
        read = read_weights(folder, config)
    except CheckpointError:
        return
    assert {name: array.shape for name, array in read.items()} == shapes_of(config)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("transformer.wte.weight", (18, 16)),
        ("transformer.wpe.weight", (11, 16)),
        ("transformer.h.1.attn.c_attn.weight", (48, 16)),  # as torch keeps it: [out, in]
        ("transformer.h.0.mlp.c_fc.bias", (1, 64)),
        ("transformer.ln_f.weight", ()),
    ],
)
def test_shape_mismatch(tmp_path: Path, name: str, shape: tuple[int, ...]) -> None:
    put(tmp_path, on_disk(TINY) | {name: np.zeros(shape, np.float32)})
    right = shapes_of(TINY)[name.removeprefix("transformer.")]
    assert_rejected(tmp_path, "does not match config.json", name, str(list(shape)), str(list(right)))


@pytest.mark.parametrize("name", [spec.hf_name for spec in TINY.tensor_specs()])
def test_missing_tensor(tmp_path: Path, name: str) -> None:
    put(tmp_path, {n: tensor for n, tensor in on_disk(TINY).items() if n != name})
    assert_rejected(tmp_path, "does not match config.json", f"it has no {name}")


def test_config_mismatch(tmp_path: Path) -> None:
    put(tmp_path, on_disk(TINY))
    assert_rejected(tmp_path, "transformer.h.2.ln_1.weight", config=tiny_config(n_layer=3))
    assert_rejected(tmp_path, "unexpected tensors h.1.", config=tiny_config(n_layer=1))
    assert_rejected(tmp_path, "transformer.tokens_embed.weight", config=tiny_config(model_type="openai-gpt"))
    assert_rejected(tmp_path, "lm_head.weight", config=tiny_config(tie_word_embeddings=False))


def test_unexpected_tensors(tmp_path: Path) -> None:
    extra = {name: np.zeros(1, np.float32) for name in ("transformer.lora.A", "score.weight", "h.0.attn.bias.more")}
    put(tmp_path, on_disk(TINY) | extra)
    assert_rejected(tmp_path, "unexpected tensors h.0.attn.bias.more, lora.A, score.weight")


def test_duplicate_names(tmp_path: Path) -> None:
    put(tmp_path, on_disk(TINY) | {"ln_f.bias": np.zeros(16, np.float32)})
    assert_rejected(tmp_path, "ln_f.bias", "both with and without")


@pytest.mark.parametrize(
    ("dtype", "name"), [(torch.int32, "I32"), (torch.float8_e4m3fn, "F8_E4M3"), (torch.bool, "BOOL")]
)
def test_unsupported_dtype(tmp_path: Path, dtype: torch.dtype, name: str) -> None:
    tensors = {n: torch.from_numpy(array) for n, array in on_disk(TINY).items()}
    tensors["transformer.h.0.mlp.c_proj.bias"] = torch.zeros(16).to(dtype)
    safetensors.torch.save_file(tensors, tmp_path / "model.safetensors")
    assert_rejected(tmp_path, f"transformer.h.0.mlp.c_proj.bias is {name}", "F64, F32, F16, BF16")


@pytest.mark.parametrize("content", ["", "{", "[1, 2]", '"gpt2"', "null", "\0\0\0", "[" * 100_000])
def test_config_not_a_json_object(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(CheckpointError, match=r"cannot read .*config\.json"):
        read_config(tmp_path)


def test_unreadable_config(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no config\.json"):
        read_config(tmp_path)
    with pytest.raises(CheckpointError, match="has no config"):
        read_config(tmp_path / "nowhere")
    (tmp_path / "config.json").write_bytes(b"\xff\xfe{}")
    with pytest.raises(CheckpointError, match="cannot read"):
        read_config(tmp_path)
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").mkdir()
    with pytest.raises(CheckpointError, match="cannot read"):
        read_config(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot read"):
        read_config(tmp_path / "file")


# Writing


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_round_trip(tmp_path: Path, kind: str, dtype: str) -> None:
    config = tiny_config(model_type=kind)
    tensors = random_tensors(config, dtype)
    write_arrays(tmp_path / "a" / "b", config, tensors, dtype)
    folder = tmp_path / "a" / "b"
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    assert read_config(folder) == config
    assert read_json(folder / "config.json")["dtype"] == dtype
    assert_equal(read_weights(folder, config), tensors)
    stored = load_file(folder / "model.safetensors")
    assert {array.dtype for array in stored.values()} == {np.dtype(dtype)}
    assert set(stored) == {hf_name(name, config) for name in tensors}
    assert stat.S_IMODE((folder / "model.safetensors").stat().st_mode) & 0o044  # others may read it, as config.json


def test_format_metadata(tmp_path: Path) -> None:
    write_arrays(tmp_path, TINY, random_tensors(TINY))
    with (tmp_path / "model.safetensors").open("rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    assert header["__metadata__"] == {"format": "pt"}


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_nonfinite_values_are_not_written(tmp_path: Path, bad: float) -> None:
    tensors = random_tensors(TINY)
    tensors["h.1.mlp.c_fc.weight"][3, 4] = bad
    with pytest.raises(
        CheckpointError, match=r"h\.1\.mlp\.c_fc\.weight holds values that are not finite.*nothing is written"
    ):
        write_arrays(tmp_path / "new", TINY, tensors)
    assert not (tmp_path / "new").exists()


def test_bfloat16_keeps_the_upper_half_of_float32(tmp_path: Path) -> None:
    exact = {n: torch.from_numpy(a).bfloat16() for n, a in random_tensors(TINY).items()}
    write_arrays(tmp_path, TINY, {name: tensor.float().numpy() for name, tensor in exact.items()}, "bfloat16")
    stored = safetensors.torch.load_file(tmp_path / "model.safetensors")
    for name, tensor in exact.items():
        assert torch.equal(stored[hf_name(name, TINY)], tensor), name


def test_mismatched_tensors_are_not_written(tmp_path: Path) -> None:
    tensors = random_tensors(TINY)
    without = {name: array for name, array in tensors.items() if name != "ln_f.bias"}
    for wrong, name in (
        (without, "ln_f.bias"),
        (tensors | {"odd.weight": np.zeros(1)}, "odd.weight"),
    ):
        with pytest.raises(CheckpointError, match=f"do not match the config: {name}$"):
            write_arrays(tmp_path / "new", TINY, wrong)
    wrong = tensors | {"wpe.weight": np.zeros((16, 12), np.float32)}
    with pytest.raises(CheckpointError, match=r"wpe.weight has shape \[16, 12\], expected \[12, 16\]"):
        write_arrays(tmp_path / "new", TINY, wrong)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("operation", ["open", "fsync", "replace"])
def test_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, operation: str) -> None:
    old = random_tensors(TINY, seed=1)
    write_arrays(tmp_path / "old", TINY, old)

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    for folder, survivors in ((tmp_path / "new", None), (tmp_path / "old", ["config.json", "model.safetensors"])):
        with monkeypatch.context() as patch:
            patch.setattr(os if operation == "fsync" else Path, operation, full)
            with pytest.raises(CheckpointError, match=f"cannot write a checkpoint to {folder}.*No space left"):
                write_arrays(folder, TINY, random_tensors(TINY, seed=2))
        assert (sorted(path.name for path in folder.iterdir()) if folder.exists() else None) == survivors
    assert_equal(read_weights(tmp_path / "old", TINY), old)


def test_unwritable_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write a checkpoint to"):
        write_arrays(tmp_path / "file", TINY, random_tensors(TINY))
    with pytest.raises(CheckpointError, match="cannot write a checkpoint to"):
        write_arrays(tmp_path / "file" / "below", TINY, random_tensors(TINY))

    def refuse(*_: Any, **__: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(CheckpointError, match="Permission denied"):
        write_arrays(tmp_path / "read-only", TINY, random_tensors(TINY))
