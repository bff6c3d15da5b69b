"""The kernel's face in Python: `native/inkhorn.h` through ctypes, and the backend that runs on it.

The library is built when the package is installed; where no compiler was there it is missing, `why_not` says so, and
NumPy serves. INKHORN_ISA picks an instruction path (avx512, avx2, plain) other than the best.
"""

import ctypes
import mmap
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from inkhorn.config import ModelConfig, nearest
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.runtime.backend import Result, TokenLogprobs, Work
from inkhorn.runtime.sampling import Sampler
from inkhorn.weights import read_config, read_weights, tensor_shapes

Array = np.ndarray[Any, Any]

ABI = 1
PRECISIONS = ("fp32", "bf16", "int8", "int4")
DEFAULT = "int8"
"""Half a percent of perplexity at most, and a quarter of float32's bytes: docs/performance.md has the measurements."""
GROUPS = {"int8": 0, "int4": 32}
"""Inputs that share a scale, 0 for all; chosen by measured perplexity."""
_ACTIVATIONS = ("gelu_new", "gelu", "relu")
_LINE = 64  # bytes: everything starts on a cache line


class _Config(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_inner")),
        *((name, ctypes.c_int32) for name in ("pre_norm", "tied", "activation", "precision", "group")),
        ("layer_norm_epsilon", ctypes.c_float),
    ]


class Sampling(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_double) for name in ("temperature", "top_p", "min_p")),
        *((name, ctypes.c_uint64) for name in ("seed", "choice")),
        ("place", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("top_k", "top_logprobs", "end_token", "n_banned")),
        ("banned", ctypes.c_void_p),
    ]


class _Item(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_int32) for name in ("slot", "position", "n_ids", "n_outputs")),
        *((name, ctypes.c_void_p) for name in ("ids", "sampling", "logits", "tokens", "n_tokens", "logprobs", "top_ids")),
    ]


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ink_abi": (ctypes.c_int32, []),
    "ink_message": (ctypes.c_char_p, []),
    "ink_path": (ctypes.c_char_p, []),
    "ink_paths": (ctypes.c_char_p, []),
    "ink_choose_path": (ctypes.c_int, [ctypes.c_char_p]),
    "ink_packed_size": (ctypes.c_size_t, [ctypes.POINTER(_Config)]),
    "ink_pack": (ctypes.c_int, [ctypes.POINTER(_Config), ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p]),
    "ink_model_open": (ctypes.c_int, [ctypes.POINTER(_Config), ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]),
    "ink_model_close": (None, [ctypes.c_void_p]),
    "ink_session_open": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p]),
    "ink_session_close": (None, [ctypes.c_void_p]),
    "ink_slot_bytes": (ctypes.c_size_t, [ctypes.POINTER(_Config)]),
    "ink_copy_slot": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
    "ink_run": (ctypes.c_int, [ctypes.c_void_p, ctypes.POINTER(_Item), ctypes.c_int32, ctypes.c_int32]),
    "ink_sample": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(Sampling), ctypes.c_double]),
    "ink_uniform": (ctypes.c_double, [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64]),
}


def library_path() -> Path | None:
    """Where the kernel lies: beside this file, or, in an editable installation, where the build put it."""
    folders = [Path(__file__).parent]
    package = find_spec("inkhorn.runtime")
    if package is not None and package.submodule_search_locations is not None:
        folders += map(Path, package.submodule_search_locations)
    for folder in folders:
        for ending in ("so", "dylib", "dll"):
            for path in sorted(folder.glob(f"*inkhorn_kernel*.{ending}")):
                return path
    return None


@cache
def _open() -> tuple[ctypes.CDLL | None, str | None]:
    """The library, or why there is none."""
    path = library_path()
    if path is None:
        return None, "the kernel was not built: there was no C++20 compiler when inkhorn was installed"
    try:
        lib = ctypes.CDLL(str(path))
        for name, (result, arguments) in _SIGNATURES.items():
            function = getattr(lib, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as error:
        return None, f"{path} cannot be used: {error}"
    if lib.ink_abi() != ABI:
        return None, f"{path} is of another version (its interface is {lib.ink_abi()}, not {ABI}): install inkhorn again"
    return lib, None


def why_not() -> str | None:
    """Why the kernel cannot be used here; None if it can."""
    return _open()[1]


@cache
def library() -> ctypes.CDLL:
    """The kernel, on the instruction path that INKHORN_ISA names, or on the best.

    Raises UsageError if it cannot be used, or the path is not one of this machine's.
    """
    lib, reason = _open()
    if lib is None:
        raise UsageError(f"the native backend is not there: {reason}; INKHORN_BACKEND=numpy needs none")
    wanted = os.environ.get("INKHORN_ISA")
    if wanted and lib.ink_choose_path(wanted.encode()) != 0:
        raise UsageError(f"INKHORN_ISA={wanted}: this machine can run {lib.ink_paths().decode().replace(' ', ', ')}")
    return lib


def path() -> str:
    """The instruction path in use."""
    return str(library().ink_path().decode())


def paths() -> list[str]:
    """The instruction paths that this machine can run, best first."""
    return str(library().ink_paths().decode()).split()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _check(lib: ctypes.CDLL, status: int) -> None:
    if status:
        message = lib.ink_message().decode()
        raise {1: ValueError, 2: MemoryError, 3: CheckpointError}[status](message)


def _buffer(size: int) -> Array:
    """Bytes on pages of their own: large ones where the system has them, which spares a large model its page walks."""
    pages = mmap.mmap(-1, max(size, 1))
    if size >= 2**22:
        with suppress(AttributeError, OSError):
            pages.madvise(mmap.MADV_HUGEPAGE)
    return np.frombuffer(pages, np.uint8, size)


class Packed:
    """A model in the kernel's layout.

    Args:
        config: its shape.
        quantize: how the weights are kept: fp32, bf16, int8 or int4.
        data: the packed bytes, on a cache line; of a mapped file, or from `pack`.
        group: inputs that share a scale.

    Raises CheckpointError if the bytes are not a packed model of this shape.

    """

    def __init__(self, config: ModelConfig, quantize: str, data: Array, group: int) -> None:
        self.config, self.quantize, self.data, self.group = config, quantize, data, group
        self.shape, lib = shape_of(config, quantize, group), library()
        self.handle = ctypes.c_void_p()
        status = lib.ink_model_open(self.shape, data.ctypes.data, data.nbytes, ctypes.byref(self.handle))
        if status:
            raise CheckpointError(f"the packed weights cannot be used: {lib.ink_message().decode()}")

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            library().ink_model_close(self.handle)


def shape_of(config: ModelConfig, quantize: str, group: int) -> _Config:
    """A model's shape as the kernel takes it."""
    same = ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "layer_norm_epsilon")
    return _Config(
        **{name: getattr(config, name) for name in same},
        n_inner=config.inner,
        pre_norm=config.pre_norm,
        tied=config.tie_word_embeddings,
        activation=_ACTIVATIONS.index(config.activation_function),
        precision=PRECISIONS.index(quantize),
        group=group,
    )


def require_precision(quantize: str) -> None:
    """UsageError unless weights can be kept so."""
    if quantize not in PRECISIONS:
        raise UsageError(f"weights cannot be kept as {quantize!r}: {nearest(quantize, PRECISIONS)}")


def pack(config: ModelConfig, weights: Mapping[str, Array], quantize: str, group: int | None = None) -> Packed:
    """Round or quantise float32 tensors, once, into the kernel's layout.

    Args:
        config: the shape.
        weights: as `weights.read_weights` gives them.
        quantize: fp32, bf16, int8 or int4.
        group: inputs that share a scale: 0 for all, 32, 64 or 128; by default what GROUPS says.

    """
    require_precision(quantize)
    group = GROUPS.get(quantize, 0) if group is None else group
    lib, shape = library(), shape_of(config, quantize, group)
    tensors = [np.ascontiguousarray(weights[name], np.float32) for name in tensor_shapes(config)]
    pointers = np.array([tensor.ctypes.data for tensor in tensors], np.uintp)
    size = lib.ink_packed_size(shape)
    if not size:
        raise CheckpointError(f"this shape cannot be run: {lib.ink_message().decode()}")
    data = _buffer(size)
    try:
        _check(lib, lib.ink_pack(shape, pointers.ctypes.data, len(tensors), data.ctypes.data))
    except CheckpointError as error:
        raise CheckpointError(f"the model's weights are damaged: {error}") from None
    return Packed(config, quantize, data, group)


class NativeBackend:
    """A model on the kernel, behind the seam of `backend.py`.

    Args:
        packed: the model.
        threads: at most so many; never more than the cores that this process may use.
        slots: how many sequences may have a cache at once. A cache takes memory as it fills.

    """

    def __init__(self, packed: Packed, *, threads: int | None = None, slots: int = 8) -> None:
        self._lib, self._packed, self.config, self.slots = library(), packed, packed.config, slots
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        self.threads = min(threads or cores(), cores())
        self.name = f"native ({path()}, {packed.quantize}, {self.threads} thread{'s' * (self.threads > 1)})"
        self._session = ctypes.c_void_p()
        self._call = _Call(slots)
        _check(
            self._lib, self._lib.ink_session_open(packed.handle, slots, self.threads, ctypes.byref(self._session))
        )

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, quantize: str | None = None, threads: int | None = None, slots: int = 8
    ) -> "NativeBackend":
        """Load a checkpoint folder; CheckpointError says what is wrong with it."""
        config = read_config(folder)
        return cls(pack(config, read_weights(folder, config), quantize or DEFAULT), threads=threads, slots=slots)

    def run(self, work: Sequence[Work], steps: int = 1) -> list[Result]:
        """One call of the seam: see `backend.Backend.run`."""
        if any(w.sampler is not None and not w.sampler.plain for w in work):
            steps = 1
        call = self._call
        results = [call.add(i, w, steps, self.config.vocab_size) for i, w in enumerate(work)]
        _check(self._lib, self._lib.ink_run(self._session, call.items, len(work), steps))
        for i, (w, result) in enumerate(zip(work, results, strict=True)):
            call.finish(i, w, result)
        call.kept.clear()
        return results

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` tokens of a slot also those of another."""
        _check(self._lib, self._lib.ink_copy_slot(self._session, source, target, length))

    def close(self) -> None:
        """Free threads and caches."""
        if self._session:
            self._lib.ink_session_close(self._session)
            self._session = ctypes.c_void_p()

    def __del__(self) -> None:
        if getattr(self, "_session", None):
            self.close()


class _Call:
    """The structures of a call, kept from one to the next: making them anew would cost more than a small model's step."""

    def __init__(self, slots: int) -> None:
        self.items = (_Item * slots)()
        self.sampling = (Sampling * slots)()
        self.counts = np.zeros(slots, np.int32)
        self.tokens: list[Array] = [np.zeros(64, np.int32) for _ in range(slots)]
        self.logprobs: dict[int, tuple[Array, Array]] = {}
        self.kept: list[Array] = []  # what the kernel points into during the call

    def add(self, i: int, work: Work, steps: int, vocab_size: int) -> Result:
        """Fill in item `i`."""
        item, result, sampler = self.items[i], Result([]), work.sampler
        ids = np.array(work.ids, np.int32)
        self.kept.append(ids)
        item.slot, item.position, item.n_ids, item.n_outputs = work.slot, work.position, len(ids), work.outputs
        item.ids, item.sampling, item.logits = ids.ctypes.data, None, None
        if sampler is not None and sampler.plain and work.outputs:
            self._add_sampling(i, work, sampler, steps)
        elif work.outputs:
            result.logits = np.empty((work.outputs, vocab_size), np.float32)
            item.logits = result.logits.ctypes.data
        return result

    def _add_sampling(self, i: int, work: Work, sampler: Sampler, steps: int) -> None:
        item, how, params = self.items[i], self.sampling[i], sampler.params
        how.temperature, how.top_p, how.min_p, how.top_k = params.temperature, params.top_p, params.min_p, params.top_k
        how.seed, how.choice, how.place = sampler.seed, sampler.choice, work.place
        how.end_token = -1 if sampler.end_token is None else sampler.end_token
        banned = sampler.banned.astype(np.int32)
        self.kept.append(banned)
        how.n_banned, how.banned = len(banned), banned.ctypes.data
        most = max(work.outputs, 1) + steps - 1
        if len(self.tokens[i]) < most:
            self.tokens[i] = np.zeros(most, np.int32)
        item.sampling = ctypes.addressof(how)
        item.tokens, item.n_tokens = self.tokens[i].ctypes.data, self.counts[i:].ctypes.data
        how.top_logprobs = -1 if work.logprobs is None else work.logprobs
        if work.logprobs is not None:
            odds, ids = np.zeros((most, 1 + work.logprobs), np.float32), np.zeros((most, work.logprobs), np.int32)
            self.logprobs[i] = odds, ids
            item.logprobs, item.top_ids = odds.ctypes.data, ids.ctypes.data

    def finish(self, i: int, work: Work, result: Result) -> None:
        """Read item `i` after the call; draw here for a sampler that must see each token."""
        if work.sampler is None or not work.outputs:
            return
        if result.logits is None:
            result.tokens = self.tokens[i][: self.counts[i]].tolist()
            if result.tokens[-1] < 0:
                result.tokens.pop()
                result.error = "no token can be drawn: every logit is -inf, or one is NaN or +inf"
            odds, ids = self.logprobs.pop(i, (None, None))
            if odds is not None and ids is not None:
                for row, likeliest in zip(odds[: len(result.tokens)].tolist(), ids.tolist(), strict=False):
                    result.logprobs.append(TokenLogprobs(row[0], tuple(zip(likeliest, row[1:], strict=True))))
            return
        logits, result.logits = result.logits, None
        draw_each(logits, work, result)


def draw_each(logits: Array, work: Work, result: Result) -> None:
    """Draw by the definition, in Python, at each output."""
    from inkhorn.runtime.sampling import log_probabilities

    sampler = work.sampler
    assert sampler is not None
    for i, row in enumerate(logits):
        try:
            token = sampler.draw(row, work.place + i)
        except ValueError as error:
            result.error = str(error)
            return
        result.tokens.append(token)
        if work.logprobs is not None:
            result.logprobs.append(TokenLogprobs(*log_probabilities(row, token, work.logprobs)))
