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

_GPT1_NAMES = {"wte.weight": "tokens_embed.weight", "wpe.weight": "positions_embed.weight"}

_CAUSAL_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # buffers, not weights, in old files of OpenAI's models

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def tensor_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Every tensor of a model of this shape, in reading order; a tied head is not listed apart from `wte.weight`."""
    c, inner = config.n_embd, config.inner
    shapes: dict[str, tuple[int, ...]] = {"wte.weight": (config.vocab_size, c), "wpe.weight": (config.block_size, c)}
    for i in range(config.n_layer):
        block = {
            "ln_1.weight": (c,),
            "ln_1.bias": (c,),
            "attn.c_attn.weight": (c, 3 * c),
            "attn.c_attn.bias": (3 * c,),
            "attn.c_proj.weight": (c, c),
            "attn.c_proj.bias": (c,),
            "ln_2.weight": (c,),
            "ln_2.bias": (c,),
            "mlp.c_fc.weight": (c, inner),
            "mlp.c_fc.bias": (inner,),
            "mlp.c_proj.weight": (inner, c),
            "mlp.c_proj.bias": (c,),
        }
        shapes |= {f"h.{i}.{name}": shape for name, shape in block.items()}
    if config.pre_norm:
        shapes |= {"ln_f.weight": (c,), "ln_f.bias": (c,)}
    if not config.tie_word_embeddings:
        shapes["lm_head.weight"] = (config.vocab_size, c)
    return shapes


def disk_name(name: str, config: ModelConfig) -> str:
    """The name of a tensor in `model.safetensors`."""
    if name == "lm_head.weight":
        return name
    return "transformer." + (name if config.pre_norm else _GPT1_NAMES.get(name, name))


def read_config(folder: Path) -> ModelConfig:
    """Read the folder's `config.json`."""
    return ModelConfig.from_hf(read_json(folder / "config.json"))


def read_weights(folder: Path, config: ModelConfig) -> dict[str, Array]:
    """Read `model.safetensors` as float32, named and shaped as `tensor_shapes(config)` says.

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
    known = tensor_shapes(config)
    names = match_names(set(found), known, config, path)
    for name, shape in known.items():
        if found[names[name]] != shape:
            raise CheckpointError(
                f"{path} does not match config.json: {names[name]} has shape {list(found[names[name]])}, "
                f"the config asks for {list(shape)}"
            )
    return _read_float32(path, names)


def match_names(found: set[str], known: Mapping[str, Any], config: ModelConfig, path: Path) -> dict[str, str]:
    """Map each known name to the file's name for it, with or without the prefix."""
    prefix = "transformer."
    bare = {name.removeprefix(prefix): name for name in found}
    twice = sorted(name for name in found if prefix + name in found)
    if twice:
        raise CheckpointError(f"{path} holds {', '.join(twice[:4])} both with and without the prefix {prefix!r}")
    names = {}
    for name in known:
        on_disk = bare.pop(disk_name(name, config).removeprefix(prefix), None)
        if on_disk is None:
            raise CheckpointError(f"{path} does not match config.json: it has no {disk_name(name, config)}")
        names[name] = on_disk
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
        tensors: arrays or torch tensors with the names and shapes of `tensor_shapes(config)`, in the dtype to be kept.
        save_file: safetensors' own, of `safetensors.torch` when the tensors are torch's.

    Raises CheckpointError for tensors that do not fit the config, are not finite, or cannot be written.

    """
    shapes, hf_config = tensor_shapes(config), config.to_hf()
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
        on_disk = {disk_name(name, config): tensors[name] for name in shapes}
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
