"""The kernel's face in Python: `native/inkhorn.h` through ctypes.

The library is built when the package is installed; where no compiler was there it is missing, `why_not` says so, and
NumPy serves. INKHORN_ISA picks an instruction path (avx512, avx2, plain) other than the best.
"""

import ctypes
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inkhorn.errors import CheckpointError, UsageError

ABI = 1


class Config(ctypes.Structure):
    """`ink_config`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_inner")),
        *((name, ctypes.c_int32) for name in ("pre_norm", "tied", "activation", "precision", "group")),
        ("layer_norm_epsilon", ctypes.c_float),
    ]


class Sampling(ctypes.Structure):
    """`ink_sampling`."""

    _fields_ = [
        *((name, ctypes.c_double) for name in ("temperature", "top_p", "min_p")),
        *((name, ctypes.c_uint64) for name in ("seed", "choice")),
        ("place", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("top_k", "top_logprobs", "end_token", "n_banned")),
        ("banned", ctypes.c_void_p),
    ]


class Item(ctypes.Structure):
    """`ink_item`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("slot", "position", "n_ids", "n_outputs")),
        *(
            (name, ctypes.c_void_p)
            for name in ("ids", "sampling", "logits", "tokens", "n_tokens", "logprobs", "top_ids")
        ),
    ]


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ink_abi": (ctypes.c_int32, []),
    "ink_message": (ctypes.c_char_p, []),
    "ink_path": (ctypes.c_char_p, []),
    "ink_paths": (ctypes.c_char_p, []),
    "ink_choose_path": (ctypes.c_int, [ctypes.c_char_p]),
    "ink_packed_size": (ctypes.c_size_t, [ctypes.POINTER(Config)]),
    "ink_pack": (ctypes.c_int, [ctypes.POINTER(Config), ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p]),
    "ink_model_open": (ctypes.c_int, [ctypes.POINTER(Config), ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]),
    "ink_model_close": (None, [ctypes.c_void_p]),
    "ink_session_open": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p]),
    "ink_session_close": (None, [ctypes.c_void_p]),
    "ink_slot_bytes": (ctypes.c_size_t, [ctypes.POINTER(Config)]),
    "ink_copy_slot": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
    "ink_run": (ctypes.c_int, [ctypes.c_void_p, ctypes.POINTER(Item), ctypes.c_int32, ctypes.c_int32]),
    "ink_read_speed": (ctypes.c_double, [ctypes.c_size_t, ctypes.c_int32, ctypes.c_int32]),
    "ink_sample": (ctypes.c_int32, [ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(Sampling), ctypes.c_double]),
    "ink_uniform": (ctypes.c_double, [ctypes.c_uint64, ctypes.c_uint64, ctypes.c_int64]),
}


def library_path() -> Path | None:
    """Where the kernel lies: beside this file, or, in an editable installation, where the build put it."""
    folders = [Path(__file__).parent]
    package = find_spec("inkhorn.inference.backends")
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
        return (
            None,
            f"{path} is of another version (its interface is {lib.ink_abi()}, not {ABI}): install inkhorn again",
        )
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


def check(status: int) -> None:
    """Raise what a status of the kernel says: ValueError for a caller's mistake, MemoryError, CheckpointError."""
    if status:
        raise {1: ValueError, 2: MemoryError, 3: CheckpointError}[status](library().ink_message().decode())
