"""JSON Lines: usable texts, named problems, and positions."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data.json_lines import BadRow, JsonLines

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=9), max_size=9)


def write(folder: Path, *files: str | bytes) -> list[Path]:
    paths = [folder / f"{number}.jsonl" for number in range(len(files))]
    for path, content in zip(paths, files, strict=True):
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return paths


@given(st.lists(TEXTS, min_size=1, max_size=3), st.booleans(), st.sampled_from(["\n", "\r\n", "\n \n"]), st.data())
def test_reading_resumes_at_every_row(
    tmp_path_factory: pytest.TempPathFactory, texts: list[list[str]], ascii_only: bool, end: str, data: st.DataObject
) -> None:
    rows = [[json.dumps({"id": 1, "text": text}, ensure_ascii=ascii_only) + end for text in part] for part in texts]
    paths = write(tmp_path_factory.mktemp("rows"), *map("".join, rows))
    expected = [text for part in texts for text in part]
    assert list(JsonLines(paths, "text")) == expected
    stop = data.draw(st.integers(0, len(expected)))
    assert list(JsonLines(paths, "text").skip(stop)) == expected[stop:]
    first = JsonLines(paths, "text")
    read = [text for text, _ in zip(first, range(stop), strict=False)]
    resumed = JsonLines(paths, "text")
    resumed.load_state_dict(first.state_dict())
    # zip reads one row more than it returns
    assert read + expected[stop : stop + 1] + list(resumed) == expected


def test_state_at_the_end(tmp_path: Path) -> None:
    paths = write(tmp_path, '{"text": "a"}\n', '{"text": "b"}\n')
    reader = JsonLines(paths, "text")
    assert list(reader) == ["a", "b"]
    resumed = JsonLines(paths, "text")
    resumed.load_state_dict(reader.state_dict())
    assert list(resumed) == []


def test_byte_order_mark_and_line_separator(tmp_path: Path) -> None:
    paths = write(tmp_path, b"\xef\xbb\xbf" + '{"text": "a\u2028b\x85"}\r\n'.encode())
    assert list(JsonLines(paths, "text")) == ["a\u2028b\x85"]


@pytest.mark.parametrize(
    ("row", "problem"),
    [
        (b'{"text": null}\n', "has a 'text' that is null, not a string"),
        (b'{"text": 3}\n', "has a 'text' that is of type int, not a string"),
        (b'{"body": "x", "id": 1}\n', "has no 'text': its fields are body, id"),
        (b"{}\n", "has no 'text': its fields are none"),
        (b"[1]\n", "is not a JSON object"),
        (b'{"text": "\\ud83d!"}\n', "has a lone surrogate (\\ud83d) in its 'text'"),
        (b'{"text": "a\\u0000b"}\n', "has a NUL character in its 'text'"),
        (b'{"text": "caf\xe9"}\n', "is not UTF-8: byte 13 of the row is 0xe9"),
        (b"{text}\n", "is not valid JSON: Expecting property name enclosed in double quotes in column 2"),
        (b'{"text": "cut', "; the file seems to be cut off"),
        (b"[" * 100_000 + b"\n", "cannot be read: "),
    ],
)
def test_problems(tmp_path: Path, row: bytes, problem: str) -> None:
    (path,) = write(tmp_path, b'{"text": "a"}\n\n' + row)
    good, bad = JsonLines([path], "text")
    assert good == "a"
    assert isinstance(bad, BadRow)
    assert bad.where == f"{path}, line 3,"
    assert problem in bad.problem
