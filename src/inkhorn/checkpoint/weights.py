"""A model's tensors on disk: `config.json` and `model.safetensors` as transformers writes them, read without torch.

In memory the names are OpenAI's (`wte.weight`, `h.0.attn.c_attn.weight`, ...), on disk Hugging Face's: a `transformer.`
prefix and, for GPT-1, `tokens_embed` and `positions_embed`. Matrices are [in, out], as both keep them ("Conv1D").
"""

import json
import math
import mmap
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file as numpy_save_file

from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError
from inkhorn.utils.files import flush, read_json, write_json

Array = np.ndarray[Any, Any]

_CAUSAL_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # buffers, not weights, in old files of OpenAI's models

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def read_config(folder: Path) -> ModelConfig:
    """Read the folder's `config.json`."""
    return ModelConfig.from_hf(read_json(folder / "config.json"))


def read_weights(folder: Path, config: ModelConfig) -> dict[str, Array]:
    """Read `model.safetensors` as float32, named and shaped as `config.tensor_specs()` says.

    Raises CheckpointError when the file is missing, truncated or corrupt, or does not hold just these tensors.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        raise CheckpointError(f"{folder} has no model.safetensors: it is not a checkpoint folder, or not whole")
    try:
        with safe_open(path, framework="numpy") as file:
            found = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from None
    names = match_names(set(found), config, path)
    for spec in config.tensor_specs():
        shape = found[names[spec.name]]
        if shape != spec.shape:
            raise CheckpointError(
                f"{path} does not match config.json: {names[spec.name]} has shape {list(shape)}, "
                f"the config asks for {list(spec.shape)}"
            )
    return _read_float32(path, names)


def match_names(found: set[str], config: ModelConfig, path: Path) -> dict[str, str]:
    """Map each tensor's name to its name in the file, which may leave out the prefix `transformer.`."""
    prefix = "transformer."
    bare = {name.removeprefix(prefix): name for name in found}
    twice = sorted(name for name in found if prefix + name in found)
    if twice:
        raise CheckpointError(f"{path} holds {', '.join(twice[:4])} both with and without the prefix {prefix!r}")
    names = {}
    for spec in config.tensor_specs():
        on_disk = bare.pop(spec.hf_name.removeprefix(prefix), None)
        if on_disk is None:
            raise CheckpointError(f"{path} does not match config.json: it has no {spec.hf_name}")
        names[spec.name] = on_disk
    if config.tie_word_embeddings:
        bare.pop("lm_head.weight", None)  # some writers repeat the tied matrix
    odd = [name for name in bare if not _CAUSAL_MASK.fullmatch(name)]
    if odd:
        raise CheckpointError(f"{path} does not match config.json: unexpected tensors {', '.join(sorted(odd)[:4])}")
    return names


def _read_float32(path: Path, names: Mapping[str, str]) -> dict[str, Array]:
    """Convert the named tensors straight from the mapped file. NumPy has no bfloat16: it is float32's upper half."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        start = 8 + int.from_bytes(data[:8], "little")
        header = json.loads(data[8:start])
        tensors: dict[str, Array] = {}
        for name, on_disk in names.items():
            entry = header[on_disk]
            if entry["dtype"] not in _DTYPES:
                raise CheckpointError(f"{path}: {on_disk} is {entry['dtype']}; readable: {', '.join(_DTYPES)}")
            begin, end = entry["data_offsets"]
            raw = np.frombuffer(data[start + begin : start + end], _DTYPES[entry["dtype"]])
            wide = (raw.astype("<u4") << 16).view("<f4") if entry["dtype"] == "BF16" else raw.astype(np.float32)
            tensors[name] = wide.reshape(entry["shape"])
    return tensors


def write_weights(
    folder: Path, config: ModelConfig, tensors: Mapping[str, Any], save_file: Callable[..., None] = numpy_save_file
) -> None:
    """Write `config.json` and `model.safetensors` so that transformers loads them as they are.

    Each file is flushed to the disk and appears whole or not at all, so a failed save leaves an older one alone.

    Args:
        folder: made if it is not there.
        config: the model's shape.
        tensors: arrays or torch tensors with the names and shapes of `config.tensor_specs()`, in the dtype to be kept.
        save_file: safetensors' own, of `safetensors.torch` when the tensors are torch's.

    Raises CheckpointError for tensors that do not fit the config, are not finite, or cannot be written.

    """
    specs, hf_config = config.tensor_specs(), config.to_hf()
    shapes = {spec.name: spec.shape for spec in specs}
    wrong = [n for n in shapes.keys() | tensors.keys() if n not in tensors or tuple(tensors[n].shape) != shapes.get(n)]
    if wrong:
        raise CheckpointError(f"these tensors do not match the config: {', '.join(sorted(wrong)[:4])}")
    for name in shapes:
        if not math.isfinite(abs(tensors[name]).max()):
            raise CheckpointError(
                f"{name} holds values that are not finite as {tensors[name].dtype}: nothing is written"
            )
    partial = folder / "model.safetensors.tmp"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        on_disk = {spec.hf_name: tensors[spec.name] for spec in specs}
        save_file(on_disk, partial, metadata={"format": "pt"})
        partial.chmod(0o644)  # the library makes it readable by its owner only
        flush(partial)
        partial.replace(folder / "model.safetensors")
        dtype = str(tensors["wte.weight"].dtype).removeprefix("torch.")
        write_json(folder / "config.json", hf_config | {"dtype": dtype})
    except (SafetensorError, OSError) as error:
        with suppress(OSError):
            partial.unlink()
        raise CheckpointError(f"cannot write a checkpoint to {folder}: {error}") from None
