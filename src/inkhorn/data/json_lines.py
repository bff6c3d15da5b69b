"""Read the texts of JSON Lines files, row by row, resumably."""

import codecs
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.data.remote_file import RemoteFile
from inkhorn.data.text_file import open_decompressed


@dataclass(frozen=True)
class BadRow:
    """A row without a text that can be used."""

    where: str  # file and line, or row
    problem: str  # the rest of the sentence

    def __str__(self) -> str:
        return f"{self.where} {self.problem}"


class JsonLines:
    """Iterates over the rows of files, in order: the text of a row, or a BadRow. Blank lines are no rows."""

    version = "json-lines 1"  # of the state

    def __init__(self, files: Sequence[Path | RemoteFile], column: str) -> None:
        self.files, self.column = files, column
        self._file = self._line = self._skip = 0  # the file, its lines that were read, and rows to skip

    def state_dict(self) -> dict[str, int]:
        """The position after the last row, a file and a number of lines."""
        return {"file": self._file, "line": self._line}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Set the position of the next row."""
        self._file, self._line = state["file"], state["line"]

    def skip(self, rows: int) -> "JsonLines":
        """Skip this many rows."""
        self._skip = rows
        return self

    def __iter__(self) -> Iterator[str | BadRow]:
        while self._file < len(self.files):
            path = self.files[self._file]
            with open_decompressed(path) as file:
                for number, line in enumerate(file, 1):
                    if number <= self._line or not line.strip():
                        continue
                    self._line = number
                    if self._skip:
                        self._skip -= 1
                        continue
                    value = self._text(line.removeprefix(codecs.BOM_UTF8) if number == 1 else line)
                    yield value if isinstance(value, str) else BadRow(f"{path}, line {number:,},", value[0])
            self._file, self._line = self._file + 1, 0

    def _text(self, line: bytes) -> str | tuple[str]:
        """The text of a row, or a tuple with the problem."""
        try:
            row = json.loads(line.decode())
        except UnicodeDecodeError as error:
            return (f"is not UTF-8: byte {error.start:,} of the row is 0x{line[error.start]:02x}",)
        except json.JSONDecodeError as error:
            end = "" if line.endswith(b"\n") else "; the file seems to be cut off"
            return (f"is not valid JSON: {error.msg} in column {error.colno:,}{end}",)
        except (ValueError, RecursionError) as error:
            return (f"cannot be read: {error}",)
        return usable_text(row, self.column)


def usable_text(row: Any, column: str) -> str | tuple[str]:
    """The text of a row, or a tuple with the problem."""
    if not isinstance(row, dict):
        return ("is not a JSON object",)
    if column not in row:
        return (f"has no {column!r}: its fields are {', '.join(map(str, row)) or 'none'}",)
    text = row[column]
    if not isinstance(text, str):
        kind = "null" if text is None else f"of type {type(text).__name__}"
        return (f"has a {column!r} that is {kind}, not a string",)
    if "\0" in text:
        return (f"has a NUL character in its {column!r}",)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return (f"has a lone surrogate (\\u{ord(text[error.start]):04x}) in its {column!r}",)
    return text
