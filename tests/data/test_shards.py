"""Documents in shards: read as one array, resumable, and repaired when damaged."""

import bz2
import gzip
import json
import lzma
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data import documents, shard_writer, shards
from inkhorn.data.batches import BatchSampler
from inkhorn.data.dataset import Dataset
from inkhorn.data.documents import DocumentSource, from_folder
from inkhorn.data.shard_writer import tokenize_documents
from inkhorn.data.shards import ShardedIds
from inkhorn.errors import CorpusError
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.bpe import train_bpe

WORDS = ["the ", "cat ", "sat ", "on ", "a ", "mat,\n", "façade ", "日本 ", "1,000 "]


def texts(count: int = 120) -> list[str]:
    """Documents of 1 to 150 words, one of them empty."""
    random = np.random.default_rng(7)
    made = ["".join(random.choice(WORDS, random.integers(1, 150))) for _ in range(count)]
    return [*made[:30], "", *made[30:]]


TEXTS = texts()
TOKENIZER = train_bpe(TEXTS, 300)


def write(folder: Path, kind: str = "parquet") -> Path:
    """The documents in two files of the form of FineWeb-Edu's."""
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate((TEXTS[:50], TEXTS[50:])):
        rows = [{"id": f"<urn:uuid:{i}>", "text": text, "score": 3.5, "token_count": 9} for i, text in enumerate(part)]
        if kind == "parquet":
            datasets.Dataset.from_list(rows).to_parquet(folder / f"{number:03}_00000.parquet", batch_size=20)
        else:
            lines = "".join(json.dumps(row) + "\n" for row in rows)
            (folder / f"{number}.jsonl").write_text(lines, encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BATCH_CHARS", 2000)


@pytest.fixture
def source(tmp_path: Path) -> DocumentSource:
    found = from_folder(write(tmp_path / "web"))
    assert found is not None
    return found


def tokenize(source: DocumentSource, cache: Path, **options: Any) -> Dataset:
    source = replace(source, num_shards=options.pop("num_shards", None))
    return tokenize_documents(source, cache, tokenizer=TOKENIZER, **{"shard_tokens": 2000, "processes": 1} | options)


def files(cache: Path) -> dict[str, bytes]:
    """Contents of the dataset's folder, without modification times and the state of `datasets`."""
    (folder,) = (path for path in (cache / "datasets").iterdir() if path.is_dir())
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    index = json.loads(found.pop("index.json"))
    for shard in index["shards"]:
        del shard["changed"], shard["after"]
    return found | {"index": json.dumps(index).encode()}


def compress(content: bytes, kind: str) -> bytes:
    compressors: dict[str, Callable[[bytes], bytes]] = {
        "plain": bytes,
        "gz": gzip.compress,
        "xz": lzma.compress,
        "bz2": bz2.compress,
        "zst": zstandard.compress,
    }
    return compressors[kind](content)


def documents_of(data: Dataset, part: str) -> list[str]:
    text = data.tokenizer.decode(getattr(data, part)[:].tolist())
    assert text.startswith(END_OF_TEXT)
    return text.split(END_OF_TEXT)[1:]


@given(st.lists(st.integers(0, 5), max_size=8), st.integers(-2, 30), st.integers(-2, 30), st.integers(1, 3))
def test_sharded_ids_equal_one_array(
    tmp_path_factory: pytest.TempPathFactory, lengths: list[int], start: int, stop: int, mapped: int
) -> None:
    folder = tmp_path_factory.mktemp("ids")
    one_array = np.arange(sum(lengths), dtype="<u2")
    for i, part in enumerate(np.split(one_array, np.cumsum(lengths)[:-1]) if lengths else []):
        (folder / f"{i}").write_bytes(part.tobytes())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(shards, "_MAX_MAPPED", mapped)
        ids = ShardedIds([folder / f"{i}" for i in range(len(lengths))], lengths, "<u2")
        assert len(ids) == len(one_array)
        assert ids[start:stop].tolist() == one_array[start:stop].tolist()
        assert ids[:].tolist() == one_array.tolist()
        assert ids._file.cache_info().currsize <= mapped
    with pytest.raises(ValueError, match="every 2th"):
        ids[::2]


@pytest.mark.parametrize("kind", ["parquet", "json"])
def test_shards_contain_the_documents(tmp_path: Path, kind: str) -> None:
    source = from_folder(write(tmp_path / "web", kind))
    assert source is not None
    data = tokenize(source, tmp_path)
    expected = [text for text in TEXTS if text]
    assert documents_of(data, "val") == expected[::20]
    assert documents_of(data, "train") == [text for i, text in enumerate(expected) if i % 20]
    assert data.val_bytes == sum(len(text.encode()) for text in expected[::20])
    assert isinstance(data.train, ShardedIds)
    assert len(data.train.paths) > 3
    assert data.bos_token_id == TOKENIZER.eos_id
    one, many = (BatchSampler(ids, 4, 32, seed=1) for ids in (data.train[:], data.train))
    assert all((one.batch(step) == many.batch(step)).all() for step in range(200))


def test_size_of_validation_split(source: DocumentSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_writer, "VAL_TOKENS", 100)
    data = tokenize(source, tmp_path)
    lengths = [len(TOKENIZER.encode(text)) + 1 for text in documents_of(data, "val")]
    assert sum(lengths[:-1]) < 100 <= len(data.val) == sum(lengths)
    assert len(documents_of(data, "train")) + len(lengths) == 120


def test_number_of_processes(source: DocumentSource, tmp_path: Path) -> None:
    assert tokenize(source, tmp_path / "a").sha256 == tokenize(source, tmp_path / "b", processes=2).sha256
    assert files(tmp_path / "a") == files(tmp_path / "b")


def test_cached_shards_are_reused_and_extended(
    source: DocumentSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts: list[int] = []
    first = tokenize(source, tmp_path / "a", num_shards=2, progress=counts.append)
    assert len(first.train) == sum(counts) < 5000
    assert tokenize(source, tmp_path / "a", num_shards=3).train[: len(first.train)].tolist() == first.train[:].tolist()
    complete = tokenize(source, tmp_path / "a")
    assert complete.sha256 == tokenize(source, tmp_path / "b").sha256
    assert files(tmp_path / "a") == files(tmp_path / "b")
    monkeypatch.setattr(DocumentSource, "batches", lambda *_: pytest.fail("read again"))
    assert tokenize(source, tmp_path / "a").sha256 == complete.sha256
    assert tokenize(source, tmp_path / "a", num_shards=2).sha256 == first.sha256
    assert tokenize(source, tmp_path / "a", num_shards=1000).sha256 == complete.sha256


def test_resume_after_upgrade_of_datasets(source: DocumentSource, tmp_path: Path) -> None:
    tokenize(source, tmp_path / "a", num_shards=2)
    (path,) = tmp_path.glob("a/datasets/*/index.json")
    index = json.loads(path.read_text())
    for shard in index["shards"]:
        assert shard["after"]["rows"] in range(10, 122)
        shard["after"] |= {"version": "0.0.1", "place": {"other format": 1}}
    path.write_text(json.dumps(index))
    tokenize(source, tmp_path / "a")
    tokenize(source, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


KILLED = """
import os, signal, sys
from dataclasses import replace
from pathlib import Path
from inkhorn.data import documents
from inkhorn.data.documents import from_folder
from inkhorn.data.shard_writer import tokenize_documents
from inkhorn.tokenizer.load import load_tokenizer

def tokens(more):
    tokens.seen += more
    if tokens.seen > 5000:
        os.kill(os.getpid(), signal.SIGKILL)
tokens.seen = 0
documents.BATCH_CHARS = 2000
folder = Path(sys.argv[1])
tokenizer = load_tokenizer(folder)
tokenize_documents(from_folder(folder / "web"), folder / "cache", tokenizer=tokenizer,
                  shard_tokens=2000, processes=1, progress=tokens)
"""


def test_resume_after_kill(source: DocumentSource, tmp_path: Path) -> None:
    TOKENIZER.save(tmp_path)
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], check=False, capture_output=True)
    assert done.returncode == -9, done.stderr.decode()
    left = files(tmp_path / "cache")
    assert any(name.endswith(".tmp") for name in left), "killed while writing a shard"
    counts: list[int] = []
    data = tokenize(source, tmp_path / "cache", progress=counts.append)
    assert counts[0] > 4000, "two shards were kept"
    assert sum(counts) == len(data.train)
    assert data.sha256 == tokenize(source, tmp_path / "undisturbed").sha256
    assert files(tmp_path / "cache") == files(tmp_path / "undisturbed")


def test_resume_after_connection_error(source: DocumentSource, tmp_path: Path) -> None:
    class Breaking:
        def __init__(self) -> None:
            self.rows = source.open()
            self.load_state_dict, self.state_dict = self.rows.load_state_dict, self.rows.state_dict

        def __iter__(self) -> Iterator[Any]:
            for i, row in enumerate(self.rows):
                if i == 70:
                    raise ConnectionError("reset by peer")
                yield row

    broken = DocumentSource(name="web", open=Breaking, identity=source.identity, hint="Try again")
    with pytest.raises(CorpusError, match=r"cannot read web: reset by peer\. Try again"):
        tokenize(broken, tmp_path / "a")
    tokenize(source, tmp_path / "a")
    tokenize(source, tmp_path / "b")
    assert files(tmp_path / "a") == files(tmp_path / "b")


@pytest.mark.parametrize("damage", ["gone", "cut", "other"])
@pytest.mark.parametrize("name", ["train-00001.bin", "val-00000.bin", "index.json", "tokenizer.json"])
def test_damaged_files_are_rebuilt(source: DocumentSource, tmp_path: Path, name: str, damage: str) -> None:
    first = tokenize(source, tmp_path)
    expected = files(tmp_path)
    (path,) = tmp_path.glob(f"datasets/*/{name}")
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes(content[:-4] if damage == "cut" else content[:4] + b"\7" + content[5:])
    messages: list[str] = []
    again = tokenize(source, tmp_path, log=messages.append)
    assert again.sha256 == first.sha256
    assert files(tmp_path) == expected
    assert messages == ([f"shard {int(name[-5])} of web is damaged: rebuilding it"] if name.endswith(".bin") else [])


def test_verify_checksums_finds_bit_errors(source: DocumentSource, tmp_path: Path) -> None:
    tokenize(source, tmp_path)
    expected = files(tmp_path)
    (path,) = tmp_path.glob("datasets/*/train-00002.bin")
    before = path.stat()
    path.write_bytes(b"\1\0" + path.read_bytes()[2:])
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert files(tmp_path) != expected
    tokenize(source, tmp_path, verify_checksums=True)
    assert files(tmp_path) == expected


def test_repair_with_changed_documents(source: DocumentSource, tmp_path: Path) -> None:
    tokenize(source, tmp_path)
    next(tmp_path.glob("datasets/*/train-00000.bin")).unlink()
    (tmp_path / "other").mkdir()
    TEXTS.insert(0, "something new")
    try:
        other = from_folder(write(tmp_path / "other"))
    finally:
        TEXTS.pop(0)
    assert other is not None
    changed = DocumentSource(name="web", open=other.open, identity=source.identity, hint="")
    with pytest.raises(CorpusError, match=r"differs from the original.*Delete"):
        tokenize(changed, tmp_path)


def test_train_bpe_on_documents(source: DocumentSource, tmp_path: Path) -> None:
    data = tokenize_documents(source, tmp_path, bpe_size=280, shard_tokens=2000, processes=1)
    assert data.tokenizer.vocab_size == 280
    assert len(documents_of(data, "train")) == 114
    again = tokenize_documents(source, tmp_path, bpe_size=280, shard_tokens=2000, processes=1)
    assert again.tokenizer.fingerprint() == data.tokenizer.fingerprint()
    with pytest.raises(CorpusError, match="--tokenizer gpt2"):
        tokenize_documents(source, tmp_path)


def test_invalid_documents(tmp_path: Path) -> None:
    def refused(message: str, **content: str) -> None:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        for name, text in content.items():
            (folder / name.replace("_", ".")).write_text(text)
        with pytest.raises(CorpusError, match=message):
            begin(folder)

    def begin(folder: Path) -> None:
        found = from_folder(folder)
        assert found is not None
        tokenize(found, tmp_path / "cache")

    refused(r"a\.jsonl, line 1, has no 'text': its fields are body\..*--skip-bad-rows", a_jsonl='{"body": "x"}\n')
    refused(r"a\.jsonl, line 1, is not valid JSON.*--skip-bad-rows", a_jsonl="{no json}\n")
    refused(r"cannot read .*must have a 'text'", a_parquet="no parquet")
    refused("has both parquet and JSON lines", a_jsonl='{"text": "x"}\n', b_parquet="x")
    refused("train split of .* is empty: it needs more documents", a_jsonl='{"text": "x"}\n')
    assert from_folder(tmp_path / "cache") is None


def test_null_in_parquet_names_file_and_row(tmp_path: Path) -> None:
    for name, rows in {"a": TEXTS[:7], "b": ["x", None, "y"]}.items():
        (tmp_path / "web").mkdir(exist_ok=True)
        datasets.Dataset.from_dict({"text": rows}).to_parquet(tmp_path / "web" / f"{name}.parquet")
    found = from_folder(tmp_path / "web")
    assert found is not None
    with pytest.raises(CorpusError, match=r"b\.parquet, row 2, has a 'text' that is null"):
        tokenize(found, tmp_path)


@pytest.mark.parametrize("kind", ["plain", "gz", "xz", "bz2", "zst"])
def test_skipped_rows_do_not_change_the_documents(tmp_path: Path, kind: str) -> None:
    rows = [json.dumps({"text": text}) for text in TEXTS]
    bad = [*rows[:3], '{"text": null}', "[]", *rows[3:], '{"text": "\\ud800"}', '{"text": "cut']
    contents = {"good": "\n".join(rows), "bad": "\n\n".join(bad)}
    data, messages = {}, list[str]()
    for name, content in contents.items():
        path = tmp_path / (f"{name}.jsonl" if kind == "plain" else f"{name}.jsonl.{kind}")
        path.write_bytes(compress(content.encode(), kind))
        found = from_folder(path, skip_bad_rows=name == "bad")
        assert found is not None
        data[name] = tokenize(found, tmp_path / name, log=messages.append)
    assert documents_of(data["good"], "train") == documents_of(data["bad"], "train")
    assert documents_of(data["good"], "val") == documents_of(data["bad"], "val")
    (message,) = messages
    assert message.startswith("4 rows were skipped; the first: ")
    assert message.endswith(", line 7, has a 'text' that is null, not a string")


def test_full_disk(source: DocumentSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    tokenize(source, tmp_path, num_shards=1)
    monkeypatch.setattr(shard_writer, "fsync", full)
    with pytest.raises(CorpusError, match=r"No space left on device.*INKHORN_CACHE"):
        tokenize(source, tmp_path)
    monkeypatch.undo()
    assert len(tokenize(source, tmp_path, num_shards=1).train) > 0
