"""A model's tensors on disk: `config.json` and `model.safetensors` as transformers writes them, read without torch.

In memory the names are OpenAI's (`wte.weight`, `h.0.attn.c_attn.weight`, ...), on disk Hugging Face's: a `transformer.`
prefix and, for GPT-1, `tokens_embed` and `positions_embed`. Matrices are [in, out], as both keep them ("Conv1D").
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from inkhorn.errors import CheckpointError


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object; CheckpointError if it is missing, unreadable or something else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(
            f"{path.parent} has no {path.name}: it is not a checkpoint folder, or not whole"
        ) from None
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"cannot read {path}: {error}") from None
    if not isinstance(value, dict):
        raise CheckpointError(f"cannot read {path}: not a JSON object")
    return value


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Write a JSON object for people and machines, whole or not at all."""
    partial = path.with_name(path.name + ".tmp")
    partial.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    flush(partial)
    partial.replace(path)


def flush(path: Path) -> None:
    """Wait until a file's bytes, or a folder's names, are on the disk and not only in its cache."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
