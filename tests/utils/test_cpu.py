"""CPU cores."""

import os

from inkhorn.utils.cpu import available_cores


def test_available_cores() -> None:
    assert 1 <= available_cores() <= (os.cpu_count() or 1)
