"""`inkhorn export`: a checkpoint without what only training needs, in the precision asked for."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from inkhorn.checkpoint import resolve_checkpoint
from inkhorn.commands.flags import parse
from inkhorn.errors import CheckpointError


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write a checkpoint folder that transformers, vLLM and inkhorn itself load as it is."""

    model: tyro.conf.Positional[str]
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    out: tyro.conf.Positional[Path]
    """the folder to write"""
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """of the weights"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(ExportArgs, argv, "inkhorn export")
    import torch

    from inkhorn.model import GPT

    folder = resolve_checkpoint(args.model)
    if (args.out / "config.json").exists():
        raise CheckpointError(f"{args.out} already holds a checkpoint: give another folder, or delete it first")
    model = GPT.from_pretrained(folder)
    model.save_pretrained(args.out, getattr(torch, args.dtype))
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "README.md"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, args.out / name)
    size = (args.out / "model.safetensors").stat().st_size
    sys.stdout.write(f"{args.out}: {model.config.num_parameters:,} parameters in {args.dtype}, {size / 1e6:.1f} MB\n")
    return 0
