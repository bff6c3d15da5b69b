"""Fixtures of the data tests."""

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache folder; the current folder is empty, too."""
    folder = tmp_path / "my cache"
    monkeypatch.setenv("INKHORN_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder
