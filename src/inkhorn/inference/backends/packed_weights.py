"""A model in the kernel's layout: rounded or quantized once, and kept in memory or in a memory-mapped file.

The file is `packed.safetensors`: one tensor of bytes that begins on a page, described by the header's metadata.
"""

import ctypes
import hashlib
import mmap
import zlib
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import cast

import numpy as np

from inkhorn.checkpoint.tensor_file import Array, LazyTensor, TensorFile, open_tensor_file, write_tensor_file
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
    if precision not in PRECISIONS:
        raise UsageError(f"unknown precision {precision!r}: {nearest(precision, PRECISIONS)}")


def pack(config: ModelConfig, weights: Mapping[str, Array], precision: Precision, group: int | None = None) -> Packed:
    """Round or quantize float32 tensors.

    Args:
        weights: as `checkpoint.weights.read_weights` returns them.
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
        file = _open(path)
        saved = file.metadata["quantize"]
        if precision in (None, saved):
            return _map(file, config)
        if not (folder / "model.safetensors").is_file():
            raise UsageError(f"{folder} holds weights packed as {saved} only, which cannot be converted to {precision}")
    return pack(config, read_weights(folder, config), precision or DEFAULT_PRECISION)


def save_packed(packed: Packed, folder: Path) -> Path:
    """Write the packed weights into a folder, atomically; returns the file."""
    metadata = {
        "format": "inkhorn-packed",
        "abi": str(ABI),
        "quantize": packed.precision,
        "group": str(packed.group),
        "crc32": str(zlib.crc32(packed.data.data)),
    }
    path = folder / FILE
    try:
        write_tensor_file(path, {"packed": LazyTensor.of(packed.data)}, metadata, alignment=_PAGE)
    except OSError as error:
        raise CheckpointError(f"cannot write {path}: {error}") from None
    return path


def weights_digest(folder: Path) -> str:
    """Eight digits that identify a checkpoint folder's weights."""
    file = next(filter(Path.is_file, (folder / "model.safetensors", folder / FILE)))
    state = file.stat()
    return _digest(file.resolve(), state.st_mtime_ns, state.st_size)


@lru_cache(maxsize=16)
def _digest(file: Path, mtime: int, size: int) -> str:  # noqa: ARG001  (a file that changes is read again)
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()[:8]


def _open(path: Path) -> TensorFile:
    """Open a packed file; raises CheckpointError if its header is not valid."""
    again = "export it again with inkhorn export --quantize"
    try:
        file = open_tensor_file(path)
        is_packed = file.metadata["format"] == "inkhorn-packed" and list(file.tensors) == ["packed"]
        if not is_packed or file.offsets["packed"] % _PAGE or len(file.tensors["packed"].shape) != 1:
            raise ValueError("the header is not that of a packed model")
        group, _, abi = (int(file.metadata[name]) for name in ("group", "crc32", "abi"))
        precision = file.metadata["quantize"]
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {again}") from None
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a valid packed model ({error}): {again}") from None
    if abi != ABI:
        raise CheckpointError(f"{path} was packed for kernel ABI {abi}, not {ABI}: {again}")
    if precision not in PRECISIONS or group not in (0, 32, 64, 128):
        raise CheckpointError(f"{path}: unknown precision {precision} or group size {group}: {again}")
    return file


def _map(file: TensorFile, config: ModelConfig) -> Packed:
    """Map the file into memory: pages are read on demand and shared between processes."""
    data = np.memmap(file.path, np.uint8, "r", file.offsets["packed"], file.tensors["packed"].shape)
    if zlib.crc32(data.data) != int(file.metadata["crc32"]):
        raise CheckpointError(f"{file.path} is corrupt: the checksum does not match")
    try:
        return Packed(config, cast(Precision, file.metadata["quantize"]), int(file.metadata["group"]), data)
    except CheckpointError as error:
        raise CheckpointError(f"{file.path} does not match config.json: {error}") from None
