"""`inkhorn eval`: windows, batches, output and errors. Scores in tasks are in tests/evaluation/test_harness.py."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.eval import PAGES, PASSAGES, write_tasks
from helpers.models import run as run_command
from helpers.models import save_checkpoint, tiny_config, tiny_model
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.cli.data_source import DataFlags, DataSource
from inkhorn.errors import CorpusError, UsageError
from inkhorn.evaluation import sliding
from inkhorn.evaluation.loglikelihood import join_scores, rolling_windows, score_windows
from inkhorn.evaluation.loss import split_loss
from inkhorn.evaluation.sliding import sliding_windows, text_loss
from inkhorn.hardware.device import Hardware
from inkhorn.tokenizer.char import CharTokenizer

CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
CHARS = CharTokenizer({c for text in [*PASSAGES[:4], *PAGES] for c in text if c.isascii()})
BLOCK = 48
MODEL = tiny_model(tiny_config(vocab_size=CHARS.vocab_size, block_size=BLOCK, eos_token_id=CHARS.eos_id))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a character model and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", "cache")
    save_checkpoint(tmp_path / "model", MODEL, CHARS)
    (tmp_path / "mine.txt").write_text(" ".join(PASSAGES[:3]), encoding="utf-8")
    return tmp_path


def run(*words: str) -> int:
    return run_command("eval", "--model", "model", *words)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(*words, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@given(n=st.integers(2, 80), first=st.integers(1, 60), block=st.integers(1, 20))
def test_rolling_windows_score_each_token_once(n: int, first: int, block: int) -> None:
    windows = rolling_windows(range(n), first, block)
    assert [token for window in windows for token in window.ids[window.first :]] == list(range(first, n))
    for window in windows:
        assert 1 <= window.first < len(window.ids) <= block + 1
        assert window.ids == tuple(range(window.ids[0], window.ids[-1] + 1))
    if windows:
        assert len(windows[-1].ids) == min(n, block + 1)


@given(n=st.integers(2, 80), block=st.integers(2, 20), data=st.data())
def test_sliding_windows_score_each_token_once(n: int, block: int, data: st.DataObject) -> None:
    stride = data.draw(st.integers(1, block))
    scored: list[int] = []
    for start, end, first in sliding_windows(n, block, stride):
        assert end - start <= block + 1
        assert start < first < end
        assert start == 0 or first - start >= block + 1 - stride
        scored += range(first, end)
    assert scored == list(range(1, n))


@torch.no_grad()
def naive(ids: list[int], context: int) -> list[float]:
    """ln p of each token but the first given at most `context` tokens, one forward pass each."""
    found = []
    for i in range(1, len(ids)):
        logits, _ = MODEL(torch.tensor([ids[max(0, i - context) : i]]))
        found.append(float(logits[0, -1].log_softmax(-1)[ids[i]]))
    return found


def test_scores_do_not_depend_on_the_batch() -> None:
    ids = CHARS.encode(PASSAGES[0] + PASSAGES[1]).tolist()
    texts = [rolling_windows(ids[start : start + length], 1, BLOCK) for start, length in ((0, 9), (3, 30), (7, 90))]
    texts.append(rolling_windows(ids[:40], 37, BLOCK))
    windows = [window for text in texts for window in text]
    alone = [score_windows(MODEL, [window], CPU)[0] for window in windows]
    for batch_size in (1, 2, 64):
        for one, other in zip(alone, score_windows(MODEL, windows, CPU, batch_size), strict=True):
            assert other.logprobs == pytest.approx(one.logprobs, abs=1e-5)
            assert other.greedy == one.greedy
    assert alone[0].logprobs == pytest.approx(naive(ids[:9], BLOCK), abs=1e-5)
    assert len(join_scores(alone[2:4]).logprobs) == 89


def test_stride_one_gives_full_context(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [CHARS.eos_id, *CHARS.encode(Path("mine.txt").read_text()).tolist()]  # the first token is scored, too
    result = answer(capsys, "--text", "mine.txt", "--stride", "1")
    assert result["loss"] == pytest.approx(-sum(naive(ids, BLOCK)) / (len(ids) - 1), abs=1e-5)
    assert result["method"] == f"sliding windows of {BLOCK}, stride 1"


def test_shorter_windows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = np.array([CHARS.eos_id, *CHARS.encode(Path("mine.txt").read_text()).tolist()])
    for words, stride in ((["--max-length", "12"], 12), (["--max-length", "12", "--stride", "5"], 5)):
        result = answer(capsys, "--text", "mine.txt", *words)
        assert result["loss"] == pytest.approx(text_loss(MODEL, ids, CPU, stride=stride, max_length=12), abs=1e-6)
        assert "windows of 12" in result["method"]
    by_hand = [score for start in range(0, len(ids) - 1, 12) for score in naive(ids[start : start + 13].tolist(), 12)]
    assert answer(capsys, "--text", "mine.txt", "--max-length", "12")["loss"] == pytest.approx(-np.mean(by_hand))


def test_separators_are_no_characters(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine.txt").write_text(f"{PASSAGES[0][:18]}<|endoftext|>{PASSAGES[1][:12]}", encoding="utf-8")
    result = answer(capsys, "--text", "mine.txt")
    assert (result["tokens"], result["replaced_characters"]) == (31, 0)
    assert result["bits_per_character"] == pytest.approx(result["loss"] / math.log(2) * 31 / 30)


def test_default_stride_equals_split_loss(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("mine.txt").read_text(encoding="utf-8") + "naïve"
    Path("mine.txt").write_text(text, encoding="utf-8")
    ids = np.array([CHARS.eos_id, *CHARS.encode(CHARS.normalize(text)[0]).tolist()])
    result = answer(capsys, "--text", "mine.txt")
    assert result["loss"] == pytest.approx(split_loss(MODEL, ids, CPU), abs=1e-6)
    assert result["method"] == f"non-overlapping windows of {BLOCK}"
    assert (result["tokens"], result["replaced_characters"]) == (len(ids) - 1, 1)
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    nats = result["loss"] * (len(ids) - 1)
    assert result["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(CHARS.decode(ids[1:].tolist()).encode()))
    assert run("--text", "mine.txt") == 0
    assert "bits per byte" in capsys.readouterr().out


def test_bits_per_byte_of_multibyte_characters(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "äöü ß" * 30
    tokenizer = CharTokenizer(text)
    config = tiny_config(vocab_size=tokenizer.vocab_size, eos_token_id=tokenizer.eos_id)
    shutil.rmtree("model")
    save_checkpoint(Path("model"), tiny_model(config), tokenizer)
    Path("mine.txt").write_text(text, encoding="utf-8")
    result = answer(capsys, "--text", "mine.txt")
    assert result["bits_per_byte"] == pytest.approx(result["bits_per_character"] * 5 / 9)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # from lm-eval and datasets
def test_tasks_from_a_folder(here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(here / "datasets"))
    write_tasks(here / "tasks")
    words = ("--tasks", "own_lambada", "own_hellaswag_completion", "--include-path", "tasks", "--limit", "5")
    found = answer(capsys, *words)
    assert set(found["results"]) == {"own_lambada", "own_hellaswag_completion"}
    assert found["n-samples"]["own_lambada"] == {"original": len(PASSAGES), "effective": 5}
    assert any("not in the vocabulary" in note for note in found["notes"])
    assert run(*words) == 0
    shown = capsys.readouterr().out
    assert "own_hellaswag_completion" in shown
    assert "perplexity" in shown
    assert "note: " in shown


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        pytest.param(["--tasks", "lambda_openai"], 2, "lm-eval has no task 'lambda_openai'", marks=pytest.mark.slow),
        (["--tasks", "lambada_openai", "--text", "mine.txt"], 2, "leave out --text"),
        (["--tasks", "lambada_openai", "--include-path", "nowhere"], 2, "nowhere is not a folder"),
        (["--limit", "3"], 2, "--limit needs --tasks"),
        (["--num-fewshot", "3"], 2, "--num-fewshot needs --tasks"),
        (["--tasks", "lambada_openai", "--limit", "0"], 2, "--limit must be at least 1"),
        (["--text", "mine.txt", "--stride", "49"], 2, "--stride must be at most 48, the context length, not 49"),
        (["--text", "mine.txt", "--max-length", "49"], 2, "--max-length must be at most 48, the context length"),
        (["--text", "mine.txt", "--max-length", "9", "--stride", "10"], 2, "at most 9, --max-length, not 10"),
        (["--tasks", "lambada_openai", "--max-length", "9"], 2, "leave out --text, --corpus, --stride"),
        (["--text", "mine.txt", "--batch-size", "0"], 2, "--batch-size must be at least 1"),
        (["--text", "nowhere.txt"], 1, "nowhere.txt"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_errors(here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, message: str) -> None:
    assert run(*words) == code
    shown = capsys.readouterr()
    assert message in shown.err
    assert shown.out == ""


def test_out_of_memory_suggests_a_batch_size(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any, **__: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(sliding, "text_loss", full)
    assert run("--text", "mine.txt", "--batch-size", "6") == 1
    assert "out of memory: try --batch-size 3" in capsys.readouterr().err


def test_text_loss_checks_its_arguments() -> None:
    with pytest.raises(UsageError, match="from 1 to 48"):
        text_loss(MODEL, np.arange(20, dtype=np.int32), CPU, stride=49)
    with pytest.raises(CorpusError, match="has 1 tokens"):
        text_loss(MODEL, np.arange(1, dtype=np.int32), CPU, stride=3)


def test_validation_documents(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "web").mkdir()
    rows = "\n".join(json.dumps({"text": f"{i} {text}"}) for i in range(30) for text in PASSAGES[:4])
    (here / "web" / "rows.jsonl").write_text(rows, encoding="utf-8")
    found = answer(capsys, "--text", "web")
    data = DataSource(DataFlags(text=here / "web"), tokenizer=CHARS).tokenize()
    assert found["tokens"] == len(data.val) - 1 < len(data.train)
    assert found["loss"] == pytest.approx(split_loss(MODEL, np.asarray(data.val), CPU), rel=1e-5)
    nats = found["loss"] / math.log(2) * found["tokens"]
    assert found["bits_per_byte"] == pytest.approx(nats / data.val_bytes, rel=1e-9)
    assert found["bits_per_character"] is None
    assert run("--text", "web") == 0
    assert "not counted" in capsys.readouterr().out
