"""Which backend is taken, and what is said where it cannot be."""

from pathlib import Path
from typing import Any

import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model

from inkhorn.errors import UsageError
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.select import load_backend
from inkhorn.inference.engine import Engine
from inkhorn.tokenizer.char import CharTokenizer

needs_native = pytest.mark.skipif(native_bindings.unavailable_reason() is not None, reason="the kernel was not built")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("INKHORN_BACKEND", raising=False)
    tokenizer = CharTokenizer("abcdefgh .\n")
    save_checkpoint(tmp_path, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size)), tokenizer)
    return tmp_path


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native_bindings, "unavailable_reason", lambda: "there was no compiler")


@needs_native
def test_native_by_default(folder: Path) -> None:
    backend = load_backend(folder, max_num_seqs=3, threads=1)
    assert backend.name.startswith("native")
    assert backend.max_num_seqs == 3
    with Engine.from_pretrained(folder, precision="fp32") as engine:
        assert "fp32" in engine.backend.name


@pytest.mark.usefixtures("no_kernel")
def test_numpy_without_kernel(folder: Path) -> None:
    backend = load_backend(folder, max_num_seqs=3, precision="fp32")
    assert (backend.name, backend.max_num_seqs) == ("numpy (fp32)", 3)


@pytest.mark.parametrize("asked", ["argument", "environment"])
def test_numpy_on_request(folder: Path, monkeypatch: pytest.MonkeyPatch, asked: str) -> None:
    monkeypatch.setenv("INKHORN_BACKEND", "numpy" if asked == "environment" else "nonsense")
    backend = load_backend(folder, backend="numpy" if asked == "argument" else None)
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
def test_invalid_options(folder: Path, options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as raised:
        load_backend(folder, **options)
    assert message in str(raised.value)


def test_unknown_backend_in_environment(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_BACKEND", "gpu")
    with pytest.raises(UsageError, match="INKHORN_BACKEND: unknown backend 'gpu': valid: native, numpy"):
        Engine.from_pretrained(folder)
    monkeypatch.setenv("INKHORN_BACKEND", "")
    Engine.from_pretrained(folder).close()
