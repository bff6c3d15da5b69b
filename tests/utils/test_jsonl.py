"""JSON Lines files, complete or not."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.utils.jsonl import append_jsonl, read_jsonl, write_jsonl

RECORDS = st.lists(st.dictionaries(st.text(max_size=5), st.none() | st.integers() | st.text(max_size=5), max_size=3))


@given(records=RECORDS)
def test_round_trip(tmp_path_factory: pytest.TempPathFactory, records: list[dict[str, Any]]) -> None:
    folder = tmp_path_factory.mktemp("jsonl")
    for record in records:
        append_jsonl(folder / "new" / "a.jsonl", record)
    write_jsonl(folder / "b.jsonl", records)
    assert read_jsonl(folder / "new" / "a.jsonl") == read_jsonl(folder / "b.jsonl") == records


def test_missing_file(tmp_path: Path) -> None:
    assert read_jsonl(tmp_path / "a.jsonl") == []


def test_damaged_lines_are_skipped(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'{"a": 1}\n[2]\n\n\xff\n{"b": 2}\n{"c": ')
    assert read_jsonl(tmp_path / "a.jsonl") == [{"a": 1}, {"b": 2}]
