"""Backends of the engine: NumPy and the native kernel."""
