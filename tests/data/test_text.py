"""Texts in chunks, splits, files and folders."""

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data.text import TextSource, from_path, rechunk, split_at
from inkhorn.data.text_file import read_text
from inkhorn.errors import CorpusError, UsageError
from inkhorn.tokenizer.base import END_OF_TEXT

# Texts made of these consist mostly of markers and parts of markers.
PIECES = st.lists(st.sampled_from([END_OF_TEXT, END_OF_TEXT[:6], END_OF_TEXT[6:], "<", "a", "é\n", "bcd"]), max_size=25)


def count_markers(chunks: list[str]) -> int:
    return sum(chunk.count(END_OF_TEXT) for chunk in chunks)


@given(PIECES, st.integers(1, 40))
def test_rechunk_preserves_text_and_markers(pieces: list[str], chunk_chars: int) -> None:
    text = "".join(pieces)
    chunks = list(rechunk(pieces, chunk_chars))
    assert "".join(chunks) == text
    assert count_markers(chunks) == text.count(END_OF_TEXT)
    assert all(chunk_chars <= len(chunk) < chunk_chars + len(END_OF_TEXT) for chunk in chunks[:-1])
    assert all(chunks)


@given(PIECES, st.integers(0, 200))
def test_split_at_keeps_markers(pieces: list[str], cut: int) -> None:
    text = "".join(pieces)
    first, second = ("".join(part) for part in split_at(pieces, cut))
    assert first + second == text
    assert first.count(END_OF_TEXT) + second.count(END_OF_TEXT) == text.count(END_OF_TEXT)
    if len(first) != min(cut, len(text)):
        assert first.endswith(END_OF_TEXT)
        assert cut < len(first) < cut + len(END_OF_TEXT)


@given(PIECES, st.integers(1, 50))
def test_chunks_are_those_of_both_splits(pieces: list[str], chunk_chars: int) -> None:
    for source in (
        TextSource(name="t", pieces=lambda: pieces, val_fraction=0.3),
        TextSource(name="t", pieces=lambda: pieces, val_pieces=lambda: pieces[:3]),
    ):
        expected = [("train", chunk) for chunk in source.train_chunks(chunk_chars)]
        expected += [("val", chunk) for chunk in source.val_chunks(chunk_chars)]
        assert list(source.chunks(chunk_chars)) == expected


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300), st.floats(0.01, 0.49))
def test_split_by_characters(text: str, fraction: float) -> None:
    source = TextSource(name="t", pieces=lambda: text, val_fraction=fraction)
    train, val = "".join(source.train_chunks(7)), "".join(source.val_chunks(7))
    assert train + val == text
    assert source.summary.n_chars == len(text)
    assert len(train) == int(len(text) * (1 - fraction))


def test_checksum_depends_on_text_and_split() -> None:
    def sha256(*pieces: str, **options: Any) -> str:
        return TextSource(name="t", pieces=lambda: pieces, **options).summary.sha256

    text = "the quick brown fox\n" * 9
    assert sha256(text) == sha256(text[:50], text[50:])
    others = [sha256(text + "."), sha256(text, val_fraction=0.2), sha256(text, val_pieces=lambda: "x")]
    assert len({sha256(text), *others}) == 4


@given(PIECES, st.none() | PIECES)
def test_alphabet_excludes_markers(pieces: list[str], val_pieces: list[str] | None) -> None:
    val = None if val_pieces is None else lambda: val_pieces
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("inkhorn.data.text._SCAN_CHARS", 5)
        summary = TextSource(name="t", pieces=lambda: pieces, val_pieces=val).summary
    texts = ("".join(pieces), "".join(val_pieces or []))
    assert summary.alphabet == set("".join(text.replace(END_OF_TEXT, "") for text in texts))


@pytest.mark.parametrize("fraction", [0.0, 0.5, -1.0, float("nan")])
def test_val_fraction_range(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"above 0 and below 0\.5"):
        TextSource(name="t", pieces=lambda: "", val_fraction=fraction)


def test_line_endings_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "my text.txt"
    path.write_bytes("\ufeffone\r\ntwo\rthrée\n".encode())
    assert "".join(read_text(path)) == "one\ntwo\nthrée\n"
    assert from_path(path).name == "my text"


def test_characters_across_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkhorn.data.text_file._BLOCK", 1)
    path = tmp_path / "t.txt"
    path.write_bytes("é\r\n😀".encode())
    assert "".join(read_text(path)) == "é\n😀"


def test_folder(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, text in {"b.md": "B", "a.TXT": "A", "sub/c.txt": "C", "picture.png": "x", "z.txt": "Z"}.items():
        (tmp_path / name).write_text(text)
    source = from_path(tmp_path)
    assert "".join(chunk for _, chunk in source.chunks()) == END_OF_TEXT.join("ABCZ")


def test_separate_validation_text(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("learn")
    (tmp_path / "val.txt").write_text("test")
    source = from_path(tmp_path / "train.txt", val_path=tmp_path / "val.txt")
    assert ["".join(source.train_chunks()), "".join(source.val_chunks())] == ["learn", "test"]
    assert source.summary.n_chars == 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text\n" * 3 + b"\0", "NUL byte at its end, the first at byte 15 in line 4"),
        (b"caf\xe9 au lait", r"byte 3 is 0xe9 \(invalid continuation byte\)"),
        (b"cut caf\xc3", r"byte 7 is 0xc3 \(unexpected end of data\)"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_invalid_utf8_names_the_offset(
    content: bytes, message: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inkhorn.data.text_file._BLOCK", block)
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        list(from_path(path).train_chunks())


def test_missing_and_empty_paths(tmp_path: Path) -> None:
    (tmp_path / "sonnets.txt").write_text("Shall I")
    with pytest.raises(CorpusError, match=r"there is no .*sonets\.txt: did you mean sonnets\.txt\?"):
        from_path(tmp_path / "sonets.txt")
    with pytest.raises(CorpusError, match=r"the folder .*nowhere does not exist"):
        from_path(tmp_path / "nowhere" / "x.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorpusError, match=r"has no text file \(.*\.txt\)"):
        from_path(empty)
    (empty / "a.txt").touch()
    with pytest.raises(CorpusError, match="0 bytes"):
        from_path(empty)
    with pytest.raises(CorpusError, match="is not a regular file"):
        from_path(Path(os.devnull))


def test_unreadable_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "t.txt"
    path.write_text("text")
    source = from_path(path)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CorpusError, match=r"cannot read .*t\.txt: Permission denied"):
        list(source.train_chunks())


@pytest.mark.parametrize("separate", [False, True])
def test_text_that_changes_between_its_reads(separate: bool) -> None:
    texts = [iter(["one text" * 9, "another " * 9]), iter(["val" * 9, "lav" * 9])]
    val_pieces = (lambda: [next(texts[1])]) if separate else None
    source = TextSource(name="mine", pieces=lambda: [next(texts[0])], val_pieces=val_pieces)
    assert source.summary.n_chars > 0
    with pytest.raises(CorpusError, match="mine changed while it was read"):
        list(source.chunks())


@pytest.mark.parametrize("separate", [False, True])
def test_text_that_stays_the_same_beside_a_pretraining_text(separate: bool) -> None:
    val_pieces = (lambda: ["val" * 9]) if separate else None
    source = TextSource(
        name="mine", pieces=lambda: ["one text" * 9], val_pieces=val_pieces, pretrain_pieces=lambda: ["books" * 9]
    )
    assert "".join(chunk for _, chunk in source.chunks()) == "one text" * 9 + ("val" * 9 if separate else "")
