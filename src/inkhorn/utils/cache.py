"""Named corpora: where each comes from, its checksum and licence; and any text file or folder instead.

Nothing is bundled. A corpus comes once from the web, or from a file that the user puts in the cache; its checksum is
checked each time.
"""

import os
from pathlib import Path

import platformdirs


def cache_dir() -> Path:
    """The folder of downloads: INKHORN_CACHE, else the user's cache folder of this system. It may not exist yet."""
    chosen = os.environ.get("INKHORN_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("inkhorn", appauthor=False))
