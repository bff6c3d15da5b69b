"""Paths used by tests."""

import os
from pathlib import Path

ROOT = Path(__file__).parents[2]
"""Root of the repository."""

DATA = Path(os.environ.get("INKHORN_TEST_DATA", ROOT.parent / "shared" / "data"))
"""Real text and tokenizer files; tests that need them are skipped if they are missing."""
