"""The web page: static files, served by the server or exported as a static site."""

from pathlib import Path

STATIC_DIR = Path(__file__).parent / "static"
"""The page's files."""
CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'"
)
