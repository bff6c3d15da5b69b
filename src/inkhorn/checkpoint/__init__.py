"""Checkpoint folders in the Hugging Face layout."""
