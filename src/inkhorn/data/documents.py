"""Collections of documents: local JSON lines, and parquet, local or from the hub, streamed by the `datasets` library.

Documents are neither held in memory nor copied to disk. The position of the reader is a small dictionary, from which
reading resumes after an interruption.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.data.json_lines import BadRow, JsonLines, usable_text
from inkhorn.data.remote_file import RemoteFile, list_files, remote_url
from inkhorn.data.text_file import COMPRESSED_SUFFIXES
from inkhorn.errors import CorpusError, InkhornError

SUFFIXES = (
    ".parquet",
    ".jsonl",
    *(".jsonl" + suffix for suffix in COMPRESSED_SUFFIXES),
)  # suffixes of the files that hold documents

COLUMN = "text"  # the column that holds a document's text

BATCH_CHARS = 1 << 20

ReaderState = dict[str, Any]
"""The position of a reader: number of rows read, and the state of the iterator with the version of the reader that it
belongs to. {} is the start."""


@dataclass(frozen=True, kw_only=True)
class DocumentSource:
    """Documents in a fixed order."""

    name: str  # used as a file name
    open: Callable[[], Any]  # starts a read: an `IterableDataset` whose rows have a `text`, or `JsonLines`
    identity: Mapping[str, Any]  # all that determines the documents
    hint: str  # what to do if they cannot be read; the last sentence of the error
    num_shards: int | None = None  # how many shards of tokens to use; all documents when None
    skip_bad_rows: bool = False  # skip rows without a usable text instead of raising an error
    locate: Callable[[int], str] | None = None  # names the file and the row of a row's number; None for a hub's dataset
    files: tuple[Path | RemoteFile, ...] = ()  # in order; none for a hub's dataset
    parquet: bool = False  # whether the files are parquet, not JSON Lines

    @property
    def key(self) -> str:
        """Hexadecimal checksum of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def batches(
        self, state: ReaderState, log: Callable[[str], None] = lambda _: None
    ) -> Generator[tuple[ReaderState, list[str]], None, None]:
        """Read the documents from `state` on, in batches of about a million characters.

        Yields the state of the reader after a batch, and its texts. Reports the number of skipped rows to `log`. Raises
        CorpusError if the documents cannot be read, or if a row has no usable text and is not to be skipped.
        """
        texts: list[str] = []
        size, count = 0, state.get("rows", 0)
        num_skipped, first_skipped = 0, ""
        try:
            rows = self.open()
            version = rows.version if isinstance(rows, JsonLines) else _datasets_version()
            if state and state["version"] == version:
                rows.load_state_dict(state["place"])
            elif state:
                rows = rows.skip(state["rows"])  # reads them again
            for row in rows:
                text: str | BadRow | tuple[str] = row if isinstance(row, str | BadRow) else usable_text(row, COLUMN)
                if isinstance(text, tuple):
                    where = f"{self.name}, row {count + 1:,}," if self.locate is None else self.locate(count)
                    text = BadRow(where, text[0])
                count += 1
                if isinstance(text, BadRow):
                    if not self.skip_bad_rows:
                        raise bad_row_error(str(text)) if self.files else CorpusError(str(text))
                    num_skipped, first_skipped = num_skipped + 1, first_skipped or str(text)
                    continue
                if text:
                    texts.append(text)
                    size += len(text)
                if size >= BATCH_CHARS:
                    yield {"rows": count, "version": version, "place": rows.state_dict()}, texts
                    texts, size = [], 0
            if texts:
                yield {"rows": count, "version": version, "place": rows.state_dict()}, texts
            if num_skipped:
                log(skipped_rows(num_skipped, first_skipped))
        except (InkhornError, ModuleNotFoundError, MemoryError, GeneratorExit):
            raise
        except Exception as error:  # the file readers and the hub's client have many exception types
            raise CorpusError(f"cannot read {self.name}: {' '.join(str(error).split())}. {self.hint}") from None


def bad_row_error(row: str) -> CorpusError:
    """The error for a row of a file without a usable text."""
    return CorpusError(f"{row}. Fix the row, or add --skip-bad-rows")


def skipped_rows(count: int, first: str) -> str:
    """The message about rows that were skipped."""
    return f"{'1 row was' if count == 1 else f'{count:,} rows were'} skipped; the first: {first}"


def _datasets_version() -> str:
    from datasets import __version__

    return str(__version__)


def from_folder(path: Path, *, skip_bad_rows: bool = False) -> DocumentSource | None:
    """The documents of a file, or of a folder in the order of its paths; None if there are none.

    A folder is identified by the names, sizes and modification times of its files, because a checksum of the content
    would take too long. The path may be the URL of a folder in object storage.

    Args:
        path: a file or a folder.
        skip_bad_rows: skip rows without a usable text instead of raising an error.
    """
    url = remote_url(path)
    files: list[Path | RemoteFile] = []
    stats: list[tuple[str, int, Any]] = []
    if url is not None:
        listed = [found for found in list_files(url) if str(found[0]).lower().endswith(SUFFIXES)]
        files, stats = [found[0] for found in listed], [found[1:] for found in listed]
        if not files:
            raise CorpusError(f"{url} has no documents ({', '.join(SUFFIXES)}): copy other texts to this machine")
    else:
        candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
        for file in candidates:
            if file.name.lower().endswith(SUFFIXES) and file.is_file():
                files.append(file)
                stats.append((str(file.relative_to(path.parent)), file.stat().st_size, file.stat().st_mtime_ns))
    if not files:
        return None
    formats = {"parquet" if str(file).lower().endswith(".parquet") else "json" for file in files}
    if len(formats) > 1:
        raise CorpusError(f"{path} has both parquet and JSON lines files: give a folder with one format")
    parquet = formats == {"parquet"}

    def open_parquet() -> Any:
        from datasets import load_dataset

        names = [str(file) for file in files]
        return load_dataset("parquet", data_files={"train": names}, split="train", streaming=True, columns=[COLUMN])

    def locate(number: int) -> str:
        from pyarrow.parquet import read_metadata

        for file in files:
            with file.open("rb") as opened:
                rows = read_metadata(opened).num_rows
            if number < rows:
                return f"{file}, row {number + 1:,},"
            number -= rows
        raise AssertionError

    return DocumentSource(
        name=(path if url else path.resolve()).name.partition(".")[0] or "documents",
        open=open_parquet if parquet else lambda: JsonLines(files, COLUMN),
        identity={"files": stats} | ({"skip_bad_rows": True} if skip_bad_rows else {}),
        hint=f"Every row of the files ({', '.join(SUFFIXES)}) must have a {COLUMN!r}",
        skip_bad_rows=skip_bad_rows,
        locate=locate if parquet else None,
        files=tuple(files),
        parquet=parquet,
    )
