"""A small model behind the app, for tests of the server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from helpers.models import save_checkpoint, tiny_config, tiny_model
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.engine import Engine
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import Models, ServedModel
from inkhorn.server.settings import Settings
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer

ALPHABET = "abcdefgh .\n:ABé"
BLOCK = 24


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """A checkpoint of some thousand parameters."""
    tokenizer = CharTokenizer(ALPHABET)
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=BLOCK, **ends)
    save_checkpoint(folder, tiny_model(config, seed, scale=0.1), tokenizer)
    return folder


def serve_folder(folder: Path, *, slots: int = 4, max_queue: int = 64, name: str = "tiny") -> ServedModel:
    """It, on NumPy: the same bits on every machine."""
    backend = NumpyBackend.from_pretrained(folder, slots)
    return ServedModel(name, folder, Engine(backend, load_tokenizer(folder), max_queue=max_queue))


@contextmanager
def app_client(*models: ServedModel, **settings: Any) -> Iterator[TestClient]:
    """A client of an app in this process."""
    with TestClient(create_app(Models(*models), Settings(**settings)), raise_server_exceptions=False) as client:
        yield client
