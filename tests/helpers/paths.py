"""Folders that tests read."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""The repository."""

DATA = Path(os.environ.get("INKHORN_TEST_DATA", ROOT.parent / "shared" / "data"))
"""Real text and tokenizer files, where they are at hand; tests that need them are skipped elsewhere."""
