"""Inference without torch: the engine, its backends, and the public Python API."""
