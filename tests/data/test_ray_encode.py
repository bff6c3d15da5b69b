"""Documents that workers encode in parts: the same shards as on one machine, from any state, with the same errors."""

import json
from collections.abc import Callable, Generator
from dataclasses import replace
from pathlib import Path
from typing import Any

import datasets
import fsspec
import numpy as np
import pytest

from inkhorn.data import documents, ray_encode
from inkhorn.data.documents import DocumentSource, ReaderState, from_folder
from inkhorn.data.parallel_encode import EncodedBatch
from inkhorn.data.ray_encode import encode_part, merge_pieces, split_into_parts
from inkhorn.data.remote_file import remote_url
from inkhorn.data.shard_writer import tokenize_documents
from inkhorn.errors import CorpusError
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.bpe import train_bpe

WORDS = ["the ", "cat ", "sat ", "on ", "a ", "mat,\n", "façade ", "日本 ", "1,000 "]


def made_texts(count: int = 150) -> list[str]:
    random = np.random.default_rng(11)
    made = ["".join(random.choice(WORDS, random.integers(1, 150))) for _ in range(count)]
    return [*made[:40], "", *made[40:], ""]


TEXTS = made_texts()
TOKENIZER = train_bpe(TEXTS, 300)


def write(folder: Path, kind: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for number, part in enumerate((TEXTS[:60], TEXTS[60:70], TEXTS[70:])):
        rows = [{"text": text, "score": 3.5} for text in part]
        if kind == "parquet":
            datasets.Dataset.from_list(rows).to_parquet(folder / f"{number}.parquet", batch_size=17)
        else:
            lines = [json.dumps(row) for row in rows]
            (folder / f"{number}.jsonl").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    return folder


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "BATCH_CHARS", 2000)
    monkeypatch.setattr(ray_encode, "_PIECE_CHARS", 700)


def encode_here(
    source: DocumentSource, tokenizer: Tokenizer, state: ReaderState, log: Callable[[str], None]
) -> Generator[tuple[ReaderState, EncodedBatch], None, None]:
    """What the workers of Ray do, in this process."""
    pieces = (piece for part in split_into_parts(source, state) for piece in encode_part(part, tokenizer))
    yield from merge_pieces(pieces, source, state, log)


def found(folder: Path, **options: Any) -> DocumentSource:
    source = from_folder(folder, **options)
    assert source is not None
    return source


def files(cache: Path) -> dict[str, bytes]:
    """Contents of the dataset's folder, without modification times and the states of the readers."""
    (folder,) = (path for path in (cache / "datasets").iterdir() if path.is_dir())
    contents = {path.name: path.read_bytes() for path in folder.iterdir() if path.suffix != ".tmp"}
    index = json.loads(contents.pop("index.json"))
    for shard in index["shards"]:
        del shard["changed"], shard["after"]
    return contents | {"index": json.dumps(index).encode()}


def tokenize(source: DocumentSource, cache: Path, **options: Any) -> str:
    made = tokenize_documents(source, cache, tokenizer=TOKENIZER, **{"shard_tokens": 2000, "processes": 1} | options)
    return made.sha256


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_same_shards_as_one_machine(tmp_path: Path, kind: str) -> None:
    source = found(write(tmp_path / "web", kind))
    assert tokenize(source, tmp_path / "a") == tokenize(source, tmp_path / "b", encoder=encode_here)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert len([name for name in files(tmp_path / "a") if name.startswith("train")]) > 3


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
@pytest.mark.parametrize("first_here", [True, False])
def test_continue_what_the_other_began(tmp_path: Path, kind: str, first_here: bool) -> None:
    """After each number of shards, one machine continues what workers began, and the other way round."""
    source = found(write(tmp_path / "web", kind))
    tokenize(source, tmp_path / "whole")
    for shards in range(1, 5):
        cache = tmp_path / f"{shards}"
        order: list[Any] = [None, encode_here] if first_here else [encode_here, None]
        tokenize(replace(source, num_shards=shards), cache, encoder=order[0])
        tokenize(source, cache, encoder=order[1])
        assert files(cache) == files(tmp_path / "whole")


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_bad_rows(tmp_path: Path, kind: str) -> None:
    rows = [{"text": "good"}, {"text": None}, {"text": "a\0b"}, {"text": "also good"}] * 20
    folder = tmp_path / "bad"
    folder.mkdir()
    if kind == "parquet":
        datasets.Dataset.from_list(rows).to_parquet(folder / "a.parquet", batch_size=7)
    else:
        (folder / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    problems, messages = [], list[list[str]]()
    for encoder in (None, encode_here):
        with pytest.raises(CorpusError) as raised:
            tokenize(found(folder), tmp_path / "x", encoder=encoder)
        problems.append(str(raised.value))
        messages.append([])
        tokenize(found(folder, skip_bad_rows=True), tmp_path / str(encoder), encoder=encoder, log=messages[-1].append)
    assert problems[0] == problems[1]
    assert "2, has a 'text' that is null" in problems[0]
    assert messages[0] == messages[1] == [f"40 rows were skipped; the first: {problems[0].partition('. Fix')[0]}"]
    assert files(tmp_path / "None") == files(tmp_path / str(encode_here))


def test_damaged_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "web", "parquet")
    path = folder / "1.parquet"
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(CorpusError, match=r"cannot read .*1\.parquet"):
        tokenize(found(folder), tmp_path, encoder=encode_here)


# Object storage


@pytest.fixture
def memory(tmp_path: Path) -> str:
    """The same files in fsspec's memory storage."""
    fs = fsspec.filesystem("memory")
    for kind in ("parquet", "jsonl"):
        for path in write(tmp_path / kind, kind).iterdir():
            fs.pipe(f"/web/{kind}/{path.name}", path.read_bytes())
    return "memory://web"


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_remote_files(tmp_path: Path, memory: str, kind: str) -> None:
    remote = found(Path(f"{memory}/{kind}"))
    assert remote.key == found(Path(f"{memory}/{kind}")).key, "the files have not changed"
    assert tokenize(remote, tmp_path / "a", encoder=encode_here) == tokenize(found(tmp_path / kind), tmp_path / "b")


def test_remote_file_changed(memory: str) -> None:
    before = found(Path(f"{memory}/jsonl")).key
    fsspec.filesystem("memory").pipe("/web/jsonl/0.jsonl", b'{"text": "other"}\n')
    assert found(Path(f"{memory}/jsonl")).key != before


def test_remote_errors(memory: str) -> None:
    with pytest.raises(CorpusError, match="there is nothing at memory://nowhere"):
        from_folder(Path("memory://nowhere"))
    with pytest.raises(CorpusError, match=r"cannot read nosuch://x: .*known are"):
        from_folder(Path("nosuch://x"))
    fsspec.filesystem("memory").pipe("/other/readme.md", b"text")
    with pytest.raises(CorpusError, match=r"memory://other has no documents"):
        from_folder(Path("memory://other"))


def test_remote_url() -> None:
    assert remote_url(Path("s3://bucket/a/b")) == "s3://bucket/a/b" == remote_url("s3://bucket/a/b")
    assert remote_url(Path("web")) is remote_url(Path("/a/b:/c")) is remote_url("C:/texts") is None
