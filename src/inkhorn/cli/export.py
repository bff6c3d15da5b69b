"""`inkhorn export`: a checkpoint without what only training needs, in the form and precision asked for."""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import tyro

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config
from inkhorn.cli.parsing import parse
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.utils.files import flush, write_json


@dataclass(frozen=True, kw_only=True)
class ExportArgs:
    """Write a checkpoint folder that transformers, vLLM and inkhorn itself load as it is; or one file, for torch or for
    llama.cpp.

    With --quantize, a smaller folder for inkhorn's kernel alone, which maps it into memory as it lies there.
    """

    model: tyro.conf.Positional[str] = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    out: tyro.conf.Positional[Path | None] = None
    """the folder to write"""
    dtype: Literal["float16", "bfloat16", "float32"] | None = None
    """of the folder's weights; float16 when absent"""
    quantize: Literal["fp32", "bf16", "int8", "int4"] | None = None
    """instead, weights packed for the kernel: inkhorn only, and no torch is needed"""
    state_dict: Path | None = None
    """instead of a folder, this file: a torch state dict that inkhorn.GPT loads"""
    gguf: Path | None = None
    """instead of a folder, this file: GGUF for llama.cpp, with the vocabulary"""
    gguf_type: Literal["f32", "f16", "q8_0"] | None = None
    """of the GGUF's matrices; f16 when absent"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(ExportArgs, argv, "inkhorn export")
    _require_one_form(args)
    folder = resolve_checkpoint(args.model)
    if args.out is not None:
        file, kept = _write_folder(folder, args.out, args)
    else:
        file = args.state_dict or args.gguf or Path()
        if file.exists():
            raise CheckpointError(f"{file} is already there: give another name, or delete it first")
        kept = (
            _write_state_dict(folder, file) if args.state_dict else _write_gguf(folder, file, args.gguf_type or "f16")
        )
    parameters, size = read_config(folder).num_parameters, file.stat().st_size
    sys.stdout.write(f"{args.out or file}: {parameters:,} parameters in {kept}, {size / 1e6:.1f} MB\n")
    return 0


def _require_one_form(args: ExportArgs) -> None:
    """UsageError unless the flags name one thing to write."""
    forms = {"OUT, a folder": args.out, "--state-dict": args.state_dict, "--gguf": args.gguf}
    given = [name for name, value in forms.items() if value is not None]
    if len(given) != 1:
        got = " and ".join(given) or "none of them"
        raise UsageError(f"give one of {', '.join(forms)} to write: got {got} (see inkhorn export --help)")
    for flag, value, needs, there in (
        ("--dtype", args.dtype, "OUT", args.out),
        ("--quantize", args.quantize, "OUT", args.out),
        ("--gguf-type", args.gguf_type, "--gguf", args.gguf),
    ):
        if value is not None and there is None:
            raise UsageError(f"{flag} {value} goes with {needs}, not with {given[0]}")
    if args.dtype is not None and args.quantize is not None:
        raise UsageError(f"give either --dtype {args.dtype} or --quantize {args.quantize}, not both")


def _write_folder(folder: Path, out: Path, args: ExportArgs) -> tuple[Path, str]:
    """A checkpoint folder; returns its file of weights and what they are kept as."""
    if (out / "config.json").exists():
        raise CheckpointError(f"{out} already holds a checkpoint: give another folder, or delete it first")
    kept = args.quantize or args.dtype or "float16"
    file = _save_packed(folder, out, kept) if args.quantize else _save(folder, out, kept)
    for name in ("tokenizer.json", "tokenizer_config.json", "generation_config.json", "README.md"):
        if (folder / name).is_file():
            shutil.copyfile(folder / name, out / name)
    return file, kept


def _save(folder: Path, out: Path, dtype: str) -> Path:
    import torch

    from inkhorn.model import GPT

    GPT.from_pretrained(folder).save_pretrained(out, getattr(torch, dtype))
    return out / "model.safetensors"


def _save_packed(folder: Path, out: Path, quantize: str) -> Path:
    from inkhorn.inference.backends.packed_weights import load_packed, save_packed

    path = save_packed(load_packed(folder, quantize), out)
    write_json(out / "config.json", read_config(folder).to_hf())  # last: with it the folder is a checkpoint
    return path


def _write_state_dict(folder: Path, file: Path) -> str:
    import torch

    from inkhorn.model import GPT

    partial = file.with_name(file.name + ".tmp")
    state = GPT.from_pretrained(folder).state_dict()
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(state, partial)
        flush(partial)
        partial.replace(file)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as RuntimeError
        partial.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {file}: {error}") from None
    return "a torch state dict"


def _write_gguf(folder: Path, file: Path, kind: Literal["f32", "f16", "q8_0"]) -> str:
    from inkhorn.convert.gguf import write_gguf

    write_gguf(folder, file, kind)
    return f"GGUF, {kind}"
