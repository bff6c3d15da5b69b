"""Files of tensors, whoever wrote them: opened without reading them, so that each tensor comes in when it is asked for.

safetensors files are mapped, and need no torch. What torch has pickled is read with `weights_only=True`, which builds
tensors and plain values and runs no code. Either may be cut into shards that an index file lists.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from inkhorn.errors import CheckpointError
from inkhorn.utils.files import read_json

Array = np.ndarray[Any, Any]
Recipe = Callable[[], Array]

FILES = ("model.safetensors", "pytorch_model.bin", "ckpt.pt")
"""what a folder's weights may be called, the first that is there; the first two may be shards under an index"""
_NUMPY = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
_DTYPE_OF_TORCH = {"float64": "F64", "float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_PREFIXES = ("_orig_mod.", "module.")  # left by torch.compile and by DistributedDataParallel


@dataclass(frozen=True)
class Stored:
    """A tensor that still lies in its file.

    Attributes:
        shape: its sizes.
        dtype: safetensors' name of its numbers: F32, F16, BF16, F64; another for what is no weight.
        read: brings it in, as float64, float32 or float16; bfloat16, which NumPy lacks, as float32.

    """

    shape: tuple[int, ...]
    dtype: str
    read: Callable[[], Array]


@dataclass(frozen=True)
class Foreign:
    """A checkpoint of others, opened.

    Attributes:
        path: the file, or the index of several.
        tensors: by their names there, without what torch's wrappers put in front.
        extras: what a pickle holds beside them, such as nanoGPT's `model_args`.

    """

    path: Path
    tensors: dict[str, Stored]
    extras: dict[str, Any] = field(default_factory=dict)


def open_foreign(path: Path) -> Foreign:
    """Open a file, or the weights of a folder.

    Raises CheckpointError for what is not there, not whole, or holds more than tensors and plain values.
    """
    if not path.exists():
        raise CheckpointError(f"{path} does not exist")
    if path.is_dir():
        path = _weights_of(path)
    if path.name.endswith(".index.json"):
        return _open_shards(path)
    return _open_file(path)


def _weights_of(folder: Path) -> Path:
    for name in FILES:
        for candidate in (folder / name, folder / f"{name}.index.json"):
            if candidate.is_file():
                return candidate
    known = f"{', '.join(FILES)}, or an index of shards such as {FILES[0]}.index.json"
    raise CheckpointError(f"{folder} holds no weights that are known here: looked for {known}")


def _open_shards(index: Path) -> Foreign:
    """Each tensor from the file that the index says."""
    where = read_json(index).get("weight_map")
    if not isinstance(where, dict) or not all(
        isinstance(name, str) and Path(name).name == name for name in where.values()
    ):
        raise CheckpointError(f"{index} has no weight_map from tensors to files beside it")
    missing = sorted(name for name in set(where.values()) if not (index.parent / name).is_file())
    if missing:
        raise CheckpointError(f"{index} lists {len(missing)} files that are not there: {', '.join(missing[:4])}")
    shards = {name: _open_file(index.parent / name).tensors for name in sorted(set(where.values()))}
    lost = sorted(tensor for tensor, name in where.items() if _bare(tensor) not in shards[name])
    if lost:
        raise CheckpointError(f"{index.parent / where[lost[0]]} lacks {lost[0]}, which {index.name} says is there")
    return Foreign(index, {_bare(tensor): shards[name][_bare(tensor)] for tensor, name in where.items()})


def _open_file(path: Path) -> Foreign:
    if path.suffix == ".safetensors":
        return Foreign(path, {_bare(name): tensor for name, tensor in _open_safetensors(path).items()})
    return _open_pickle(path)


def _bare(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _open_safetensors(path: Path) -> dict[str, Stored]:
    try:
        with safe_open(path, framework="numpy") as file:  # the library checks that header and file agree
            names = list(file.keys())
        with path.open("rb") as raw:
            start = int.from_bytes(raw.read(8), "little")
            header = json.loads(raw.read(start))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a whole safetensors file: {error}") from None
    found = {}
    for name in names:
        shape, dtype = tuple(header[name]["shape"]), str(header[name]["dtype"])
        read = partial(_read_mapped, path, name, dtype, shape, 8 + start + header[name]["data_offsets"][0])
        found[name] = Stored(shape, dtype, read)
    return found


def _read_mapped(path: Path, name: str, dtype: str, shape: tuple[int, ...], offset: int) -> Array:
    if dtype not in _NUMPY:
        raise CheckpointError(f"{path}: {name} is {dtype}; readable: {', '.join(_NUMPY)}")
    if 0 in shape:
        return np.zeros(shape, np.float32)
    raw = np.memmap(path, _NUMPY[dtype], "r", offset, shape)
    return (raw.astype("<u4") << 16).view("<f4") if dtype == "BF16" else raw


def _open_pickle(path: Path) -> Foreign:
    """A state dict as torch saved it: alone, or as `model` or `state_dict` of a training checkpoint."""
    import pickle

    import torch

    try:
        try:  # mapped, so that an optimizer beside the weights is never read
            found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        except RuntimeError:  # torch's file format before 1.6 cannot be mapped
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        wants = re.search(
            r"GLOBAL ([\w.]+)", str(error)
        )  # the rest of torch's message says how to load it all the same
        what = f"would run code when it is loaded ({wants[1]})" if wants else "is no file that torch wrote"
        raise CheckpointError(
            f"{path} {what}: only tensors and plain values are read. Where the model can be loaded, save its state "
            "dict alone: torch.save(model.state_dict(), FILE)"
        ) from None
    except (OSError, RuntimeError, EOFError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(f"cannot read {path}: {str(error).partition(chr(10))[0]}") from None
    state, extras = _state_dict(found, path)
    tensors = {}
    for name, tensor in state.items():
        dtype = _DTYPE_OF_TORCH.get(str(tensor.dtype).removeprefix("torch."), str(tensor.dtype))
        tensors[_bare(name)] = Stored(tuple(tensor.shape), dtype, partial(_to_numpy, tensor))
    return Foreign(path, tensors, extras)


def _state_dict(found: Any, path: Path) -> tuple[Mapping[str, Any], dict[str, Any]]:
    import torch

    if isinstance(found, Mapping):
        for key in ("model", "state_dict", "model_state_dict"):
            if isinstance(found.get(key), Mapping):
                return _state_dict(found[key], path)[0], {name: found[name] for name in found if name != key}
        if found and all(isinstance(tensor, torch.Tensor) for tensor in found.values()):
            return found, {}
    raise CheckpointError(
        f"{path} holds no state dict: neither tensors by name, nor such as its 'model' or 'state_dict'"
    )


def _to_numpy(tensor: Any) -> Array:
    import torch

    array: Array = (tensor.float() if tensor.dtype == torch.bfloat16 else tensor).detach().numpy()
    return array


class Taker:
    """Takes tensors by name, and says what is missing and what was left.

    Args:
        foreign: the checkpoint.
        prefix: left out of the names.

    """

    def __init__(self, foreign: Foreign, prefix: str = "") -> None:
        self.path = foreign.path
        self.left = {name.removeprefix(prefix): tensor for name, tensor in foreign.tensors.items()}
        self._used: set[str] = set()

    def __call__(self, name: str) -> Stored:
        """A tensor that must be there, or CheckpointError."""
        found = self.maybe(name)
        if found is None:
            raise CheckpointError(f"{self.path} is not whole: it has no {name}")
        return found

    def maybe(self, name: str) -> Stored | None:
        """A tensor that may be missing."""
        self._used.add(name)
        return self.left.get(name)

    def count(self, pattern: str) -> int:
        """How many different numbers the names have at the place of the group."""
        return len({match[1] for name in self.left if (match := re.match(pattern, name))})

    def recipe(self, name: str, shape: tuple[int, ...], *, transposed: bool = False) -> Recipe:
        """A tensor of that shape once it is turned; zeros for a bias that the model does without."""
        found = self.maybe(name) if name.endswith("bias") else self(name)
        if found is None:
            return lambda: np.zeros(shape, np.float32)
        if found.shape != (shape[::-1] if transposed else shape):
            raise CheckpointError(f"{self.path}: {name} has shape {list(found.shape)}, not {list(shape)}")
        return (lambda: found.read().T) if transposed else found.read

    def linear(self, ours: str, theirs: str, shape: tuple[int, int]) -> dict[str, Recipe]:
        """A matrix [in, out] of ours and its bias from one of torch's Linear."""
        weight = self.recipe(f"{theirs}.weight", shape, transposed=True)
        return {f"{ours}.weight": weight, f"{ours}.bias": self.recipe(f"{theirs}.bias", shape[1:])}

    def norm(self, ours: str, theirs: str, width: int) -> dict[str, Recipe]:
        """A LayerNorm's gain and bias."""
        return {f"{ours}.{kind}": self.recipe(f"{theirs}.{kind}", (width,)) for kind in ("weight", "bias")}

    def finish(self, buffers: str) -> None:
        """CheckpointError for tensors that nothing took, causal masks apart."""
        odd = sorted(name for name in self.left.keys() - self._used if not re.fullmatch(buffers, name))
        if odd:
            raise CheckpointError(f"{self.path} has tensors that do not belong to its form: {', '.join(odd[:4])}")
