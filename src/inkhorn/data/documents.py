"""Collections of documents, streamed by the `datasets` library: parquet or JSON lines, local or from the hub.

Documents are neither held in memory nor copied to disk. The position of the reader is a small dictionary, from which
reading resumes after an interruption.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.errors import CorpusError, InkhornError

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")  # suffixes of the files that hold documents

COLUMN = "text"  # the column that holds a document's text

_BATCH_CHARS = 1 << 20

ReaderState = dict[str, Any]
"""The position of a reader: number of rows read, and the state of the iterator with the version of `datasets` that it
belongs to. {} is the start."""


@dataclass(frozen=True, kw_only=True)
class DocumentSource:
    """Documents in a fixed order."""

    name: str  # used as a file name
    open: Callable[[], Any]  # starts a read: an `IterableDataset` whose rows have a `text`
    identity: Mapping[str, Any]  # all that determines the documents
    hint: str  # what to do if they cannot be read; the last sentence of the error
    num_shards: int | None = None  # how many shards of tokens to use; all documents when None

    @property
    def key(self) -> str:
        """Hexadecimal checksum of the identity."""
        return hashlib.sha256(json.dumps(self.identity, sort_keys=True).encode()).hexdigest()

    def batches(self, state: ReaderState) -> Generator[tuple[ReaderState, list[str]], None, None]:
        """Read the documents from `state` on, in batches of about a million characters.

        Yields the state of the reader after a batch, and its texts. Raises CorpusError if the documents cannot be read,
        or a row has no text.
        """
        texts: list[str] = []
        size, count = 0, state.get("rows", 0)
        try:
            from datasets import __version__

            rows = self.open()
            if state and state["version"] == __version__:
                rows.load_state_dict(state["place"])
            elif state:
                rows = rows.skip(state["rows"])  # reads them again
            for row in rows:
                text = row.get(COLUMN)
                if not isinstance(text, str):
                    raise CorpusError(f"{self.name} has a row without {COLUMN!r}: its columns are {', '.join(row)}")
                count += 1
                if text:
                    texts.append(text)
                    size += len(text)
                if size >= _BATCH_CHARS:
                    yield {"rows": count, "version": __version__, "place": rows.state_dict()}, texts
                    texts, size = [], 0
            if texts:
                yield {"rows": count, "version": __version__, "place": rows.state_dict()}, texts
        except (InkhornError, ModuleNotFoundError, MemoryError, GeneratorExit):
            raise
        except Exception as error:  # the file readers and the hub's client have many exception types
            raise CorpusError(f"cannot read {self.name}: {' '.join(str(error).split())}. {self.hint}") from None


def from_folder(path: Path) -> DocumentSource | None:
    """The documents of a file, or of a folder in the order of its paths; None if there are none.

    A folder is identified by the names, sizes and modification times of its files, because a checksum of the content
    would take too long.
    """
    candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
    files = [file for file in candidates if file.name.lower().endswith(SUFFIXES) and file.is_file()]
    if not files:
        return None
    formats = {"parquet" if file.suffix == ".parquet" else "json" for file in files}
    if len(formats) > 1:
        raise CorpusError(f"{path} has both parquet and JSON lines files: give a folder with one format")
    (format_name,) = formats

    def open_files() -> Any:
        from datasets import load_dataset

        options = {"columns": [COLUMN]} if format_name == "parquet" else {}
        names = [str(file) for file in files]
        return load_dataset(format_name, data_files={"train": names}, split="train", streaming=True, **options)

    stats = [(str(file.relative_to(path.parent)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return DocumentSource(
        name=path.resolve().name.partition(".")[0] or "documents",
        open=open_files,
        identity={"files": stats},
        hint=f"Every row of the files ({', '.join(SUFFIXES)}) must have a {COLUMN!r}",
    )
