"""Documents one after another, read by the `datasets` library: parquet or JSON lines, of a folder or of the web.

They are not held in memory and not copied to disk. Where the reading stands is a small dictionary, from which it goes
on after a break.
"""

import hashlib
import json
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.errors import CorpusError, InkhornError

SUFFIXES = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst")
"""which files hold documents"""

COLUMN = "text"
"""where a document's text stands"""

_BATCH_CHARS = 1 << 20

State = dict[str, Any]
"""Where the reading of documents stands: rows read, and the place of that as a version of `datasets` says it; {} is the
beginning."""


@dataclass(frozen=True)
class Batch:
    """Some documents that follow each other.

    Attributes:
        texts: of about a million characters together.
        after: the state after them.

    """

    texts: list[str]
    after: State


@dataclass(frozen=True, kw_only=True)
class DocumentSource:
    """Documents in an order that is always the same.

    Attributes:
        name: fit for a file name.
        opened: begins to read: an `IterableDataset` whose rows have a `text`.
        facts: all that decides which documents come.
        way_out: what to do if they do not; ends the message of an error.

    """

    name: str
    opened: Callable[[], Any]
    facts: Mapping[str, Any]
    way_out: str

    @property
    def key(self) -> str:
        """Hexadecimal checksum of the facts."""
        return hashlib.sha256(json.dumps(self.facts, sort_keys=True).encode()).hexdigest()

    def batches(self, state: State) -> Generator[Batch, None, None]:
        """The documents from `state` on; CorpusError if they cannot be had, or a row has no text."""
        texts: list[str] = []
        size, count = 0, state.get("rows", 0)
        try:
            from datasets import __version__

            rows = self.opened()
            if state and state["version"] == __version__:
                rows.load_state_dict(state["place"])
            elif state:
                rows = rows.skip(state["rows"])  # reads them all again
            for row in rows:
                text = row.get(COLUMN)
                if not isinstance(text, str):
                    raise CorpusError(f"{self.name} has a row without {COLUMN!r}: its columns are {', '.join(row)}")
                count += 1
                if text:
                    texts.append(text)
                    size += len(text)
                if size >= _BATCH_CHARS:
                    yield Batch(texts, {"rows": count, "version": __version__, "place": rows.state_dict()})
                    texts, size = [], 0
            if texts:
                yield Batch(texts, {"rows": count, "version": __version__, "place": rows.state_dict()})
        except (InkhornError, ModuleNotFoundError, MemoryError, GeneratorExit):
            raise
        except Exception as error:  # of the hub's client, the readers of files and the web, each with kinds of its own
            raise CorpusError(f"cannot read {self.name}: {' '.join(str(error).split())}. {self.way_out}") from None


def from_folder(path: Path) -> DocumentSource | None:
    """The documents of a file or folder, in the order of paths; None if no file there holds any.

    A folder is known by its files' names, sizes and dates: to read all of it only for a checksum would take long.
    """
    files = document_files(path)
    if not files:
        return None
    kinds = {"parquet" if file.suffix == ".parquet" else "json" for file in files}
    if len(kinds) > 1:
        raise CorpusError(f"{path} holds both parquet and JSON lines: give one kind at a time")
    (kind,) = kinds

    def opened() -> Any:
        from datasets import load_dataset

        options = {"columns": [COLUMN]} if kind == "parquet" else {}
        names = [str(file) for file in files]
        return load_dataset(kind, data_files={"train": names}, split="train", streaming=True, **options)

    stats = [(str(file.relative_to(path.parent)), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return DocumentSource(
        name=path.resolve().name.partition(".")[0] or "documents",
        opened=opened,
        facts={"files": stats},
        way_out=f"Every row of the files ({', '.join(SUFFIXES)}) must have a {COLUMN!r}",
    )


def from_repository(name: str, repository: str, part: str, way_out: str) -> DocumentSource:
    """The documents of a dataset on the Hugging Face hub, or of a folder of the same form.

    Args:
        name: fit for a file name.
        repository: owner and name, or a folder.
        part: what the dataset's card calls a configuration.
        way_out: ends the message of an error.

    """

    def opened() -> Any:
        from datasets import load_dataset

        return load_dataset(repository, name=part, split="train", streaming=True, columns=[COLUMN])

    return DocumentSource(name=name, opened=opened, facts={"repository": repository, "part": part}, way_out=way_out)


def document_files(path: Path) -> list[Path]:
    """The file, or the files of a folder, that hold documents."""
    candidates = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file for file in candidates if file.name.lower().endswith(SUFFIXES) and file.is_file()]
