"""JSON files and atomic writes."""

from pathlib import Path

import pytest

from inkhorn.errors import CheckpointError
from inkhorn.utils.files import atomic_write, read_json, write_json


def test_json_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.json"
    write_json(path, {"é": "ſ", "n": [1, None, True]})
    assert read_json(path) == {"é": "ſ", "n": [1, None, True]}
    assert path.read_text(encoding="utf-8").endswith("}\n")


def test_read_json_errors(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no a\.json$"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("[1]")
    with pytest.raises(CheckpointError, match="not a JSON object"):
        read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"cannot read .*a\.json"):
        read_json(tmp_path / "a.json")


def test_atomic_write_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_text("old")
    with atomic_write(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert list(tmp_path.iterdir()) == [path]


def test_atomic_write_creates_a_folder(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "runs" / "a") as temporary:
        (temporary / "deep").mkdir(parents=True)
        (temporary / "deep" / "file").write_text("x")
    assert (tmp_path / "runs" / "a" / "deep" / "file").read_text() == "x"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]


@pytest.mark.parametrize("error", [OSError(28, "full"), KeyboardInterrupt()])
@pytest.mark.parametrize("folder", [False, True])
def test_atomic_write_removes_temporary_file(tmp_path: Path, error: BaseException, folder: bool) -> None:
    path = tmp_path / "a"
    if not folder:
        path.write_text("old")

    def fail() -> None:
        with atomic_write(path) as temporary:
            if folder:
                temporary.mkdir()
                (temporary / "file").write_text("half")
            else:
                temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == ([] if folder else [("a", "old")])


def test_atomic_write_names_are_unique(tmp_path: Path) -> None:
    with atomic_write(tmp_path / "a") as first, atomic_write(tmp_path / "a") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a").read_text() == "first"  # the outer block ends last


def test_atomic_write_failed_rename(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"a": 1})
    monkeypatch.setattr(Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "full")))
    with pytest.raises(OSError, match="full"):
        write_json(tmp_path / "a.json", {"a": 2})
    assert read_json(tmp_path / "a.json") == {"a": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
