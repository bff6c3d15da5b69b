"""Fixtures of the server's tests: a tiny checkpoint, the served model, and a client of the application."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from helpers.server import app_client, load_served, save_tiny

from inkhorn.server.served_model import ServedModel


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def model(folder: Path) -> Iterator[ServedModel]:
    served = load_served(folder)
    yield served
    served.engine.close()


@pytest.fixture(scope="module")
def client(model: ServedModel) -> Iterator[TestClient]:
    with app_client(model) as client:
        yield client
