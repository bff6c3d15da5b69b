"""`inkhorn data`: list the named corpora, or download and tokenize one."""

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from inkhorn.cli.data_source import DataFlags, DataSource
from inkhorn.cli.parsing import default, flag, parse
from inkhorn.cli.ray_cluster import Workers, check_room, parse_workers, ray_cluster
from inkhorn.errors import CorpusError, UsageError, require

if TYPE_CHECKING:
    from inkhorn.data.dataset import Dataset
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
    books: Annotated[str | None, default()] = None
    """build a corpus with the books of this file or URL: separated by <|endoftext|>, headed by title and author"""
    books_sha256: Annotated[str | None, default()] = None
    """checksum of the file that --books names; a URL needs it"""
    ray: Workers = None
    """encode documents in N workers of a Ray cluster (RAY_ADDRESS, or this machine), or as many as there is room for"""
    filler: bool = False
    """with --books: add the books that are not of the period to the pretraining text"""


def run(argv: list[str]) -> int:
    args = parse(DataArgs, argv, "inkhorn data")
    args.check_text(args.name)
    if args.books is not None:
        _build(args, args.books)
    else:
        for name in ("books_sha256", "filler"):
            require(getattr(args, name) in (None, False), f"{flag(name)} needs --books")
        _list() if args.name is None and args.text is None else _tokenize(args)
    return 0


def _build(args: DataArgs, books: str) -> None:
    from inkhorn.data.corpora import CORPORA, BuiltCorpus

    names = [name for name, corpus in CORPORA.items() if isinstance(corpus, BuiltCorpus)]
    corpus = CORPORA.get(args.name or "")
    if not isinstance(corpus, BuiltCorpus):
        raise UsageError(f"--books builds one of {', '.join(names)}: name one of them, as in inkhorn data {names[0]}")
    source = corpus.build(_books_file(books, args.books_sha256), print, filler=args.filler)
    sizes = {
        "pretraining": sum(map(len, source.pretrain_chunks())),
        "training": sum(map(len, source.train_chunks())),
        "validation": sum(map(len, source.val_chunks())),
    }
    counts = ", ".join(f"{count:,} {name}" for name, count in sizes.items())
    print(f"{args.name}: {counts} characters\nwritten to {corpus.folder}; removed.txt has the removed passages")


def _books_file(books: str, sha256: str | None) -> Path:
    """The file, downloaded if it is a URL, and checked if there is a checksum."""
    from inkhorn.utils.download import cache_dir, check_sha256, download

    path = Path(books)
    if books.startswith("https://"):
        if sha256 is None:
            raise UsageError(f"--books {books} needs --books-sha256 with the file's checksum")
        path = cache_dir() / books.rpartition("/")[2]
        download(books, path, sha256, f"Without a connection put the file at {path} and give its path")
    elif not path.is_file():
        raise CorpusError(f"--books {books}: there is no such file")
    if sha256 is not None:
        check_sha256(path, sha256)
    return path


def _list() -> None:
    from inkhorn.data.corpora import CORPORA
    from inkhorn.utils.download import cache_dir

    for corpus in CORPORA.values():
        print(corpus.listing)
    print(f"\nCache folder: {cache_dir()}. Your own text: --text FILE")


def _tokenize(args: DataArgs) -> None:
    source = DataSource(args, args.name or "")
    text = None if args.save is None else source.text_source()
    data = source.tokenize(verify_checksums=True) if args.ray is None else _tokenize_on_ray(source, args.ray)
    characters = getattr(data.tokenizer, "characters", None)
    alphabet = f": {''.join(characters)!r}" if characters else " tokens"
    print(f"{data.name}: {len(data.train):,} training tokens, {len(data.val):,} validation tokens")
    print(f"vocabulary of {data.tokenizer.vocab_size:,}{alphabet}\nsha256 {data.sha256}")
    if args.save is not None and text is not None:
        _save(text, args.save)


def _tokenize_on_ray(source: DataSource, workers: str) -> "Dataset":
    count = parse_workers(workers)
    source.check_encoder()
    with ray_cluster("The same command continues after the last complete shard.") as resources:
        available = int(resources.get("CPU", 0))
        check_room(count, "CPU", available)
        from inkhorn.data.ray_encode import ray_encoder

        encoder = ray_encoder(min(count.most, available))
        return replace(source, encoder=encoder).tokenize(verify_checksums=True)


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
