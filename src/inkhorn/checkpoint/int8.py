"""Checkpoints with weights of eight bits: a quarter of the size, for the snapshots that a training run keeps.

Each matrix is an integer tensor NAME and a tensor NAME.scale that broadcasts to it: a scale for each output of a layer,
and for each row of an embedding. A weight is its integer times the scale, and at most half a scale from the original.
Biases and norms stay float32. Everything that reads `model.safetensors` through `read_weights` reads these files.
"""

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from inkhorn.checkpoint.tensor_file import Array, LazyTensor, TensorFile, write_tensor_file
from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError
from inkhorn.utils.files import write_json

SCALE = ".scale"
LARGEST = 127


def quantize(weights: Array, axis: int) -> tuple[Array, Array]:
    """Integers from -127 to 127, and the scale of each slice along the other axis, for a matrix.

    Args:
        weights: (n, m).
        axis: the axis whose weights share a scale.

    Raises:
        CheckpointError: the weights are not finite.
    """
    largest = np.abs(weights).max(axis, keepdims=True)
    if not np.isfinite(largest).all():
        raise CheckpointError("the weights are not finite: nothing is written")
    scale = np.maximum(largest / LARGEST, np.finfo(np.float32).tiny).astype(np.float32)
    return np.rint(weights / scale).astype(np.int8), scale


def write_int8(folder: Path, config: ModelConfig, tensors: Mapping[str, Callable[[], Array]]) -> None:
    """Write `model.safetensors` and `config.json`.

    Args:
        folder: it must exist.
        config: the model's config.
        tensors: as for `checkpoint.weights.write_weights`.
    """
    stored: dict[str, LazyTensor] = {}
    for spec in config.tensor_specs():
        weights = tensors[spec.name]()
        if len(spec.shape) == 1:
            stored[spec.hf_name] = LazyTensor.of(weights)
            continue
        integers, scale = quantize(weights, 0 if spec.is_linear else 1)
        stored[spec.hf_name], stored[spec.hf_name + SCALE] = LazyTensor.of(integers), LazyTensor.of(scale)
    write_tensor_file(folder / "model.safetensors", stored, {"format": "inkhorn-int8"})
    write_json(folder / "config.json", config.to_hf() | {"dtype": "float32"})


def dequantized(file: TensorFile) -> Mapping[str, LazyTensor]:
    """The tensors of a file, those of eight bits as float32."""
    found = dict(file.tensors)
    for name, tensor in file.tensors.items():
        if tensor.dtype == "I8" and name + SCALE in found:
            scale = found.pop(name + SCALE)
            found[name] = LazyTensor(tensor.shape, "F32", partial(_dequantize, file, name, scale))
    return found


def _dequantize(file: TensorFile, name: str, scale: LazyTensor) -> Array:
    try:
        weights: Array = file.read_int8(name) * scale.read()
    except ValueError:
        weights = np.empty(0)
    if weights.shape != file.tensors[name].shape:
        raise CheckpointError(f"{file.path}: {name}{SCALE} has shape {list(scale.shape)}, which does not fit {name}")
    return weights
