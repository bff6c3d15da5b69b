"""Checkpoint files of other projects: opened lazily, so that each tensor is read when it is needed.

safetensors files need no torch. Files pickled by torch are read with `weights_only=True`, which builds tensors and
basic Python values and runs no code. Either may be split into shards that an index file lists.
"""

import re
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.checkpoint.tensor_file import Array, LazyTensor, open_tensor_file
from inkhorn.errors import CheckpointError
from inkhorn.utils.files import read_json

FILES = ("model.safetensors", "pytorch_model.bin", "ckpt.pt")
"""names of a folder's weights, in order of preference; the first two may be shards with an index"""
_DTYPE_OF_TORCH = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_STATE_KEYS = ("model", "state_dict", "model_state_dict")
_MAX_NESTING = 4  # a dictionary may contain itself
_PREFIXES = ("_orig_mod.", "module.")  # left by torch.compile and by DistributedDataParallel


@dataclass(frozen=True)
class SourceCheckpoint:
    """An open checkpoint of another project."""

    path: Path  # the file, or the index of its shards
    tensors: dict[str, LazyTensor]  # by name, without the prefixes of torch.compile and DistributedDataParallel
    inkhorn_config: dict[str, Any] | None = None  # ModelConfig's fields, in a state dict of `inkhorn export`
    extras: dict[str, Any] = field(default_factory=dict)  # what a pickle holds besides, such as nanoGPT's `model_args`


def open_source(path: Path) -> SourceCheckpoint:
    """Open a file, or the weights in a folder.

    Raises:
        CheckpointError: it does not exist, is incomplete, or holds more than tensors and basic Python values.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist")
    if path.is_dir():
        path = _find_weights(path)
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    return _open_file(path)


def _find_weights(folder: Path) -> Path:
    for name in FILES:
        for candidate in (folder / name, folder / f"{name}.index.json"):
            if candidate.is_file():
                return candidate
    known = f"{', '.join(FILES)}, or an index of shards such as {FILES[0]}.index.json"
    raise CheckpointError(f"{folder} contains no weights: looked for {known}")


def _open_shards(index: Path) -> SourceCheckpoint:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in weight_map.values()
    ):
        raise CheckpointError(f"{index} has no weight_map from tensors to files in its folder")
    missing = sorted(name for name in set(weight_map.values()) if not (index.parent / name).is_file())
    if missing:
        raise CheckpointError(f"{index} lists {len(missing)} files that do not exist: {', '.join(missing[:4])}")
    shards = {name: _open_file(index.parent / name).tensors for name in sorted(set(weight_map.values()))}
    lost = sorted(tensor for tensor, name in weight_map.items() if _without_prefix(tensor) not in shards[name])
    if lost:
        raise CheckpointError(f"{index.parent / weight_map[lost[0]]} has no {lost[0]}, which {index.name} lists")
    tensors = {_without_prefix(tensor): shards[name][_without_prefix(tensor)] for tensor, name in weight_map.items()}
    return SourceCheckpoint(index, tensors)


def _open_file(path: Path) -> SourceCheckpoint:
    if path.suffix == ".safetensors":
        tensors = open_tensor_file(path).tensors
        return SourceCheckpoint(path, {_without_prefix(name): tensor for name, tensor in tensors.items()})
    return _open_pickle(path)


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _open_pickle(path: Path) -> SourceCheckpoint:
    """A state dict saved by torch: alone, or as `model` or `state_dict` of a training checkpoint."""
    import pickle

    import torch

    try:
        try:  # memory-mapped, so that an optimizer state in the same file is never read
            with warnings.catch_warnings():  # torch's own loader uses its deprecated TypedStorage for quantized tensors
                warnings.filterwarnings("ignore", "TypedStorage is deprecated")
                found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # torch's file format before 1.6 cannot be mapped
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # Only the name is quoted: the rest of torch's message explains how to load the file unsafely.
        wants = re.search(r"GLOBAL ([\w.]+)", str(error))
        what = f"would run code when it is loaded ({wants[1]})" if wants else "was not written by torch"
        raise CheckpointError(
            f"{path} {what}: only tensors and basic Python values are read. Where the model can be loaded, save "
            "its state dict alone: torch.save(model.state_dict(), FILE)"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"cannot read {path}: {str(error).partition(chr(10))[0]}") from None
    state, extras = _state_dict(found, path)
    tensors = {}
    for name, tensor in state.items():
        dtype = _DTYPE_OF_TORCH.get(str(tensor.dtype).removeprefix("torch."), str(tensor.dtype))
        tensors[_without_prefix(name)] = LazyTensor(tuple(tensor.shape), dtype, partial(_to_numpy, tensor, name, path))
    return SourceCheckpoint(path, tensors, _config_in_metadata(state), extras)


def _state_dict(found: Any, path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    import torch

    extras: dict[str, Any] = {}
    for _ in range(_MAX_NESTING):
        if not isinstance(found, Mapping):
            break
        key = next((key for key in _STATE_KEYS if isinstance(found.get(key), Mapping)), None)
        if key is None:
            if found and all(isinstance(k, str) and isinstance(v, torch.Tensor) for k, v in found.items()):
                return found, extras
            break
        extras = extras or {name: found[name] for name in found if name != key}
        found = found[key]
    raise CheckpointError(
        f"{path} contains no state dict: expected tensors by name, or an entry 'model' or 'state_dict'"
    )


def _config_in_metadata(state: Mapping[str, Any]) -> dict[str, Any] | None:
    """The config that `inkhorn export --state-dict` adds to the metadata of torch's state dicts."""
    metadata = getattr(state, "_metadata", None)
    root = metadata.get("") if isinstance(metadata, Mapping) else None
    config = root.get("inkhorn_config") if isinstance(root, Mapping) else None
    return dict(config) if isinstance(config, Mapping) else None


def _to_numpy(tensor: Any, name: str, path: Path) -> Array:
    import torch

    dtype = str(tensor.dtype).removeprefix("torch.")
    if tensor.layout != torch.strided or tensor.is_meta or dtype not in _DTYPE_OF_TORCH:
        kind = "a tensor without values" if tensor.is_meta else dtype if tensor.layout == torch.strided else "sparse"
        raise CheckpointError(f"{path}: {name} is {kind}; supported: {', '.join(_DTYPE_OF_TORCH)}")
    array: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
    return array


class TensorMapper:
    """Looks up the tensors of a source checkpoint without `prefix`, and reports those that are missing or unused."""

    def __init__(self, source: SourceCheckpoint, prefix: str = "") -> None:
        self.path = source.path
        self.tensors = {name.removeprefix(prefix): tensor for name, tensor in source.tensors.items()}
        self._used: set[str] = set()

    def __getitem__(self, name: str) -> LazyTensor:
        found = self.get(name)
        if found is None:
            raise CheckpointError(f"{self.path} is incomplete: it has no {name}")
        return found

    def get(self, name: str) -> LazyTensor | None:
        """A tensor that may be missing."""
        self._used.add(name)
        return self.tensors.get(name)

    def count(self, pattern: str) -> int:
        """How many different values the group of a pattern has among the names, such as the number of layers."""
        return len({match[1] for name in self.tensors if (match := re.match(pattern, name))})

    def lazy(self, name: str, shape: tuple[int, ...], *, transposed: bool = False) -> Callable[[], Array]:
        """A function that reads a tensor of this shape, after transposing; zeros for a bias that is missing."""
        found = self.get(name) if name.endswith("bias") else self[name]
        if found is None:
            return lambda: np.zeros(shape, np.float32)
        if found.shape != (shape[::-1] if transposed else shape):
            raise CheckpointError(f"{self.path}: {name} has shape {list(found.shape)}, not {list(shape)}")
        return (lambda: found.read().T) if transposed else found.read

    def linear(self, name: str, source_name: str, shape: tuple[int, int]) -> dict[str, Callable[[], Array]]:
        """The [in, out] weight and the bias of a linear layer, from an `nn.Linear`."""
        weight = self.lazy(f"{source_name}.weight", shape, transposed=True)
        return {f"{name}.weight": weight, f"{name}.bias": self.lazy(f"{source_name}.bias", shape[1:])}

    def norm(self, name: str, source_name: str, width: int) -> dict[str, Callable[[], Array]]:
        """The weight and the bias of a LayerNorm."""
        return {f"{name}.{kind}": self.lazy(f"{source_name}.{kind}", (width,)) for kind in ("weight", "bias")}

    def assert_all_used(self, buffers: str) -> None:
        """Raise CheckpointError if there are tensors that were not looked up and are not buffers, by pattern."""
        unused = sorted(name for name in self.tensors.keys() - self._used if not re.fullmatch(buffers, name))
        if unused:
            raise CheckpointError(f"{self.path} has tensors that do not belong to its format: {', '.join(unused[:4])}")
