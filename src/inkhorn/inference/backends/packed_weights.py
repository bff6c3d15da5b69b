"""A model in the kernel's layout: rounded or quantized once, and kept in memory or in a memory-mapped file.

The file is `packed.safetensors`: one tensor of bytes that begins on a page, described by the header's metadata.
"""

import ctypes
import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np

from inkhorn.checkpoint.tensor_file import Array, LazyTensor, open_tensor_file, write_tensor_file
from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import DEFAULT_PRECISION, GROUP_SIZES, PRECISIONS, Precision
from inkhorn.errors import CheckpointError, UsageError, nearest
from inkhorn.inference.backends.native_bindings import ABI, InkConfig, check, library

FILE = "packed.safetensors"

_ACTIVATIONS = ("gelu_new", "gelu", "relu")

_PAGE = 4096


def shape_of(config: ModelConfig, precision: Precision, group: int) -> InkConfig:
    """The kernel's configuration of a model."""
    same = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "tie_word_embeddings", "layer_norm_epsilon")
    return InkConfig(
        **{name: getattr(config, name) for name in same},
        n_inner=config.inner,
        pre_norm=config.pre_norm,
        activation=_ACTIVATIONS.index(config.activation_function),
        precision=PRECISIONS.index(precision),
        group_size=group,
    )


class Packed:
    """A model that the kernel can run.

    Args:
        config: the model's configuration.
        precision: precision of the weights.
        group: inputs that share a scale.
        data: the packed bytes, aligned to a page.

    Raises:
        CheckpointError: the bytes are not a packed model of this configuration.

    """

    def __init__(self, config: ModelConfig, precision: Precision, group: int, data: Array) -> None:
        self.config, self.precision, self.group, self.data = config, precision, group, data
        self.shape, self.handle = shape_of(config, precision, group), ctypes.c_void_p()
        self._close = library().ink_model_close
        try:
            check(library().ink_model_open(self.shape, data.ctypes.data, data.nbytes, ctypes.byref(self.handle)))
        except ValueError as error:
            raise CheckpointError(f"the packed weights are not valid: {error}") from None

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._close(self.handle)


def check_precision(precision: Precision) -> None:
    """Raise UsageError for an unknown precision."""
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: {nearest(precision, PRECISIONS)}")


def pack(config: ModelConfig, weights: Mapping[str, Array], precision: Precision, group: int | None = None) -> Packed:
    """Round or quantize float32 tensors.

    Args:
        config: the model's configuration.
        weights: as `checkpoint.weights.read_weights` returns them.
        precision: precision of the packed weights.
        group: inputs that share a scale: 0 for all, 32, 64 or 128; None: the precision's default, GROUP_SIZES.

    Raises:
        CheckpointError: the weights are not finite.
        UsageError: unknown precision.

    """
    check_precision(precision)
    group = GROUP_SIZES.get(precision, 0) if group is None else group
    lib, shape = library(), shape_of(config, precision, group)
    tensors = [np.ascontiguousarray(weights[spec.name], np.float32) for spec in config.tensor_specs()]
    pointers = np.array([tensor.ctypes.data for tensor in tensors], np.uintp)
    size = lib.ink_model_packed_size(shape)
    if not size:
        raise CheckpointError(f"the kernel cannot run this shape: {lib.ink_last_error().decode()}")
    data = _pages(size)
    try:
        check(lib.ink_model_pack(shape, pointers.ctypes.data, len(tensors), data.ctypes.data))
    except CheckpointError as error:
        raise CheckpointError(f"the model's weights are damaged: {error}") from None
    return Packed(config, precision, group, data)


def _pages(size: int) -> Array:
    """Zeroed memory, on huge pages where the system has them: a large model then needs fewer page-table walks."""
    try:  # private: shared memory gets no huge pages
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(mmap.MADV_HUGEPAGE)
    except (AttributeError, OSError):  # not Linux, or a kernel without them
        pages = mmap.mmap(-1, size)
    return np.frombuffer(pages, np.uint8, size)


def load_packed(folder: Path, precision: Precision | None = None) -> Packed:
    """Load a checkpoint folder's packed file if it has one of this precision, otherwise pack its weights.

    Raises:
        CheckpointError: the folder is not valid.
        UsageError: the folder holds packed weights of another precision only.

    """
    if precision is not None:
        check_precision(precision)
    config, path = read_config(folder), folder / FILE
    if path.is_file():
        saved = _read_header(path)
        if precision in (None, saved.precision):
            return _map(path, config, saved)
        if not (folder / "model.safetensors").is_file():
            raise UsageError(
                f"{folder} holds weights packed as {saved.precision} only, which cannot be converted to {precision}"
            )
    return pack(config, read_weights(folder, config), precision or DEFAULT_PRECISION)


@dataclass(frozen=True)
class _Saved:
    """The header of a packed file."""

    precision: Precision
    group: int
    crc32: int
    start: int
    size: int


def save_packed(packed: Packed, folder: Path) -> Path:
    """Write the packed weights into a folder, atomically; returns the file."""
    metadata = {
        "format": "inkhorn-packed",
        "abi": str(ABI),
        "quantize": packed.precision,
        "group": str(packed.group),
        "crc32": str(_checksum(packed.data)),
    }
    path = folder / FILE
    try:
        write_tensor_file(path, {"packed": LazyTensor.of(packed.data)}, metadata, alignment=_PAGE)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from None
    return path


def _checksum(data: Array) -> int:
    return zlib.crc32(data.data)


def _read_header(path: Path) -> _Saved:
    """Read the header of a packed file; raises CheckpointError if it is not valid."""
    again = "export it again with inkhorn export --quantize"
    try:
        file = open_tensor_file(path)
        if (
            file.metadata["format"] != "inkhorn-packed"
            or list(file.tensors) != ["packed"]
            or file.offsets["packed"] % _PAGE
        ):
            raise ValueError("the header is not that of a packed model")
        group, crc32, abi = (int(file.metadata[name]) for name in ("group", "crc32", "abi"))
        (size,) = file.tensors["packed"].shape
        saved = _Saved(cast(Precision, file.metadata["quantize"]), group, crc32, file.offsets["packed"], size)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {again}") from None
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a valid packed model ({error}): {again}") from None
    if abi != ABI:
        raise CheckpointError(f"{path} was packed for kernel ABI {abi}, not {ABI}: {again}")
    if saved.precision not in PRECISIONS or saved.group not in (0, 32, 64, 128):
        raise CheckpointError(f"{path}: unknown precision {saved.precision} or group size {saved.group}: {again}")
    return saved


def _map(path: Path, config: ModelConfig, saved: _Saved) -> Packed:
    """Map the file into memory: pages are read on demand and shared between processes."""
    data = np.memmap(path, np.uint8, "r", saved.start, (saved.size,))
    if _checksum(data) != saved.crc32:
        raise CheckpointError(f"{path} is corrupt: the checksum does not match")
    try:
        return Packed(config, saved.precision, saved.group, data)
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not match config.json: {error}") from None
