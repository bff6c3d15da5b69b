"""Which backend runs a checkpoint: the native kernel where it can, else NumPy, or the one that is asked for."""

import os
from pathlib import Path
from typing import Literal, get_args

from inkhorn.errors import UsageError, nearest
from inkhorn.inference.backends.base import Backend
from inkhorn.inference.backends.numpy_backend import NumpyBackend

BackendName = Literal["numpy", "native"]
SLOTS = 16
"""How many texts are written at once by default; a slot takes memory only once it is used."""


def load_backend(
    folder: Path,
    *,
    quantize: str | None = None,
    threads: int | None = None,
    slots: int = SLOTS,
    backend: str | None = None,
) -> Backend:
    """Load a checkpoint folder into a backend.

    Args:
        folder: the checkpoint.
        quantize: how the weights are kept: fp32, bf16, int8 or int4; None: as the backend does best.
        threads: at most so many; None: one for each core.
        slots: how many texts may be written at once.
        backend: numpy or native; None: what the environment variable INKHORN_BACKEND says, else native if it is there.

    Raises:
        UsageError: a backend that is not there, or that cannot do what is asked of it.
        CheckpointError: what is wrong with the folder.

    """
    name = backend or os.environ.get("INKHORN_BACKEND") or None
    if name is not None and name not in get_args(BackendName):
        where = "" if backend else "INKHORN_BACKEND: "
        raise UsageError(f"{where}there is no backend {name!r}: {nearest(name, get_args(BackendName))}")
    reason = None if name == "numpy" else _why_no_native()
    if name == "native" and reason is not None:
        raise UsageError(f"the native backend cannot be used: {reason}")
    if name != "numpy" and reason is None:
        from inkhorn.inference.backends.native_backend import NativeBackend

        return NativeBackend.from_pretrained(folder, quantize=quantize, threads=threads, slots=slots)
    instead = f"the NumPy backend, in use because {reason}," if reason else "the NumPy backend"
    if quantize not in (None, "fp32"):
        raise UsageError(f"{instead} keeps weights as fp32 only, not as {quantize}")
    if threads is not None:
        raise UsageError(f"{instead} takes its number of threads from the environment variable OMP_NUM_THREADS")
    return NumpyBackend.from_pretrained(folder, slots)


def _why_no_native() -> str | None:
    """Why the kernel cannot be used here; None if it can."""
    from inkhorn.inference.backends.native_bindings import why_not

    return why_not()
