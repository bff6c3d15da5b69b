"""Files, downloads, JSON lines and CPU cores."""
