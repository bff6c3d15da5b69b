"""A small model behind the application, and requests to it."""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from helpers.models import save_checkpoint, tiny_config, tiny_model
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.engine import Engine
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.server.app import create_app
from inkhorn.server.model_registry import ModelRegistry
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import Settings
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer

ALPHABET = "abcdefgh .\n:ABé"
BLOCK = 24


def save_tiny(folder: Path, seed: int = 0) -> Path:
    """Save a checkpoint of a few thousand parameters."""
    tokenizer = CharTokenizer(ALPHABET)
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=BLOCK, **ends)
    save_checkpoint(folder, tiny_model(config, seed, scale=0.1), tokenizer)
    return folder


def load_served(folder: Path, *, max_num_seqs: int = 4, max_queued: int = 64, name: str = "tiny") -> ServedModel:
    """Load a checkpoint with the NumPy backend, which is deterministic across machines."""
    backend = NumpyBackend(NumpyModel.from_pretrained(folder), max_num_seqs)
    return ServedModel(name, folder, Engine(backend, load_tokenizer(folder), max_queued=max_queued))


@contextmanager
def app_client(*models: ServedModel, **settings: Any) -> Iterator[TestClient]:
    """A client of an application in this process."""
    app = create_app(ModelRegistry(*models), Settings(**settings))
    with TestClient(app, raise_server_exceptions=False) as client:
        yield client


@contextmanager
def folder_client(folder: Path, **options: Any) -> Iterator[TestClient]:
    """A client of an application that serves one checkpoint."""
    served = load_served(folder)
    with app_client(served, **options) as client:
        yield client
    served.engine.close()


def complete(client: TestClient, **body: Any) -> dict[str, Any]:
    """The response to a completion request, which must succeed."""
    response = client.post("/v1/completions", json=body)
    assert response.status_code == 200, response.text
    found: dict[str, Any] = response.json()
    return found


def stream_chunks(client: TestClient, path: str = "/v1/completions", **body: Any) -> list[dict[str, Any]]:
    """The chunks of a streamed response, which must end with [DONE]."""
    with client.stream("POST", path, json=body | {"stream": True}) as response:
        assert response.status_code == 200
        assert response.headers["content-type"].startswith("text/event-stream")
        lines = [line for line in response.iter_lines() if line.startswith("data: ")]
    assert lines[-1] == "data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


def bad_request(client: TestClient, path: str = "/v1/completions", **body: Any) -> dict[str, Any]:
    """The error of a request, which must get status 400 and OpenAI's format."""
    response = client.post(path, json=body)
    assert response.status_code == 400, response.text
    error: dict[str, Any] = response.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["type"] == "invalid_request_error"
    return error


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Poll a condition until it holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.01)
