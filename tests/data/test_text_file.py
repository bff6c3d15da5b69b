"""One text file: encodings, byte order marks, compression, NUL bytes and files that are not text."""

import bz2
import gzip
import lzma
from collections.abc import Callable
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data import text_file
from inkhorn.data.text import from_path
from inkhorn.data.text_file import check_encoding, read_text
from inkhorn.errors import CorpusError, UsageError

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "": bytes,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".xz": lzma.compress,
    ".zst": zstandard.compress,
}
MARKED = ["utf-8-sig", "utf-16", "utf-32"]
RUSSIAN = "Мой дядя самых честных правил, когда не в шутку занемог, он уважать себя заставил.\n" * 30
JAPANESE = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。\n" * 30
CHINESE = "道可道，非常道。名可名，非常名。無名天地之始；有名萬物之母。这是一个测试文本。\n" * 30
FRENCH = "Longtemps, je me suis couché de bonne heure. À peine ma bougie éteinte, mes yeux se fermaient.\n" * 30


def read(path: Path, encoding: str | None = None) -> str:
    return "".join(read_text(path, encoding))


def write(folder: Path, content: bytes, name: str = "my text.txt") -> Path:
    path = folder / name
    path.write_bytes(content)
    return path


def refusal(folder: Path, content: bytes, encoding: str | None = None) -> str:
    with pytest.raises(CorpusError) as caught:
        read(write(folder, content), encoding)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@given(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\ufeff"), max_size=40),
    st.sampled_from(MARKED),
    st.sampled_from(sorted(COMPRESSORS)),
    st.integers(1, 9),
)
def test_byte_order_mark_names_the_encoding(
    tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str, suffix: str, block: int
) -> None:
    path = write(tmp_path_factory.mktemp("t"), COMPRESSORS[suffix](text.encode(encoding)), "t.txt" + suffix)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(text_file, "_BLOCK", block)
        patch.setattr(text_file, "_COMPRESSED_BLOCK", block)
        expected = text.replace("\r\n", "\n").replace("\r", "\n")
        assert read(path) == expected
        assert read(path, "cp1251") == expected, "a mark takes precedence"


@given(
    st.text(st.sampled_from("aé\r\n"), max_size=40), st.sampled_from(["latin-1", "utf-16-le", "cp1252", "utf-32-be"])
)
def test_named_encoding(tmp_path_factory: pytest.TempPathFactory, text: str, encoding: str) -> None:
    path = write(tmp_path_factory.mktemp("t"), text.encode(encoding))
    assert read(path, encoding) == text.replace("\r\n", "\n").replace("\r", "\n")


@pytest.mark.parametrize(
    ("text", "encoding", "names"),
    [
        (RUSSIAN, "cp1251", ["cp1251"]),
        (RUSSIAN, "koi8-r", ["koi8_r"]),
        (JAPANESE, "shift_jis", ["shift_jis", "cp932"]),
        (CHINESE, "gb18030", ["gb18030"]),
        (FRENCH, "latin-1", ["cp1252"]),
    ],
)
def test_error_names_the_likeliest_encoding(tmp_path: Path, text: str, encoding: str, names: list[str]) -> None:
    message = refusal(tmp_path, text.encode(encoding))
    (name,) = [name for name in names if f"add --encoding {name}, " in message]
    assert read(tmp_path / "my text.txt", name) == text


@pytest.mark.parametrize("order", ["le", "be"])
def test_utf16_without_mark(tmp_path: Path, order: str) -> None:
    message = refusal(tmp_path, "Shall I compare thee".encode(f"utf-16-{order}"))
    assert f"looks like UTF-16 without a byte order mark: add --encoding utf-16-{order}" in message


@pytest.mark.parametrize(
    ("content", "found"),
    [
        (b"one\ntwo\0three\n", "a NUL byte of 14, the first at byte 7 in line 2"),
        (b"one\ntwo\n" + b"\0" * 4096, "4,096 NUL bytes at its end, the first at byte 8 in line 3"),
        (b"\0\0one", "2 NUL bytes of 5, the first at byte 0 in line 1"),
    ],
)
def test_nul_bytes(tmp_path: Path, content: bytes, found: str) -> None:
    message = refusal(tmp_path, content)
    assert found in message
    assert "UTF-16" not in message


def test_nul_after_the_first_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text_file, "_BLOCK", 10)
    assert "a NUL byte of 51, the first at byte 45 in line 10" in refusal(tmp_path, b"four\n" * 9 + b"\0" + b"five\n")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"%PDF-1.7\n\xe2\xe3\0", "a PDF document"),
        (b"PK\x03\x04\0\0\xff", "a ZIP archive"),
        (gzip.compress(b"\0" * 257 + b"ustar\0", mtime=0), "a tar archive"),
        (b"\x7fELF\0\0", "a program"),
    ],
)
def test_files_that_are_not_text(tmp_path: Path, content: bytes, kind: str) -> None:
    assert f"is {kind}" in refusal(tmp_path, content)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_damaged_compressed_file(tmp_path: Path, suffix: str) -> None:
    content = COMPRESSORS[suffix](RUSSIAN.encode())
    for damaged in (content[: len(content) // 2], content[:-1]):
        assert "cannot decompress" in refusal(tmp_path, damaged)


@pytest.mark.parametrize("suffix", [".gz", ".bz2", ".xz", ".zst"])
def test_concatenated_compressed_files(tmp_path: Path, suffix: str) -> None:
    compress = COMPRESSORS[suffix]
    assert read(write(tmp_path, compress(b"one ") + compress(b"two"))) == "one two"


def test_folder_of_mixed_files(tmp_path: Path) -> None:
    write(tmp_path, "één".encode("utf-16"), "a.txt")
    write(tmp_path, gzip.compress(b"twee"), "b.md.gz")
    write(tmp_path, "drië\r".encode(), "c.TXT")
    write(tmp_path, b"\xff\0", "picture.png.gz")
    assert "".join(from_path(tmp_path).pieces()).split("<|endoftext|>") == ["één", "twee", "drië\n"]
    assert from_path(tmp_path / "b.md.gz").name == "b"


@pytest.mark.parametrize(
    "text",
    ["Tiếng Việt, 한국어", "one\u2028two\u2029three\x85four\x0bfive", "x" * (4 << 20)],
    ids=["combining", "separators", "long line"],
)
def test_text_is_not_normalized(tmp_path: Path, text: str) -> None:
    import unicodedata

    for form in ("NFC", "NFD"):
        expected = unicodedata.normalize(form, text)
        assert read(write(tmp_path, expected.encode())) == expected


@pytest.mark.parametrize("name", ["klingon", "rot13", "hex", "utf-8\0"])
def test_unknown_encoding(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="no text encoding"):
        check_encoding(name)
    with pytest.raises(UsageError, match="no text encoding"):
        from_path(write(tmp_path, b"text"), encoding=name)
