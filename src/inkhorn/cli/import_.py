"""`inkhorn import`: other people's GPT-1s and GPT-2s as checkpoint folders of ours."""

import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from inkhorn.cli.parsing import parse
from inkhorn.convert.formats import Hints
from inkhorn.convert.hub import OPENAI, fetch
from inkhorn.errors import CheckpointError, InkhornError, UsageError, nearest


@dataclass(frozen=True, kw_only=True)
class ImportArgs:
    """Make a checkpoint folder of a model from elsewhere: transformers' GPT-2 or GPT-1 from the hub or a folder,
    nanoGPT's ckpt.pt, minGPT's or the Zero to Hero lecture's state dict."""

    source: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="SOURCE")]]
    """gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, openai-gpt, a repository OWNER/NAME of the hub, a folder, or
    a file"""
    out: Path | None = None
    """the folder to write; models/NAME when absent"""
    revision: str | None = None
    """branch, tag or commit of the repository"""
    text: Path | None = None
    """what a model of characters was trained on: its alphabet is the vocabulary"""
    tokenizer: str | None = None
    """the vocabulary: a folder with a tokenizer.json, nanoGPT's meta.pkl, gpt2 or openai-gpt"""
    hints: Annotated[Hints, tyro.conf.OmitArgPrefixes] = field(default_factory=Hints)


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(ImportArgs, argv, "inkhorn import")
    out = args.out or Path("models") / _name(args.source)
    if out.exists():
        raise CheckpointError(f"{out} is already there: give another --out, or delete it first")
    path = _find(args.source, args.revision)

    from inkhorn.checkpoint.tensorfile import stream_weights
    from inkhorn.convert.formats import open_checkpoint
    from inkhorn.convert.vocabulary import choose, write_generation_config

    folder = path if path.is_dir() else path.parent
    imported, vocabulary = choose(folder, open_checkpoint(path, args.hints), args.text, args.tokenizer)
    partial = out.with_name(out.name + ".tmp")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        written = stream_weights(partial, imported.config, imported.tensors, imported.dtype)
        vocabulary.save(partial)
        write_generation_config(partial, imported)
        for name in ("generation_config.json", "README.md"):
            if (folder / name).is_file() and path.is_dir():
                shutil.copyfile(folder / name, partial / name)
        partial.rename(out)
    except (InkhornError, OSError, KeyboardInterrupt):
        shutil.rmtree(partial, ignore_errors=True)
        raise
    config, size = imported.config, (out / written.name).stat().st_size
    for note in imported.notes:
        sys.stdout.write(f"{note}\n")
    sys.stdout.write(
        f"{out}: {imported.form}, {config.num_parameters:,} parameters, {config.n_layer} layers, {config.n_head} "
        f"heads, {config.n_embd} wide, {config.vocab_size:,} tokens, {size / 1e6:,.1f} MB\n"
        f"Try it: inkhorn generate --model {out}\n"
    )
    return 0


def _name(source: str) -> str:
    """A folder's name for what is imported: a generic file has its folder's."""
    path = Path(source)
    if path.is_file():
        return path.parent.resolve().name if path.stem in ("ckpt", "model", "pytorch_model") else path.stem
    return path.resolve().name if path.exists() else path.name


def _find(source: str, revision: str | None) -> Path:
    """Where the checkpoint lies, downloaded if it is the hub's."""
    if source in OPENAI:
        return fetch(OPENAI[source], revision)
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise UsageError(f"--revision {revision} is for repositories of the hub; {source} lies here")
        return path
    if source.count("/") == 1 and not source.startswith((".", "/", "~")) and not path.suffix:
        return fetch(source, revision)
    hint = nearest(source, OPENAI)
    raise UsageError(
        f"{source} is neither a folder or file here, nor a repository OWNER/NAME, nor a known name: {hint}"
    )
