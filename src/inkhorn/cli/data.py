"""`inkhorn data`: list the named corpora, or download and tokenize one."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from inkhorn.cli.data_source import DataFlags, DataSource
from inkhorn.cli.parsing import default, parse

if TYPE_CHECKING:
    from inkhorn.data.text import TextSource


@dataclass(frozen=True, kw_only=True)
class DataArgs(DataFlags):
    """List the named corpora, or download and tokenize one (or --text) as training would.

    Example: inkhorn data tiny-shakespeare
    """

    name: Annotated[tyro.conf.Positional[str | None], tyro.conf.arg(metavar="[CORPUS]", help_behavior_hint="")] = None
    """a named corpus; without it, list them"""
    save: Annotated[Path | None, default()] = None
    """also write the text to train.txt and val.txt in this folder"""


def run(argv: list[str]) -> int:
    args = parse(DataArgs, argv, "inkhorn data")
    args.check_text(args.name)
    if args.name is None and args.text is None:
        _list()
    else:
        _tokenize(args)
    return 0


def _list() -> None:
    from inkhorn.data.corpora import CORPORA
    from inkhorn.utils.download import cache_dir

    for corpus in CORPORA.values():
        print(corpus.listing)
    print(f"\nCache folder: {cache_dir()}. Your own text: --text FILE")


def _tokenize(args: DataArgs) -> None:
    source = DataSource(args, args.name or "")
    text = None if args.save is None else source.text_source()
    data = source.tokenize(verify_checksums=True)
    characters = getattr(data.tokenizer, "characters", None)
    alphabet = f": {''.join(characters)!r}" if characters else " tokens"
    print(f"{data.name}: {len(data.train):,} training tokens, {len(data.val):,} validation tokens")
    print(f"vocabulary of {data.tokenizer.vocab_size:,}{alphabet}\nsha256 {data.sha256}")
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
    print(f"written to {paths['train']} and {paths['val']}")
