"""Ids on disk, and an order of batches that depends on nothing but seed and step."""

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


def test_the_ids_are_the_text(tmp_path: Path) -> None:
    train, val = "Who's there? <|endoftext|>Nay — answer me.\n" * 20, "Long live the king!\n"
    data = tokenize_to_disk(source(train, val), tmp_path)
    assert data.tokenizer.decode(data.train[:].tolist()) == train
    assert data.tokenizer.decode(data.val.tolist()) == val
    assert isinstance(data.train, np.memmap)
    assert data.train.dtype == np.uint8


def test_many_characters_take_wider_ids(tmp_path: Path) -> None:
    text = "".join(chr(code) for code in range(0x4E00, 0x4E00 + 400))
    data = tokenize_to_disk(source(text, text), tmp_path)
    assert data.train.dtype == np.uint16
    assert data.tokenizer.decode(data.train[:].tolist()) == text


def test_a_text_is_tokenised_once(tmp_path: Path) -> None:
    text = "abc" * 100
    first = tokenize_to_disk(source(text, "abc"), tmp_path)
    done: list[int] = []
    again = tokenize_to_disk(source(text, "abc"), tmp_path, done.append)
    assert again.sha256 == first.sha256
    assert done == []
    other = tokenize_to_disk(source(text + "!", "abc"), tmp_path, done.append)
    assert other.sha256 != first.sha256
    assert sum(done) == 2 * (len(text) + 1 + 3)


def test_a_half_built_folder_is_built_again(tmp_path: Path) -> None:
    first = tokenize_to_disk(source("abc" * 100, "abc"), tmp_path)
    folder = next((tmp_path / "datasets").iterdir())
    (folder / "dataset.json").unlink()
    again = tokenize_to_disk(source("abc" * 100, "abc"), tmp_path)
    assert again.train[:].tolist() == first.train[:].tolist()
    assert [path.name for path in (tmp_path / "datasets").iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["train.bin", "val.bin", "dataset.json", "tokenizer.json"])
@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "other"])
def test_a_damaged_folder_is_built_again(tmp_path: Path, name: str, damage: str) -> None:
    text = "abc\n" * 100
    first = tokenize_to_disk(source(text, "cab"), tmp_path)
    path = next((tmp_path / "datasets").iterdir()) / name
    whole = path.read_bytes()
    path.unlink()
    if damage != "gone":
        path.write_bytes({"cut": whole[:-2], "empty": b"", "other": b"{}"}[damage])
    again = tokenize_to_disk(source(text, "cab"), tmp_path)
    assert again.tokenizer.decode(again.train[:].tolist()) == text
    assert again.val.tolist() == first.val.tolist()
    assert path.read_bytes() == whole


def test_two_at_once_share_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = "abc\n" * 100
    real = Path.rename

    def overtaken(self: Path, target: Path) -> Path:
        monkeypatch.setattr(Path, "rename", real)
        tokenize_to_disk(source(text, "cab"), tmp_path)  # another process is done a moment before
        return real(self, target)

    monkeypatch.setattr(Path, "rename", overtaken)
    data = tokenize_to_disk(source(text, "cab"), tmp_path)
    assert data.tokenizer.decode(data.train[:].tolist()) == text
    assert len(list((tmp_path / "datasets").iterdir())) == 1


def test_failure_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("inkhorn.data.dataset.write_json", full)
    with pytest.raises(CorpusError, match="No space left"):
        tokenize_to_disk(source("abc" * 100, "abc"), tmp_path)
    assert list((tmp_path / "datasets").iterdir()) == []


def test_too_short_for_the_block(tmp_path: Path) -> None:
    data = tokenize_to_disk(source("a" * 40, "a" * 10), tmp_path)
    data.check_block_size(9)
    with pytest.raises(CorpusError, match=r"validation part of play has 10 tokens.*at least 33"):
        data.check_block_size(32)


def test_where_an_empty_prompt_starts(tmp_path: Path) -> None:
    separated = tokenize_to_disk(source("one\n<|endoftext|>two\n", "x"), tmp_path)
    assert separated.bos_token_id == separated.tokenizer.eos_id
    rare = tokenize_to_disk(source("one\n<|endoftext|>" + "two\n" * 10_000, "x"), tmp_path)
    assert rare.tokenizer.decode([rare.bos_token_id]) == "\n"
    single = tokenize_to_disk(source("one\ntwo\n", "x"), tmp_path)
    assert single.tokenizer.decode([single.bos_token_id]) == "\n"
    assert tokenize_to_disk(source("abc", "x"), tmp_path).bos_token_id == 0


@given(st.integers(10, 400), st.integers(1, 40), st.integers(1, 9), st.integers(0, 3))
def test_an_epoch_meets_every_window_once(n: int, block: int, batch: int, seed: int) -> None:
    if n <= block:
        return
    order = BatchSampler(np.arange(n), batch, block, seed)
    rows = np.concatenate([order.batch(step) for step in range(-(-order.windows // batch) + 1)])[: order.windows]
    assert rows.shape == (order.windows, block + 1)
    assert (np.diff(rows, axis=1) == 1).all(), "a row is consecutive ids"
    starts = np.sort(rows[:, 0])
    assert (np.diff(starts) == block).all(), "windows tile the text from the epoch's offset, none twice"
    assert starts[0] >= 0
    assert rows.max() < n
    assert n - order.windows * block <= 2 * block + 1, "hardly anything is left out"


def test_order_is_a_function_of_seed_and_step() -> None:
    ids = np.arange(5000)
    order, again, other = (BatchSampler(ids, 4, 16, seed) for seed in (1, 1, 2))
    forward = [order.batch(step).tolist() for step in range(200)]
    backward = [again.batch(step).tolist() for step in reversed(range(200))]
    assert forward == backward[::-1]
    assert forward != [other.batch(step).tolist() for step in range(200)]
    epoch = -(-order.windows // 4)
    assert forward[:epoch] != forward[epoch : 2 * epoch]


@given(st.integers(2, 300), st.integers(1, 40), st.integers(1, 5))
def test_evaluation_predicts_every_token_but_the_first_once(n: int, block: int, batch: int) -> None:
    ids = np.arange(n)
    rows = list(evaluation_windows(ids, block, batch))
    targets = np.concatenate([window[:, 1:].ravel() for window in rows])
    assert targets.tolist() == list(range(1, n))
    assert all(len(window) <= batch and window.shape[1] <= block + 1 for window in rows)
