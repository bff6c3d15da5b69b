"""Files, downloads and JSON lines."""
