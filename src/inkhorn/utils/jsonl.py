"""JSON Lines: files with one JSON object per line, appended to while a program runs."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from inkhorn.utils.files import atomic_write


def append_jsonl(path: Path, record: Mapping[str, Any]) -> None:
    """Append one record, creating the file and its folder if needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(_line(record))


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """The records of a file, none if it does not exist. Lines that are not JSON objects are skipped.

    A process that was killed while it wrote may leave an incomplete last line.
    """
    records = []
    for text in path.read_text(encoding="utf-8", errors="replace").split("\n") if path.is_file() else []:
        try:
            record = json.loads(text)
        except (ValueError, RecursionError):
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def write_jsonl(path: Path, records: Iterable[Mapping[str, Any]]) -> None:
    """Replace a file's records, atomically."""
    with atomic_write(path) as partial:
        partial.write_text("".join(_line(record) for record in records), encoding="utf-8")


def _line(record: Mapping[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"
