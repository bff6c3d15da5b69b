"""`inkhorn import`: convert GPT-1 and GPT-2 checkpoints of other projects to checkpoint folders."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from inkhorn.checkpoint.resolve import display_name
from inkhorn.cli.parsing import default, parse
from inkhorn.convert.formats import ImportOptions
from inkhorn.convert.hub import OPENAI, download_checkpoint
from inkhorn.errors import CheckpointError, UsageError, nearest
from inkhorn.utils.files import atomic_write

_FILE_SUFFIXES = {".bin", ".ckpt", ".gguf", ".json", ".pkl", ".pt", ".pth", ".safetensors", ".txt", ".zip"}


@dataclass(frozen=True, kw_only=True)
class ImportArgs:
    """Convert a checkpoint to a Hugging Face folder.

    Sources: GPT-2 and GPT-1 of transformers, from the Hugging Face hub or a folder; nanoGPT's ckpt.pt; state dicts of
    minGPT, of Karpathy's "Let's build GPT" and of inkhorn.GPT.
    """

    source: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="SOURCE")]]
    """gpt2, gpt2-medium, gpt2-large, gpt2-xl, distilgpt2, openai-gpt, OWNER/NAME on the hub, a folder or a file"""
    out: Annotated[Path | None, default("models/NAME")] = None
    """folder to write"""
    revision: Annotated[str | None, default()] = None
    """branch, tag or commit of the hub repository"""
    text: Annotated[Path | None, default()] = None
    """training text of a character-level model; its characters become the vocabulary"""
    encoding: Annotated[str | None, default("utf-8, or that of a byte order mark")] = None
    """encoding of --text, such as cp1252, cp1251 or shift_jis"""
    tokenizer: Annotated[str | None, default()] = None
    """vocabulary: a folder with a tokenizer.json, nanoGPT's meta.pkl, gpt2 or openai-gpt"""
    checkpoint: Annotated[ImportOptions, tyro.conf.OmitArgPrefixes] = field(default_factory=ImportOptions)


def run(argv: list[str]) -> int:
    args = parse(ImportArgs, argv, "inkhorn import", example="inkhorn import ckpt.pt --text input.txt")
    out = args.out or Path("models") / _name(args.source)
    if out.exists():
        raise CheckpointError(f"{out} already exists: give another --out, or delete it first")
    if args.encoding is not None and args.text is None:
        raise UsageError("--encoding is that of --text: add --text, or leave it out")
    path = _find(args.source, args.revision)

    from inkhorn.checkpoint.model_card import model_card
    from inkhorn.checkpoint.weights import read_eos_token_ids, write_generation_config, write_weights
    from inkhorn.convert.formats import open_checkpoint
    from inkhorn.convert.vocabulary import choose

    folder = path if path.is_dir() else path.parent
    model, vocabulary = choose(
        folder, open_checkpoint(path, args.checkpoint), args.text, args.tokenizer, encoding=args.encoding
    )
    with atomic_write(out) as temporary:
        weights = write_weights(temporary, model.config, model.tensors, model.dtype).name
        vocabulary.save(temporary, model.config.block_size)
        ends = read_eos_token_ids(folder, model.config) if path.is_dir() else ()
        write_generation_config(temporary, model.config, ends if len(ends) > 1 else ())
        for name in ("generation_config.json", "README.md"):
            if (folder / name).is_file() and path.is_dir():
                shutil.copyfile(folder / name, temporary / name)
        if not (temporary / "README.md").exists():
            card = model_card(model.config, f"imported from {display_name(args.source)}", {"source": model.source})
            (temporary / "README.md").write_text(card, encoding="utf-8")
    config, size = model.config, (out / weights).stat().st_size
    for note in model.notes:
        print(note)
    shape = f"{config.n_layer} layers, {config.n_head} heads, width {config.n_embd}, {config.vocab_size:,} tokens"
    print(f"{out}: {model.source}, {config.num_parameters:,} parameters, {shape}, {size / 1e6:,.1f} MB")
    print(f"Try it: inkhorn generate --model {out}")
    return 0


def _name(source: str) -> str:
    """The name of the output folder: that of the source's folder if the file has a generic name."""
    path = Path(source)
    if path.is_file():
        return path.parent.resolve().name if path.stem in ("ckpt", "model", "pytorch_model") else path.stem
    return path.resolve().name if path.exists() else path.name


def _find(source: str, revision: str | None) -> Path:
    """The path of the checkpoint, downloaded if it is on the hub."""
    if source in OPENAI:
        return download_checkpoint(OPENAI[source], revision)
    path = Path(source)
    if path.exists():
        if revision is not None:
            raise UsageError(f"--revision {revision} applies to hub repositories only; {source} is a local path")
        return path
    if source.count("/") == 1 and not source.startswith((".", "/", "~")) and path.suffix.lower() not in _FILE_SUFFIXES:
        return download_checkpoint(source, revision)
    hint = nearest(source, OPENAI)
    raise UsageError(f"{source} is not a local path, a hub repository OWNER/NAME or a known name: {hint}")
