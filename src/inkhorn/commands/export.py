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
from inkhorn.weights import read_config, write_json


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write a checkpoint folder that transformers, vLLM and inkhorn itself load as it is.

    With --quantize, a smaller one for inkhorn's kernel alone, which maps it into memory as it lies there.
    """

    model: tyro.conf.Positional[str]
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    out: tyro.conf.Positional[Path]
    """the folder to write"""
    dtype: Literal["float16", "bfloat16", "float32"] = "float16"
    """of the weights"""
    quantize: Literal["fp32", "bf16", "int8", "int4"] | None = None
    """instead, weights packed for the kernel: inkhorn only, and no torch is needed"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(ExportArgs, argv, "inkhorn export")
    folder = resolve_checkpoint(args.model)
    if (args.out / "config.json").exists():
        raise CheckpointError(f"{args.out} already holds a checkpoint: give another folder, or delete it first")
    file = (
        _save(folder, args.out, args.dtype) if args.quantize is None else _save_packed(folder, args.out, args.quantize)
    )
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "README.md"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, args.out / name)
    parameters, size = read_config(args.out).num_parameters, file.stat().st_size
    kept = args.quantize or args.dtype
    sys.stdout.write(f"{args.out}: {parameters:,} parameters in {kept}, {size / 1e6:.1f} MB\n")
    return 0


def _save(folder: Path, out: Path, dtype: str) -> Path:
    import torch

    from inkhorn.model import GPT

    GPT.from_pretrained(folder).save_pretrained(out, getattr(torch, dtype))
    return out / "model.safetensors"


def _save_packed(folder: Path, out: Path, quantize: str) -> Path:
    from inkhorn.runtime.packed import load_packed, save_packed

    path = save_packed(load_packed(folder, quantize), out)
    write_json(out / "config.json", read_config(folder).to_hf())  # last: with it the folder is a checkpoint
    return path
