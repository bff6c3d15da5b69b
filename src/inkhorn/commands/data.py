"""`inkhorn data`: what corpora there are; `inkhorn data NAME` fetches and tokenises one."""

import sys
from dataclasses import dataclass
from pathlib import Path

import tyro

from inkhorn.commands.flags import parse
from inkhorn.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class DataArgs:
    """List the named corpora, or fetch one (or read --text) and tokenise it, as training would."""

    name: tyro.conf.Positional[str | None] = None
    """a named corpus; without it, the list"""
    text: Path | None = None
    """a text file, or folder of text files, instead"""
    val_text: Path | None = None
    """the text to validate on, instead of the last tenth of --text"""
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

    from inkhorn import corpus

    table = Table(box=None, header_style="bold", pad_edge=False)
    for column in ("name", "characters", "what", "licence", "here"):
        table.add_column(column, justify="right" if column == "characters" else "left", overflow="fold")
    for entry, path in corpus.listing():
        table.add_row(entry.name, f"{entry.n_chars:,}", entry.description, entry.licence, "yes" if path else "not yet")
    console = Console()
    console.print(table)
    console.print(
        f"\nFiles are kept in {corpus.cache_dir()}. Any text of your own: --text FILE", highlight=False, soft_wrap=True
    )


def _build(args: DataArgs) -> None:
    from inkhorn import corpus, dataset, textsource
    from inkhorn.progress_bar import tokenising

    source = textsource.from_path(args.text, val_path=args.val_text) if args.text else corpus.fetch(args.name or "")
    with tokenising(source) as progress:
        data = dataset.prepare(source, corpus.cache_dir(), progress)
    alphabet = "".join(getattr(data.tokenizer, "characters", []))
    sys.stdout.write(
        f"{data.name}: {len(data.train):,} tokens to train on, {len(data.val):,} held out\n"
        f"vocabulary of {data.tokenizer.vocab_size}: {alphabet!r}\n"
        f"sha256 {data.sha256}\n"
    )
    if args.save is not None:
        args.save.mkdir(parents=True, exist_ok=True)
        for part, chunks in (("train", source.train_chunks()), ("val", source.val_chunks())):
            with (args.save / f"{part}.txt").open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(chunks)
        sys.stdout.write(f"written to {args.save / 'train.txt'} and {args.save / 'val.txt'}\n")
