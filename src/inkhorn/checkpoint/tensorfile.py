"""A checkpoint folder's weights written tensor by tensor: a model may be larger than the memory that is free.

A `model.safetensors` is eight bytes for the length of a JSON header, the header, and the numbers one after the other.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError
from inkhorn.utils.files import flush, write_json

Array = np.ndarray[Any, Any]

_BYTES = {"F32": 4, "F16": 2, "BF16": 2}
_NAMES = {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}


def stream_weights(folder: Path, config: ModelConfig, tensors: Mapping[str, Callable[[], Array]], dtype: str) -> Path:
    """Write `config.json` and `model.safetensors`, holding one tensor in memory at a time; returns the latter's path.

    Args:
        folder: made if it is not there.
        config: the model's shape.
        tensors: what makes each tensor of `config.tensor_specs()`.
        dtype: F32, F16, or BF16, for which tensors must be bfloat16's values already.

    Raises CheckpointError for tensors that do not fit the config, are not finite as `dtype`, or cannot be written.

    """
    specs, hf_config = config.tensor_specs(), config.to_hf()
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for spec in specs:
        start, end = end, end + _BYTES[dtype] * spec.size
        header[spec.hf_name] = {"dtype": dtype, "shape": list(spec.shape), "data_offsets": [start, end]}
    spelled = json.dumps(header, separators=(",", ":")).encode()
    spelled += b" " * (-len(spelled) % 8)  # the numbers begin at a multiple of eight
    path = folder / "model.safetensors"
    partial = path.with_name(path.name + ".tmp")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file:
            file.write(len(spelled).to_bytes(8, "little") + spelled)
            for spec in specs:
                array = tensors[spec.name]()
                if array.shape != spec.shape:
                    shapes = f"{list(array.shape)}, the model asks for {list(spec.shape)}"
                    raise CheckpointError(f"{spec.name} has shape {shapes}")
                file.write(_rounded(array, dtype, spec.name).data)
        flush(partial)
        partial.replace(path)
        write_json(folder / "config.json", hf_config | {"dtype": _NAMES[dtype]})
    except OSError as error:
        raise CheckpointError(f"cannot write a checkpoint to {folder}: {error}") from None
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
    return path


def _rounded(array: Array, dtype: str, name: str) -> Array:
    """The numbers as they lie in the file; CheckpointError if they are not finite there."""
    narrow = np.ascontiguousarray(array, "<f2" if dtype == "F16" else "<f4")
    if not np.isfinite(narrow).all():
        raise CheckpointError(f"{name} holds values that are not finite as {_NAMES[dtype]}: nothing is written")
    return np.ascontiguousarray((narrow.view("<u4") >> 16).astype("<u2")) if dtype == "BF16" else narrow
