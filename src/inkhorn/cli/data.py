"""`inkhorn data`: list the named corpora, or download and tokenize one."""

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

from inkhorn.cli.data_source import DataSource
from inkhorn.cli.parsing import parse
from inkhorn.errors import UsageError

if TYPE_CHECKING:
    from inkhorn.data.text import TextSource


@dataclass(frozen=True, kw_only=True)
class DataArgs:
    """List the named corpora, or download and tokenize one (or --text) as training would.

    Example: inkhorn data tiny-shakespeare
    """

    name: tyro.conf.Positional[str | None] = None
    """a named corpus; without it, list them"""
    text: Path | None = None
    """a text file or folder instead; or .parquet or .jsonl files whose rows have a "text" """
    val_text: Path | None = None
    """a validation text, instead of the last tenth of --text"""
    tokenizer: str = "char"
    """char: one token per character; bpe: train one with --vocab-size tokens; gpt2 or openai-gpt: OpenAI's; or a folder
    with a tokenizer.json"""
    vocab_size: int = 4096
    """vocabulary size of --tokenizer bpe"""
    save: Path | None = None
    """also write the text to train.txt and val.txt in this folder"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(DataArgs, argv, "inkhorn data")
    if args.name is not None and args.text is not None:
        raise UsageError(f"give either the corpus {args.name} or --text {args.text}, not both")
    if args.val_text is not None and args.text is None:
        raise UsageError("--val-text needs --text: a named corpus has its own validation split")
    if args.name is None and args.text is None:
        _list()
    else:
        _tokenize(args)
    return 0


def _list() -> None:
    from inkhorn.data.corpora import CORPORA
    from inkhorn.utils.download import cache_dir

    for corpus in CORPORA.values():
        sys.stdout.write(f"{corpus.label} ({corpus.kind}, {corpus.license}, {corpus.status})\n")
        sys.stdout.write(f"    {corpus.description}: {corpus.size}\n")
    sys.stdout.write(f"\nCache folder: {cache_dir()}. Your own text: --text FILE\n")


def _tokenize(args: DataArgs) -> None:
    source = DataSource(
        path=args.text,
        corpus=args.name or "",
        val_path=args.val_text,
        vocabulary=args.tokenizer,
        vocab_size=args.vocab_size,
    )
    text = None if args.save is None else source.text_source()
    data = source.tokenize(verify_checksums=True)
    characters = getattr(data.tokenizer, "characters", None)
    alphabet = f": {''.join(characters)!r}" if characters else " tokens"
    sys.stdout.write(
        f"{data.name}: {len(data.train):,} training tokens, {len(data.val):,} validation tokens\n"
        f"vocabulary of {data.tokenizer.vocab_size:,}{alphabet}\n"
        f"sha256 {data.sha256}\n"
    )
    if args.save is not None and text is not None:
        _save(text, args.save)


def _save(text: "TextSource", folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    paths = {"train": folder / "train.txt", "val": folder / "val.txt"}
    with ExitStack() as stack:
        files = {
            split: stack.enter_context(path.open("w", encoding="utf-8", newline="\n")) for split, path in paths.items()
        }
        for split, chunk in text.chunks():
            files[split].write(chunk)
    sys.stdout.write(f"written to {paths['train']} and {paths['val']}\n")
