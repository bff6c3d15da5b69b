"""`inkhorn data`: what corpora there are; `inkhorn data NAME` fetches and tokenises one."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from inkhorn.cli.data_source import DataSource
from inkhorn.cli.parsing import parse
from inkhorn.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DataArgs:
    """List the named corpora, or fetch one (or read --text) and tokenise it, as training would."""

    name: tyro.conf.Positional[str | None] = None
    """a named corpus; without it, the list"""
    text: Path | None = None
    """a text file or folder of text files instead; or .parquet or .jsonl files, whose every row has a text"""
    val_text: Path | None = None
    """the text to validate on, instead of the last tenth of --text"""
    tokenizer: str = "char"
    """char: a token is a character; bpe: --vocab-size tokens learnt from the text; gpt2 or openai-gpt: OpenAI's; or a
    folder that has a tokenizer.json"""
    vocab_size: int = 4096
    """with --tokenizer bpe: how many tokens"""
    save: Path | None = None
    """also write the text to this folder, as train.txt and val.txt"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(DataArgs, argv, "inkhorn data")
    if args.name is not None and args.text is not None:
        raise UsageError(f"give either the corpus {args.name} or --text {args.text}, not both")
    if args.val_text is not None and args.text is None:
        raise UsageError("--val-text goes with --text: a named corpus has its own validation part")
    if args.name is None and args.text is None:
        _list()
    else:
        _build(args)
    return 0


def _list() -> None:
    from rich.console import Console
    from rich.table import Table

    from inkhorn.data import corpora, fineweb

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "characters", "what", "licence", "here"):
        table.add_column(column, justify="right" if column == "characters" else "left", overflow="fold")
    for entry, path in corpora.listing():
        table.add_row(entry.name, f"{entry.n_chars:,}", entry.description, entry.licence, "yes" if path else "not yet")
    table.add_row("fineweb-edu-SIZE", "", fineweb.DESCRIPTION, fineweb.LICENCE, "streamed")
    console = Console()
    console.print(table)
    console.print(
        f"\nFiles are kept in {corpora.cache_dir()}. Any text of your own: --text FILE", highlight=False, soft_wrap=True
    )


def _build(args: DataArgs) -> None:
    text = DataSource(
        path=args.text,
        corpus=args.name or "",
        val_path=args.val_text,
        vocabulary=args.tokenizer,
        vocab_size=args.vocab_size,
    )
    source = None if args.save is None else text.source()
    data = text.tokenize(verify_checksums=True)
    characters = getattr(data.tokenizer, "characters", None)
    alphabet = f": {''.join(characters)!r}" if characters else " tokens"
    sys.stdout.write(
        f"{data.name}: {len(data.train):,} tokens to train on, {len(data.val):,} held out\n"
        f"vocabulary of {data.tokenizer.vocab_size:,}{alphabet}\n"
        f"sha256 {data.sha256}\n"
    )
    if args.save is not None and source is not None:
        args.save.mkdir(parents=True, exist_ok=True)
        for part, chunks in (("train", source.train_chunks()), ("val", source.val_chunks())):
            with (args.save / f"{part}.txt").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(chunks)
        sys.stdout.write(f"written to {args.save / 'train.txt'} and {args.save / 'val.txt'}\n")
