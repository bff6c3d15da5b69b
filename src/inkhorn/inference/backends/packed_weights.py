"""A model in the kernel's layout: rounded or quantised once, kept in memory or in a file that is mapped as it is.

The file is `packed.safetensors`: one tensor of bytes, with what it is in the metadata, beginning on a cache line.
"""

import ctypes
import mmap
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from inkhorn.checkpoint.tensor_file import Array, LazyTensor, open_tensor_file, write_tensor_file
from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import DEFAULT, GROUPS, PRECISIONS
from inkhorn.errors import CheckpointError, UsageError, nearest
from inkhorn.inference.backends.native_bindings import ABI, InkConfig, check, library

FILE = "packed.safetensors"

_ACTIVATIONS = ("gelu_new", "gelu", "relu")

_PAGE = 4096


def shape_of(config: ModelConfig, quantize: str, group: int) -> InkConfig:
    """The kernel's configuration of a model."""
    same = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "tie_word_embeddings", "layer_norm_epsilon")
    return InkConfig(
        **{name: getattr(config, name) for name in same},
        n_inner=config.inner,
        pre_norm=config.pre_norm,
        activation=_ACTIVATIONS.index(config.activation_function),
        precision=PRECISIONS.index(quantize),
        group_size=group,
    )


class Packed:
    """A model that the kernel can run.

    Args:
        config: its shape.
        quantize: how the weights are kept: fp32, bf16, int8 or int4.
        group: inputs that share a scale.
        data: the packed bytes, from a page's beginning.

    Raises CheckpointError if the bytes are not a packed model of this shape.

    """

    def __init__(self, config: ModelConfig, quantize: str, group: int, data: Array) -> None:
        self.config, self.quantize, self.group, self.data = config, quantize, group, data
        self.shape, self.handle = shape_of(config, quantize, group), ctypes.c_void_p()
        self._close = library().ink_model_close
        try:
            check(library().ink_model_open(self.shape, data.ctypes.data, data.nbytes, ctypes.byref(self.handle)))
        except ValueError as error:
            raise CheckpointError(f"the packed weights cannot be used: {error}") from None

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self._close(self.handle)


def require_precision(quantize: str) -> None:
    """UsageError unless weights can be kept so."""
    if quantize not in PRECISIONS:
        raise UsageError(f"weights cannot be kept as {quantize!r}: {nearest(quantize, PRECISIONS)}")


def pack(config: ModelConfig, weights: Mapping[str, Array], quantize: str, group: int | None = None) -> Packed:
    """Round or quantise float32 tensors.

    Args:
        config: the shape.
        weights: as `weights.read_weights` gives them.
        quantize: fp32, bf16, int8 or int4.
        group: inputs that share a scale: 0 for all, 32, 64 or 128; by default what GROUPS says.

    Raises CheckpointError for weights that are not finite, UsageError for an unknown precision.

    """
    require_precision(quantize)
    group = GROUPS.get(quantize, 0) if group is None else group
    lib, shape = library(), shape_of(config, quantize, group)
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
    return Packed(config, quantize, group, data)


def _pages(size: int) -> Array:
    """Zeros on pages of their own: large pages where the system has them, which spares a large model its page walks."""
    try:  # private: what is shared between processes gets no large pages
        pages = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        pages.madvise(mmap.MADV_HUGEPAGE)
    except (AttributeError, OSError):  # not Linux, or built without them
        pages = mmap.mmap(-1, size)
    return np.frombuffer(pages, np.uint8, size)


def load_packed(folder: Path, quantize: str | None = None) -> Packed:
    """A checkpoint folder's weights in the kernel's layout: from its packed file, if it has one of the precision asked
    for, else packed now. CheckpointError says what is wrong with the folder."""
    if quantize is not None:
        require_precision(quantize)
    config, path = read_config(folder), folder / FILE
    if path.is_file():
        saved = _read_header(path)
        if quantize in (None, saved.quantize):
            return _map(path, config, saved)
        if not (folder / "model.safetensors").is_file():
            raise UsageError(f"{folder} holds weights packed as {saved.quantize} only: they cannot become {quantize}")
    return pack(config, read_weights(folder, config), quantize or DEFAULT)


@dataclass(frozen=True)
class _Saved:
    """What the header of a packed file says."""

    quantize: str
    group: int
    crc32: int
    start: int
    size: int


def save_packed(packed: Packed, folder: Path) -> Path:
    """Write the packed weights into a folder, whole or not at all; returns the file."""
    metadata = {
        "format": "inkhorn-packed",
        "abi": str(ABI),
        "quantize": packed.quantize,
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
    """What a packed file says that it holds; CheckpointError if that cannot be."""
    again = "export it again with inkhorn export --quantize"
    try:
        file = open_tensor_file(path)
        if (
            file.metadata["format"] != "inkhorn-packed"
            or list(file.tensors) != ["packed"]
            or file.offsets["packed"] % _PAGE
        ):
            raise ValueError("its header is not that of a packed model")
        group, crc32, abi = (int(file.metadata[name]) for name in ("group", "crc32", "abi"))
        (size,) = file.tensors["packed"].shape
        saved = _Saved(file.metadata["quantize"], group, crc32, file.offsets["packed"], size)
    except CheckpointError as error:
        raise CheckpointError(f"{error}: {again}") from None
    except (ValueError, KeyError) as error:
        raise CheckpointError(f"{path} is not a whole packed model ({error}): {again}") from None
    if abi != ABI:
        raise CheckpointError(f"{path} was packed for another version of the kernel ({abi}, not {ABI}): {again}")
    if saved.quantize not in PRECISIONS or saved.group not in (0, 32, 64, 128):
        raise CheckpointError(f"{path} keeps weights as {saved.quantize} in groups of {saved.group}: {again}")
    return saved


def _map(path: Path, config: ModelConfig, saved: _Saved) -> Packed:
    """The file's bytes as they lie there: read as they are needed, and shared by all who run the model."""
    data = np.memmap(path, np.uint8, "r", saved.start, (saved.size,))
    if _checksum(data) != saved.crc32:
        raise CheckpointError(f"{path} is damaged: its checksum is not what it was when the file was written")
    try:
        return Packed(config, saved.quantize, saved.group, data)
    except CheckpointError as error:
        raise CheckpointError(f"{path} does not match config.json: {error}") from None
