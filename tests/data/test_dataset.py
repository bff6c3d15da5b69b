"""Tokenized datasets on disk, and the order of batches."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.data.batches import BatchSampler, evaluation_windows
from inkhorn.data.dataset import tokenize_to_disk
from inkhorn.data.text import TextSource
from inkhorn.errors import CorpusError


def source(train: str, val: str, name: str = "play") -> TextSource:
    return TextSource(name=name, pieces=lambda: (train,), val_pieces=lambda: (val,))


def test_ids_decode_to_text(tmp_path: Path) -> None:
    train, val = "Who's there? <|endoftext|>Nay — answer me.\n" * 20, "Long live the king!\n"
    data = tokenize_to_disk(source(train, val), tmp_path)
    assert data.tokenizer.decode(data.train[:].tolist()) == train
    assert data.tokenizer.decode(data.val.tolist()) == val
    assert isinstance(data.train, np.memmap)
    assert data.train.dtype == np.uint8


def test_dtype_grows_with_vocabulary(tmp_path: Path) -> None:
    text = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 400))
    data = tokenize_to_disk(source(text, text), tmp_path)
    assert data.train.dtype == np.uint16
    assert data.tokenizer.decode(data.train[:].tolist()) == text


def test_tokenized_text_is_cached(tmp_path: Path) -> None:
    text = "abc" * 100
    first = tokenize_to_disk(source(text, "abc"), tmp_path)
    done: list[int] = []
    again = tokenize_to_disk(source(text, "abc"), tmp_path, done.append)
    assert again.sha256 == first.sha256
    assert done == []
    other = tokenize_to_disk(source(text + "!", "abc"), tmp_path, done.append)
    assert other.sha256 != first.sha256
    assert sum(done) == len(text) + 1 + 3


@pytest.mark.parametrize(("bpe_size", "reads"), [(None, 2), (260, 3)])
@pytest.mark.parametrize("own_val", [False, True])
def test_number_of_reads(tmp_path: Path, bpe_size: int | None, reads: int, own_val: bool) -> None:
    """A first run reads a text twice, or three times to train a BPE tokenizer; a later run reads it once."""
    count = {"text": 0, "val": 0}

    def pieces(name: str) -> Iterator[str]:
        count[name] += 1
        yield from ["The quick brown fox.\n"] * 40

    def tokenize() -> list[int]:
        count.update(text=0, val=0)
        val = partial(pieces, "val") if own_val else None
        text = TextSource(name="fox", pieces=partial(pieces, "text"), val_pieces=val)
        tokenize_to_disk(text, tmp_path, bpe_size=bpe_size)
        return list(count.values())

    assert tokenize() == [reads, 2 if own_val else 0]
    assert tokenize() == [1, 1 if own_val else 0]


def test_incomplete_folder_is_rebuilt(tmp_path: Path) -> None:
    first = tokenize_to_disk(source("abc" * 100, "abc"), tmp_path)
    folder = next((tmp_path / "datasets").iterdir())
    (folder / "dataset.json").unlink()
    again = tokenize_to_disk(source("abc" * 100, "abc"), tmp_path)
    assert again.train[:].tolist() == first.train[:].tolist()
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "dataset.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "other"])
def test_damaged_folder_is_rebuilt(tmp_path: Path, name: str, damage: str) -> None:
    text = "abc\n" * 100
    first = tokenize_to_disk(source(text, "cab"), tmp_path)
    path = next((tmp_path / "datasets").iterdir()) / name
    content = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes({"cut": content[:-2], "empty": b"", "other": b"{}"}[damage])
    again = tokenize_to_disk(source(text, "cab"), tmp_path)
    assert again.tokenizer.decode(again.train[:].tolist()) == text
    assert again.val.tolist() == first.val.tolist()
    assert path.read_bytes() == content


def test_concurrent_builds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "abc\n" * 100
    real = Path.rename

    def rename(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real)
        tokenize_to_disk(source(text, "cab"), tmp_path)  # another process finishes first
        return real(self, target)

    monkeypatch.setattr(Path, "rename", rename)
    data = tokenize_to_disk(source(text, "cab"), tmp_path)
    assert data.tokenizer.decode(data.train[:].tolist()) == text
    assert len(list((tmp_path / "datasets").iterdir())) == 1


def test_write_error_leaves_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inkhorn.data.dataset.write_json", full)
    with pytest.raises(CorpusError, match="No space left"):
        tokenize_to_disk(source("abc" * 100, "abc"), tmp_path)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_check_block_size(tmp_path: Path) -> None:
    data = tokenize_to_disk(source("a" * 40, "a" * 10), tmp_path)
    data.check_block_size(9)
    with pytest.raises(CorpusError, match=r"validation split of play has 10 tokens.*at least 33"):
        data.check_block_size(32)


def test_bos_token_id(tmp_path: Path) -> None:
    separated = tokenize_to_disk(source("one\n<|endoftext|>two\n", "x"), tmp_path)
    assert separated.bos_token_id == separated.tokenizer.eos_id
    rare = tokenize_to_disk(source("one\n<|endoftext|>" + "two\n" * 10_000, "x"), tmp_path)
    assert rare.tokenizer.decode([rare.bos_token_id]) == "\n"
    single = tokenize_to_disk(source("one\ntwo\n", "x"), tmp_path)
    assert single.tokenizer.decode([single.bos_token_id]) == "\n"
    assert tokenize_to_disk(source("abc", "x"), tmp_path).bos_token_id == 0


@given(st.integers(10, 400), st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_epoch_covers_every_window_once(n: int, block: int, batch: int, seed: int) -> None:
    if n <= block:
        return
    sampler = BatchSampler(np.arange(n), batch, block, seed)
    rows = np.concatenate([sampler.batch(step) for step in range(-(-sampler.windows // batch) + 1)])[: sampler.windows]
    assert rows.shape == (sampler.windows, block + 1)
    assert (np.diff(rows, axis=1) == 1).all(), "a row is consecutive ids"
    starts = np.sort(rows[:, 0])
    assert (np.diff(starts) == block).all(), "windows tile the text from the epoch's offset"
    assert starts[0] >= 0
    assert rows.max() < n
    assert n - sampler.windows * block <= 2 * block + 1, "few tokens are skipped"


def test_batches_depend_on_seed_and_step_only() -> None:
    ids = np.arange(5000)
    sampler, again, other = (BatchSampler(ids, 4, 16, seed) for seed in (1, 1, 2))
    forward = [sampler.batch(step).tolist() for step in range(200)]
    backward = [again.batch(step).tolist() for step in reversed(range(200))]
    assert forward == backward[::-1]
    assert forward != [other.batch(step).tolist() for step in range(200)]
    epoch = -(-sampler.windows // 4)
    assert forward[:epoch] != forward[epoch : 2 * epoch]


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 5))
def test_evaluation_windows_cover_every_target_once(n: int, block: int, batch: int) -> None:
    ids = np.arange(n)
    rows = list(evaluation_windows(ids, block, batch))
    targets = np.concatenate([window[:, 1:].ravel() for window in rows])
    assert targets.tolist() == list(range(1, n))
    assert all(len(window) <= batch and window.shape[1] <= block + 1 for window in rows)


def test_pretraining_text(tmp_path: Path) -> None:
    early = "an early text, and a longer one\n" * 9
    plain = source("the fox and the dog\n" * 30, "the end of it\n")
    both = replace(plain, pretrain_pieces=lambda: (early,))
    data = tokenize_to_disk(both, tmp_path)
    assert data.pretrain is not None
    assert data.tokenizer.decode(data.pretrain.tolist()) == early
    without = tokenize_to_disk(plain, tmp_path)
    assert without.pretrain is None
    assert without.sha256 != data.sha256
    assert without.tokenizer.decode(without.train[:].tolist()) == data.tokenizer.decode(data.train[:].tolist())
    assert both.summary.n_chars == plain.summary.n_chars + len(early)
    assert both.summary.n_train == plain.summary.n_train
    learnt = tokenize_to_disk(both, tmp_path, bpe_size=270)
    assert learnt.tokenizer.decode(learnt.pretrain.tolist() if learnt.pretrain is not None else []) == early
    with pytest.raises(CorpusError, match="the pretraining text has 1 tokens, but a block size of 8"):
        replace(data, pretrain=data.pretrain[:1]).check_block_size(8)
