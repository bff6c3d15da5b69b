"""Backend selection: the native kernel if it is available, otherwise NumPy, or the one that is requested."""

import os
from pathlib import Path
from typing import Literal, TypedDict, get_args

from inkhorn.config.quantization import DEFAULT_PRECISION, Precision
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.backends.base import Backend
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.numpy_model import NumpyModel

BackendName = Literal["native", "numpy"]

DEFAULT_MAX_NUM_SEQS = 16  # sequences that are generated at once by default. A slot takes memory only once it is used.


class BackendOptions(TypedDict, total=False):
    precision: Precision | None
    threads: int | None
    max_num_seqs: int
    backend: BackendName | None


def default_precision() -> Precision:
    """The precision of weights that are loaded without a choice."""
    from inkhorn.inference.backends.native_bindings import unavailable_reason

    is_native = os.environ.get("INKHORN_BACKEND") != "numpy" and unavailable_reason() is None
    return DEFAULT_PRECISION if is_native else "fp32"


def load_backend(
    folder: Path,
    *,
    precision: Precision | None = None,
    threads: int | None = None,
    max_num_seqs: int = DEFAULT_MAX_NUM_SEQS,
    backend: BackendName | None = None,
) -> Backend:
    """Load a checkpoint folder into a backend.

    Args:
        precision: precision of the weights; None: int8 with the native backend, fp32 with NumPy.
        threads: the most threads to use; None: one per CPU core.
        max_num_seqs: how many sequences may be generated at once.
        backend: native or numpy; None: the environment variable INKHORN_BACKEND, else native if it is available.

    Raises:
        UsageError: the backend is not available, or does not support an option.
        CheckpointError: the folder is not a valid checkpoint.
    """
    name = backend or os.environ.get("INKHORN_BACKEND") or None
    if name is not None and name not in get_args(BackendName):
        where = "" if backend else "INKHORN_BACKEND: "
        raise UsageError(f"{where}unknown backend {name!r}: {nearest(name, get_args(BackendName))}")
    from inkhorn.inference.backends.native_bindings import unavailable_reason

    reason = None if name == "numpy" else unavailable_reason()
    if name == "native" and reason is not None:
        raise UsageError(f"the native backend is not available: {reason}")
    if name != "numpy" and reason is None:
        from inkhorn.inference.backends.native_backend import NativeBackend
        from inkhorn.inference.backends.packed_weights import load_packed

        return NativeBackend(load_packed(folder, precision), threads=threads, max_num_seqs=max_num_seqs)
    subject = f"the NumPy backend (in use because {reason})" if reason else "the NumPy backend"
    if precision not in (None, "fp32"):
        raise UsageError(f"{subject} supports fp32 only, not {precision}")
    if threads is not None:
        raise UsageError(f"{subject} takes its number of threads from the environment variable OMP_NUM_THREADS")
    return NumpyBackend(NumpyModel.from_pretrained(folder), max_num_seqs)
