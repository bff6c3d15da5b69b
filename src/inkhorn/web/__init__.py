"""The web page: static files, served by the server or exported as a static site."""

from pathlib import Path

STATIC_DIR = Path(__file__).parent / "static"
"""The page's files."""
