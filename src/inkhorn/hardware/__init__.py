"""Devices, precision and distributed processes."""
