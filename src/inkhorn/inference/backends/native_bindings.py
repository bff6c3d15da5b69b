"""ctypes bindings for the kernel's C API, `native/inkhorn.h`.

The library is built when the package is installed. If there was no compiler it is missing, `unavailable_reason` returns
the reason, and the NumPy backend is used instead. INKHORN_ISA selects an instruction set other than
the best: amx, avx512, avxvnni or avx2 on x86-64, neon_i8mm, neon_dotprod or neon on ARM, or portable.
"""

import ctypes
import os
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from inkhorn.errors import CheckpointError, UsageError

ABI = 3

UNTIMED_ISAS = ("neon", "neon_dotprod", "neon_i8mm")
"""Instruction sets whose code is tested under emulation only: its speed on hardware is unknown."""


class InkConfig(ctypes.Structure):
    """`ink_config`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_inner")),
        *(
            (name, ctypes.c_int32)
            for name in ("pre_norm", "tie_word_embeddings", "activation", "precision", "group_size")
        ),
        ("layer_norm_epsilon", ctypes.c_float),
    ]


class InkSamplingParams(ctypes.Structure):
    """`ink_sampling_params`."""

    _fields_ = [
        *((name, ctypes.c_double) for name in ("temperature", "top_p", "min_p")),
        *((name, ctypes.c_uint64) for name in ("seed", "sample_index")),
        ("position", ctypes.c_int64),
        *((name, ctypes.c_int32) for name in ("top_k", "top_logprobs", "end_token", "n_banned_ids")),
        ("banned_ids", ctypes.c_void_p),
    ]


class InkEdit(ctypes.Structure):
    """`ink_edit`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("site", "layer", "head", "first", "end")),
        ("scale", ctypes.c_float),
        ("vector", ctypes.c_void_p),
    ]


class InkModelInput(ctypes.Structure):
    """`ink_model_input`."""

    _fields_ = [
        *((name, ctypes.c_int32) for name in ("slot", "position", "n_ids", "n_outputs")),
        *(
            (name, ctypes.c_void_p)
            for name in ("ids", "sampling", "logits", "tokens", "n_tokens", "logprobs", "top_ids", "edits")
        ),
        ("n_edits", ctypes.c_int32),
    ]


_SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "ink_abi_version": (ctypes.c_int32, []),
    "ink_last_error": (ctypes.c_char_p, []),
    "ink_isa_name": (ctypes.c_char_p, []),
    "ink_isa_supported": (ctypes.c_char_p, []),
    "ink_isa_select": (ctypes.c_int, [ctypes.c_char_p]),
    "ink_model_packed_size": (ctypes.c_size_t, [ctypes.POINTER(InkConfig)]),
    "ink_model_pack": (ctypes.c_int, [ctypes.POINTER(InkConfig), ctypes.c_void_p, ctypes.c_int32, ctypes.c_void_p]),
    "ink_model_open": (ctypes.c_int, [ctypes.POINTER(InkConfig), ctypes.c_void_p, ctypes.c_size_t, ctypes.c_void_p]),
    "ink_model_close": (None, [ctypes.c_void_p]),
    "ink_session_open": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p]),
    "ink_session_close": (None, [ctypes.c_void_p]),
    "ink_session_slot_size": (ctypes.c_size_t, [ctypes.POINTER(InkConfig)]),
    "ink_session_copy_slot": (ctypes.c_int, [ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_int32]),
    "ink_session_run": (
        ctypes.c_int,
        [ctypes.c_void_p, ctypes.POINTER(InkModelInput), ctypes.c_int32, ctypes.c_int32],
    ),
    "ink_memory_bandwidth": (ctypes.c_double, [ctypes.c_size_t, ctypes.c_int32, ctypes.c_int32]),
    "ink_sample": (
        ctypes.c_int32,
        [ctypes.c_void_p, ctypes.c_int32, ctypes.POINTER(InkSamplingParams), ctypes.c_double],
    ),
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
    if lib.ink_abi_version() != ABI:
        return None, f"{path} has ABI version {lib.ink_abi_version()}, not {ABI}: reinstall inkhorn"
    return lib, None


def unavailable_reason() -> str | None:
    """Why the kernel cannot be used here; None if it can."""
    return _open()[1]


@cache
def library() -> ctypes.CDLL:
    """The kernel, with the instruction set that INKHORN_ISA names, or with the best one.

    Raises UsageError if it cannot be used, or if this CPU does not support the instruction set.
    """
    lib, reason = _open()
    if lib is None:
        raise UsageError(f"the native backend is not there: {reason}; INKHORN_BACKEND=numpy needs none")
    wanted = os.environ.get("INKHORN_ISA")
    if wanted and lib.ink_isa_select(wanted.encode()) != 0:
        raise UsageError(
            f"INKHORN_ISA={wanted}: this CPU supports {lib.ink_isa_supported().decode().replace(' ', ', ')}"
        )
    return lib


def isa() -> str:
    """The instruction set in use."""
    return str(library().ink_isa_name().decode())


def supported_isas() -> list[str]:
    """The instruction sets that this CPU supports, best first."""
    return str(library().ink_isa_supported().decode()).split()


def check(status: int) -> None:
    """Raise the exception for an `ink_status`: ValueError, MemoryError or CheckpointError."""
    if status:
        raise {1: ValueError, 2: MemoryError, 3: CheckpointError}[status](library().ink_last_error().decode())
