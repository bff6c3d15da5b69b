"""The reader and the writer of safetensors files: lazy, with one tensor in memory at a time.

A safetensors file is eight bytes with the length of a JSON header, the header, and the tensors' bytes one after the
other (https://huggingface.co/docs/safetensors).
"""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from inkhorn.errors import CheckpointError
from inkhorn.utils.files import atomic_write

Array = np.ndarray[Any, Any]

FLOATS = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""NumPy's dtype for each float type that is read; NumPy has no bfloat16, which is the upper half of a float32"""
_DTYPES = FLOATS | {"I8": "<i1", "U8": "<u1"}
_NAMES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}


@dataclass(frozen=True)
class LazyTensor:
    """A tensor that is read when it is needed."""

    shape: tuple[int, ...]  # its shape
    dtype: str  # its type as safetensors names it: F32, F16, BF16,
    read: Callable[[], Array]  # returns the values; bfloat16 as float32

    @classmethod
    def of(cls, array: Array) -> "LazyTensor":
        """An array that is in memory already."""
        dtype = next(name for name, kind in _DTYPES.items() if name != "BF16" and np.dtype(kind) == array.dtype)
        return cls(array.shape, dtype, lambda: array)


@dataclass(frozen=True)
class TensorFile:
    """An open safetensors file."""

    path: Path  # the file
    metadata: Mapping[str, str]  # its free-form metadata
    tensors: Mapping[str, LazyTensor]  # by name
    offsets: Mapping[str, int]  # offset of each tensor's data from the start of the file

    def read_int8(self, name: str) -> Array:
        """The integers of a tensor of type I8."""
        return _read_raw(self.path, name, "I8", self.tensors[name].shape, self.offsets[name])


def open_tensor_file(path: Path) -> TensorFile:
    """Read a file's header.

    Raises:
        CheckpointError: the file cannot be read, or its header and its length do not agree.
    """
    try:
        with safe_open(path, framework="numpy") as file:  # the library validates the header
            names, metadata = list(file.keys()), file.metadata() or {}
        with path.open("rb") as raw:
            start = 8 + int.from_bytes(raw.read(8), "little")
            header = json.loads(raw.read(start - 8))
    except (SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged or not a safetensors file: {error}") from None
    tensors, offsets = {}, {}
    for name in names:
        shape, dtype = tuple(header[name]["shape"]), str(header[name]["dtype"])
        offsets[name] = start + header[name]["data_offsets"][0]
        tensors[name] = LazyTensor(shape, dtype, partial(_read, path, name, dtype, shape, offsets[name]))
    return TensorFile(path, metadata, tensors, offsets)


def _read(path: Path, name: str, dtype: str, shape: tuple[int, ...], offset: int) -> Array:
    if dtype not in FLOATS:
        raise CheckpointError(f"{path}: {name} is {dtype}; supported: {', '.join(FLOATS)}")
    raw = _read_raw(path, name, dtype, shape, offset)
    return (raw.astype("<u4") << 16).view("<f4") if dtype == "BF16" else raw


def _read_raw(path: Path, name: str, dtype: str, shape: tuple[int, ...], offset: int) -> Array:
    try:
        return np.fromfile(path, _DTYPES[dtype], math.prod(shape), offset=offset).reshape(shape)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"cannot read {name} from {path}: {error}") from None


def write_tensor_file(
    path: Path, tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str], alignment: int = 8
) -> None:
    """Write a file atomically. Tensors with larger elements come first, so that each is aligned to its element size.

    Args:
        path: the file; its folder is created.
        tensors: by name. Their values are converted to their dtype; for BF16 they must be bfloat16 values in float32.
        metadata: free-form metadata.
        alignment: the first tensor's offset is a multiple of this.

    Raises:
        CheckpointError: a tensor has another shape than announced, or values that are not finite in its dtype.
        OSError: the file cannot be written.
    """
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        file.writelines(file_content(tensors, metadata, alignment))


def file_content(
    tensors: Mapping[str, LazyTensor], metadata: Mapping[str, str], alignment: int = 8
) -> Iterator[bytes | memoryview]:
    """The bytes of the file that `write_tensor_file` writes: the header, then each tensor."""
    ordered = sorted(tensors.items(), key=lambda item: -np.dtype(_DTYPES[item[1].dtype]).itemsize)  # stable
    header: dict[str, Any] = {"__metadata__": dict(metadata)}
    end = 0
    for name, tensor in ordered:
        begin, end = end, end + math.prod(tensor.shape) * np.dtype(_DTYPES[tensor.dtype]).itemsize
        header[name] = {"dtype": tensor.dtype, "shape": list(tensor.shape), "data_offsets": [begin, end]}
    encoded = json.dumps(header, separators=(",", ":")).encode()
    encoded += b" " * (-(8 + len(encoded)) % alignment)
    yield len(encoded).to_bytes(8, "little") + encoded
    for name, tensor in ordered:
        array = tensor.read()
        if array.shape != tensor.shape:
            raise CheckpointError(f"{name} has shape {list(array.shape)}, expected {list(tensor.shape)}")
        yield _encode(array, tensor.dtype, name).reshape(-1).view(np.uint8).data


def _encode(array: Array, dtype: str, name: str) -> Array:
    """The values as stored; CheckpointError if they are not finite there."""
    if dtype not in FLOATS:
        return np.ascontiguousarray(array, _DTYPES[dtype])
    with np.errstate(over="ignore"):
        values = np.ascontiguousarray(array, "<f4" if dtype == "BF16" else FLOATS[dtype])
    if not np.isfinite(values).all():
        raise CheckpointError(f"{name} holds values that are not finite as {_NAMES[dtype]}: nothing is written")
    return (values.view("<u4") >> 16).astype("<u2") if dtype == "BF16" else values
