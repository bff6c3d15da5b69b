"""Commands on documents and named corpora, with a local folder in the layout of FineWeb-Edu."""

import json
from dataclasses import replace
from pathlib import Path

import datasets
import pytest

from inkhorn.cli.data_source import DataFlags, DataSource
from inkhorn.cli.main import main
from inkhorn.cli.progress import progress
from inkhorn.data import corpora, documents, shard_writer
from inkhorn.data.corpora import CORPORA, DocumentCorpus
from inkhorn.data.shards import ShardedIds
from inkhorn.errors import CorpusError, UsageError
from inkhorn.tokenizer.bpe import train_bpe

CARD = """---
configs:
- config_name: default
  data_files: data/*/*
- config_name: sample-10BT
  data_files: sample/10BT/*
- config_name: sample-100BT
  data_files: sample/100BT/*
---
"""
PAGES = [f"Page {i} tells of {'bees and ' * (i % 40)}honey.\n" for i in range(400)]


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A local folder in the layout of FineWeb-Edu's repository."""
    folder = tmp_path / "hub" / "fineweb-edu"
    for part, pages in (("sample/10BT", PAGES), ("sample/100BT", PAGES[:100]), ("data/CC-MAIN-2024-10", PAGES[:9])):
        (folder / part).mkdir(parents=True)
        for number in range(2):
            rows = [
                {"text": text, "id": f"<urn:uuid:{i}>", "dump": "CC-MAIN-2024-10", "language_score": 0.97, "score": 3.1}
                for i, text in enumerate(pages[number::2])
            ]
            path = folder / part / f"{number:03}_00000.parquet"
            datasets.Dataset.from_list(rows).to_parquet(path)
    (folder / "README.md").write_text(CARD)
    fineweb = CORPORA["fineweb-edu"]
    assert isinstance(fineweb, DocumentCorpus)
    monkeypatch.setitem(CORPORA, "fineweb-edu", replace(fineweb, repository=str(folder)))
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    for module in (corpora, shard_writer):
        monkeypatch.setattr(module, "SHARD_TOKENS", 1_000_000)
    monkeypatch.setattr(documents, "BATCH_CHARS", 4000)
    monkeypatch.setattr(
        "inkhorn.data.parallel_encode.available_cores", lambda: 1
    )  # to start processes takes longer than the work
    train_bpe(PAGES, 300).save(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_train_on_fineweb_edu(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = ["train", "test", "--out", str(repository / "run"), "--device", "cpu", "--sample-tokens", "0"]
    more = ["--corpus", "fineweb-edu-1m", "--tokenizer", str(repository), "--steps", "10", "--batch-size", "2"]
    assert main([*run, *more]) == 0
    assert json.loads((repository / "run" / "run.json").read_text())["corpus"] == "fineweb-edu-1m"
    assert main([*run, "--resume", "--steps", "12"]) == 0
    output = capsys.readouterr().err
    assert "Data: fineweb-edu-1m" in output
    assert "Resuming from step 10" in output


def test_data_verifies_shards(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["data", "fineweb-edu-1m", "--tokenizer", str(repository)]
    assert main(command) == 0
    first = capsys.readouterr().out
    assert "fineweb-edu-1m: " in first
    (path,) = repository.glob("cache/datasets/fineweb-edu-*/train-00000.bin")
    path.write_bytes(b"\0\0" + path.read_bytes()[2:])
    assert main(command) == 0
    again = capsys.readouterr()
    assert again.out == first
    assert "shard 0 of fineweb-edu is damaged: rebuilding it" in again.err
    assert main(["data"]) == 0
    assert "fineweb-edu-SIZE" in capsys.readouterr().out


def test_error_without_connection(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(CORPORA, "fineweb-edu", next(c for c in corpora._ENTRIES if c.name == "fineweb-edu"))
    with pytest.raises(CorpusError, match=r"(?s)cannot read fineweb-edu: .*hf download .* 'sample/10BT/\*'.*--text"):
        DataSource(DataFlags(tokenizer=str(repository)), "fineweb-edu-1m").tokenize()


def test_own_document_files(repository: Path) -> None:
    path = repository / "pages.jsonl"
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in PAGES), encoding="utf-8")
    one = DataSource(DataFlags(text=path, tokenizer="bpe", vocab_size=280), "shakespeare").tokenize()
    assert one.name == "pages"
    assert isinstance(one.train, ShardedIds)
    assert one.tokenizer.vocab_size == 280
    folder = repository / "hub" / "fineweb-edu" / "sample" / "10BT"
    many = DataSource(DataFlags(text=folder, tokenizer=str(repository))).tokenize()
    expected = [PAGES[i] for number in range(2) for i in range(number, 400, 2)]
    assert many.tokenizer.decode(many.val.tolist()).split("<|endoftext|>")[1:] == expected[::20]
    (folder / "README.md").write_text("A text beside documents is none of them.\n")
    assert DataSource(DataFlags(text=folder, tokenizer=str(repository))).tokenize().sha256 == many.sha256
    with pytest.raises(UsageError, match="leave out --val-text"):
        DataSource(DataFlags(text=path, tokenizer="bpe", val_text=path)).tokenize()
    with pytest.raises(CorpusError, match=r"too many different characters.*add --tokenizer gpt2"):
        DataSource(DataFlags(text=path)).tokenize()
    with pytest.raises(UsageError, match="has documents, which only training reads"):
        DataSource(DataFlags(text=path)).text_source()


def test_progress_lines(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inkhorn.cli.progress.LINE_INTERVAL", 0.5)
    clock = iter([0.0, 0.0, 10.0, 20.0])
    monkeypatch.setattr("inkhorn.cli.progress.time.monotonic", lambda: next(clock))
    with progress("tokenizing pages", 4_000_000, "tokens") as bar:
        for _ in range(3):
            bar.advance(1_000_000)
    assert capsys.readouterr().err.splitlines() == [
        "tokenizing pages: 2,000,000 of 4,000,000 tokens, 100,000 tokens/s, 0:00:20 left",
        "tokenizing pages: 3,000,000 of 4,000,000 tokens, 100,000 tokens/s, 0:00:10 left",
    ]
