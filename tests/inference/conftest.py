"""Fixtures of the inference tests."""

from pathlib import Path

import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model

from inkhorn.inference.backends import native_bindings
from inkhorn.tokenizer.char import CharTokenizer


@pytest.fixture
def tiny_checkpoint(tmp_path: Path) -> Path:
    """A checkpoint folder with a character tokenizer and a context of 12 tokens."""
    tokenizer = CharTokenizer("abcdefgh .\n")
    special = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    save_checkpoint(tmp_path / "model", tiny_model(tiny_config(vocab_size=tokenizer.vocab_size, **special)), tokenizer)
    return tmp_path / "model"


@pytest.fixture
def no_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make the native kernel unavailable."""
    monkeypatch.setattr(native_bindings, "unavailable_reason", lambda: "there was no compiler")
