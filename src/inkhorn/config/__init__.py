"""Configuration: frozen dataclasses, validated on construction."""
