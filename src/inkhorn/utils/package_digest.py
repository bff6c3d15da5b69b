"""A checksum of the installed package, by which machines find out whether they run the same code."""

import hashlib
from pathlib import Path

import inkhorn


def package_digest() -> str:
    """Hexadecimal SHA-256 of the names and contents of the package's Python files."""
    root = Path(inkhorn.__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        content = path.read_bytes().replace(b"\r\n", b"\n")
        digest.update(f"{path.relative_to(root).as_posix()} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def versions_here() -> dict[str, str]:
    """What must be the same on all machines, for a run to be the same with workers on any of them."""
    import torch

    return {"inkhorn": inkhorn.__version__, "torch": str(torch.__version__), "inkhorn's files": package_digest()[:12]}
