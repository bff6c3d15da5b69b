"""Fixtures of the training tests."""

import pytest
from helpers import distributed_worker

from inkhorn.data.dataset import Dataset


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A small tokenized text; its first part is the validation split."""
    return distributed_worker.make_dataset(tmp_path_factory.mktemp("cache"))
