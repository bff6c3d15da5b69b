"""What an evaluation has found so far, an item a line, so that one that was stopped goes on where it was."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from inkhorn.errors import InkhornError, UsageError
from inkhorn.utils.jsonl import write_jsonl

Record = dict[str, float]
"""what is kept of an item: numbers by name"""


class Journal:
    """The records of one task, kept in a file or, without one, in memory only.

    The first line of the file is the key; a line follows for each item, as it is done. A line that a crash cut in half
    is dropped.

    Args:
        path: the file, made with its folder if need be; None keeps nothing.
        key: all that the records depend on. A file with another key is refused, not mixed up with.

    """

    def __init__(self, path: Path | None, key: Mapping[str, Any]) -> None:
        self.path, self.key = path, dict(key)
        self.records: dict[int, Record] = {}
        self._file: TextIO | None = None

    def __enter__(self) -> "Journal":
        if self.path is None:
            return self
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.is_file():
                self._read(self.path)
            self._write(self.path)
            self._file = self.path.open("a", encoding="utf-8")
        except OSError as error:
            raise InkhornError(f"cannot keep results in {self.path}: {error.strerror or error}") from None
        return self

    def __exit__(self, *error: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, item: int, record: Record) -> None:
        """Keep what was found of an item."""
        self.records[item] = record
        if self._file is not None:
            try:
                self._file.write(self._line(item))
                self._file.flush()
            except OSError as error:
                raise InkhornError(f"cannot keep results in {self.path}: {error.strerror or error}") from None

    def _line(self, item: int) -> str:
        return json.dumps({"item": item, **self.records[item]}) + "\n"

    def _read(self, path: Path) -> None:
        """Take over the whole lines of the file; UsageError if they are of something else."""
        lines = []
        for text in path.read_text(encoding="utf-8", errors="replace").split("\n"):
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict):
                lines.append(line)
        if not lines:
            return
        found = lines[0].get("key")
        if found != self.key:
            odd = [n for n in self.key if not isinstance(found, dict) or found.get(n) != self.key[n]]
            raise UsageError(
                f"{path} holds results that differ in {', '.join(odd) or 'their settings'}: give another --out"
            )
        for line in lines[1:]:
            item = line.pop("item", None)
            if isinstance(item, int) and all(isinstance(value, int | float) for value in line.values()):
                self.records[item] = line

    def _write(self, path: Path) -> None:
        """Write the file anew, whole or not at all: what is appended must not run on from half a line."""
        write_jsonl(path, [{"key": self.key}, *({"item": item, **record} for item, record in self.records.items())])
