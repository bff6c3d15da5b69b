"""Tokenizers: characters and byte-pair encoding."""
