"""Encode documents in the workers of a Ray cluster, in the same order and with the same result as on one machine.

The files are cut into parts: a JSON Lines file, or a row group of a parquet file. Ray Data gives each part to a worker,
which reads, checks and encodes it with the same functions as one machine does, and returns the parts in order, in
pieces. This process puts the pieces together again and writes the shards, so that neither batches nor shards depend on
the number of workers. Ray is imported inside the functions, because it is an optional package.
"""

import logging
import pickle
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from inkhorn.data import documents
from inkhorn.data.documents import COLUMN, DocumentSource, ReaderState, bad_row_error, skipped_rows
from inkhorn.data.json_lines import BadRow, JsonLines, usable_text
from inkhorn.data.parallel_encode import EncodedBatch, encode_texts
from inkhorn.data.remote_file import RemoteFile
from inkhorn.errors import CorpusError, InkhornError
from inkhorn.tokenizer.base import Ids, Tokenizer
from inkhorn.utils.package_digest import package_digest

_PIECE_CHARS = 1 << 19  # characters of a piece: a worker holds no more text than this and one row group's page
_BLOCK_BYTES = 1 << 24  # bytes that Ray Data collects before it hands them on
_ROWS_PER_READ = 64
_VERSION = "rows of parquet 1"  # of a state, whose place is the number of rows alone


@dataclass(frozen=True)
class Part:
    """What one worker reads at a time."""

    file: Path | RemoteFile
    number: int  # of the file
    group: int | None  # row group of a parquet file; None for JSON Lines
    first_row: int = 0  # rows of the file before the row group
    skip: int = 0  # lines of a JSON Lines file, or rows of a row group, that were read before


@dataclass
class Piece:
    """Documents of a part, in order. Empty ones are left out."""

    part: Part
    ids: list[Ids] = field(default_factory=list)  # token ids of each document
    chars: list[int] = field(default_factory=list)  # length of each document
    n_bytes: list[int] = field(default_factory=list)  # in UTF-8
    replaced: list[int] = field(default_factory=list)  # number of characters outside the vocabulary
    rows: list[int] = field(default_factory=list)  # rows of the piece up to and including each document
    lines: list[int] = field(default_factory=list)  # line of the file that each document is in; 0 for parquet
    num_rows: int = 0  # of the piece, bad and empty ones included
    bad: list[str] = field(default_factory=list)  # rows without a usable text
    error: str = ""  # why the part cannot be read any further


def split_into_parts(source: DocumentSource, state: ReaderState) -> list[Part]:
    """The parts of a source from a state of its reader on.

    Raises:
        CorpusError: a file cannot be read, or the state is that of another reader.
    """
    if not source.parquet:
        if state and state["version"] != JsonLines.version:
            raise CorpusError(f"{source.name} was begun by another version of inkhorn: go on without --ray")
        place = state["place"] if state else {"file": 0, "line": 0}
        first = place["file"]
        files = list(enumerate(source.files))[first:]
        return [Part(file, number, None, skip=place["line"] if number == first else 0) for number, file in files]
    with ThreadPoolExecutor(16) as pool:
        groups = list(pool.map(_row_groups, source.files))
    skip, parts = state.get("rows", 0), []
    for number, (file, sizes) in enumerate(zip(source.files, groups, strict=True)):
        first_row = 0
        for group, size in enumerate(sizes):
            if skip < size:
                parts.append(Part(file, number, group, first_row, skip))
            skip, first_row = max(0, skip - size), first_row + size
    return parts


def _row_groups(file: Path | RemoteFile) -> list[int]:
    """The number of rows in each row group of a parquet file."""
    from pyarrow.parquet import ParquetFile

    try:
        with file.open("rb") as opened:
            metadata = ParquetFile(opened).metadata
            return [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except (InkhornError, ModuleNotFoundError):
        raise
    except Exception as error:  # pyarrow and the storages have many exception types
        raise CorpusError(f"cannot read {file}: {' '.join(str(error).split())}") from None


def encode_part(part: Part, tokenizer: Tokenizer) -> Iterator[Piece]:
    """Read and encode a part, in pieces."""
    piece, size = Piece(part), 0
    try:
        for row, line in _read_json(part) if part.group is None else _read_parquet(part):
            piece.num_rows += 1
            if isinstance(row, BadRow):
                piece.bad.append(str(row))
            elif row:
                encoded = encode_texts(tokenizer, [row])
                piece.ids += encoded.ids
                piece.n_bytes += encoded.n_bytes
                piece.replaced.append(encoded.replaced)
                piece.chars.append(len(row))
                piece.rows.append(piece.num_rows)
                piece.lines.append(line)
                size += len(row)
            if size >= _PIECE_CHARS:
                yield piece
                piece, size = Piece(part), 0
    except InkhornError as error:
        piece.error = str(error)
    except Exception as error:  # pyarrow and the storages have many exception types
        piece.error = f"cannot read {part.file}: {' '.join(str(error).split())}"
    yield piece


def _read_json(part: Part) -> Iterator[tuple[str | BadRow, int]]:
    rows = JsonLines([part.file], COLUMN)
    rows.load_state_dict({"file": 0, "line": part.skip})
    for row in rows:
        yield row, rows.state_dict()["line"]


def _read_parquet(part: Part) -> Iterator[tuple[str | BadRow, int]]:
    from pyarrow.parquet import ParquetFile

    assert part.group is not None
    number = part.first_row
    with part.file.open("rb") as opened:
        file = ParquetFile(opened)
        columns = [COLUMN] if COLUMN in file.schema_arrow.names else None
        for batch in file.iter_batches(_ROWS_PER_READ, [part.group], columns):
            for row in batch.to_pylist():
                number += 1
                if number > part.first_row + part.skip:
                    text = usable_text(row, COLUMN)
                    where = f"{part.file}, row {number:,},"
                    yield BadRow(where, text[0]) if isinstance(text, tuple) else text, 0


def merge_pieces(
    pieces: Iterable[Piece], source: DocumentSource, state: ReaderState, log: Callable[[str], None]
) -> Generator[tuple[ReaderState, EncodedBatch], None, None]:
    """Put pieces together to the batches that one machine makes of the documents, each with the state after it.

    Raises:
        CorpusError: a part could not be read, or has a row without a usable text that is not to be skipped.
    """
    batch, size, replaced = EncodedBatch([], [], 0), 0, 0
    rows, place = state.get("rows", 0), state.get("place", {})
    num_bad, first_bad = 0, ""

    def after(rows: int) -> ReaderState:
        return {"rows": rows, "version": _VERSION if source.parquet else JsonLines.version, "place": place}

    for piece in pieces:
        if piece.bad and not source.skip_bad_rows:
            raise bad_row_error(piece.bad[0])
        if piece.bad:
            num_bad, first_bad = num_bad + len(piece.bad), first_bad or piece.bad[0]
        for i, ids in enumerate(piece.ids):
            batch.ids.append(ids)
            batch.n_bytes.append(piece.n_bytes[i])
            replaced += piece.replaced[i]
            size += piece.chars[i]
            if size >= documents.BATCH_CHARS:
                place = {} if source.parquet else {"file": piece.part.number, "line": piece.lines[i]}
                yield after(rows + piece.rows[i]), replace(batch, replaced=replaced)
                batch, size, replaced = EncodedBatch([], [], 0), 0, 0
        rows += piece.num_rows
        if piece.error:
            raise CorpusError(piece.error)
    if batch.ids:
        place = {} if source.parquet else {"file": len(source.files), "line": 0}
        yield after(rows), replace(batch, replaced=replaced)
    if num_bad:
        log(skipped_rows(num_bad, first_bad))


class _Encoder:
    """Encodes parts in a worker."""

    def __init__(self, tokenizer: bytes, digest: str) -> None:
        self.problem = "" if package_digest() == digest else "a machine of the Ray cluster has other files of inkhorn"
        self.tokenizer: Tokenizer = pickle.loads(tokenizer)

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, list[bytes]]]:
        for packed in batch["part"]:
            part = pickle.loads(packed)
            made = [Piece(part, error=self.problem)] if self.problem else encode_part(part, self.tokenizer)
            for piece in made:
                yield {"piece": [pickle.dumps(piece)]}


def ray_encoder(
    workers: int,
) -> Callable[..., Generator[tuple[ReaderState, EncodedBatch], None, None]]:
    """The function that encodes a source in so many workers of the cluster that `ray.init` has connected to.

    Its arguments are the source, the tokenizer, the state to start from and a function for messages.
    """

    def encode(
        source: DocumentSource, tokenizer: Tokenizer, state: ReaderState, log: Callable[[str], None]
    ) -> Generator[tuple[ReaderState, EncodedBatch], None, None]:
        yield from merge_pieces(_encode_on_ray(split_into_parts(source, state), tokenizer, workers), source, state, log)

    return encode


def _encode_on_ray(parts: list[Part], tokenizer: Tokenizer, workers: int) -> Iterator[Piece]:
    import ray

    if not parts:
        return
    logging.getLogger("ray.data").setLevel(logging.WARNING)  # its plans and times are not the user's
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = True
    context.target_max_block_size = _BLOCK_BYTES
    data = ray.data.from_items([{"part": pickle.dumps(part)} for part in parts], override_num_blocks=len(parts))
    encoded = data.map_batches(
        _Encoder,
        batch_size=1,
        fn_constructor_args=(pickle.dumps(tokenizer), package_digest()),
        compute=ray.data.ActorPoolStrategy(size=min(workers, len(parts))),
        num_cpus=1,
    )
    try:
        for table in encoded.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
            for packed in table.column("piece"):
                yield pickle.loads(packed.as_py())
    except ray.exceptions.RayError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        raise CorpusError(
            f"the Ray cluster cannot go on: {lines[-1] if lines else type(error).__name__}. Finished shards are kept; "
            "the same command continues"
        ) from None
