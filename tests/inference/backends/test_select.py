"""Selection of the backend, and errors when it is not available."""

from pathlib import Path
from typing import Any

import pytest

from inkhorn.errors import UsageError
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.select import load_backend
from inkhorn.inference.engine import Engine

needs_native = pytest.mark.skipif(native_bindings.unavailable_reason() is not None, reason="the kernel was not built")


@pytest.fixture(autouse=True)
def backend_from_default(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ignore the environment variable of whoever runs the tests."""
    monkeypatch.delenv("INKHORN_BACKEND", raising=False)


@needs_native
def test_native_by_default(tiny_checkpoint: Path) -> None:
    backend = load_backend(tiny_checkpoint, max_num_seqs=3, threads=1)
    assert backend.name.startswith("native")
    assert backend.max_num_seqs == 3
    with Engine.from_pretrained(tiny_checkpoint, precision="fp32") as engine:
        assert "fp32" in engine.backend.name


@pytest.mark.usefixtures("no_kernel")
def test_numpy_without_kernel(tiny_checkpoint: Path) -> None:
    backend = load_backend(tiny_checkpoint, max_num_seqs=3, precision="fp32")
    assert (backend.name, backend.max_num_seqs) == ("numpy (fp32)", 3)


@pytest.mark.parametrize("source", ["argument", "environment"])
def test_numpy_on_request(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch, source: str) -> None:
    monkeypatch.setenv("INKHORN_BACKEND", "numpy" if source == "environment" else "nonsense")
    backend = load_backend(tiny_checkpoint, backend="numpy" if source == "argument" else None)
    assert backend.name.startswith("numpy")


@pytest.mark.usefixtures("no_kernel")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "native"}, "the native backend is not available: there was no compiler"),
        ({"backend": "numpi"}, "unknown backend 'numpi': did you mean 'numpy'?"),
        (
            {"precision": "int8"},
            "the NumPy backend (in use because there was no compiler) supports fp32 only, not int8",
        ),
        ({"precision": "int8", "backend": "numpy"}, "the NumPy backend supports fp32 only, not int8"),
        ({"threads": 2}, "takes its number of threads from the environment variable OMP_NUM_THREADS"),
        ({"max_num_seqs": 0}, "max_num_seqs must be at least 1, not 0"),
    ],
)
def test_invalid_options(tiny_checkpoint: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_backend(tiny_checkpoint, **options)
    assert message in str(raised.value)


def test_unknown_backend_in_environment(tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_BACKEND", "gpu")
    with pytest.raises(UsageError, match="INKHORN_BACKEND: unknown backend 'gpu': valid: native, numpy"):
        Engine.from_pretrained(tiny_checkpoint)
    monkeypatch.setenv("INKHORN_BACKEND", "")
    Engine.from_pretrained(tiny_checkpoint).close()
