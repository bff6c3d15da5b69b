"""`inkhorn eval`: windows, batches, files, journals and messages; the numbers themselves are in test_eval_reference."""

import gzip
import hashlib
import json
import math
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.eval import PAGES, PASSAGES, QUESTIONS, write_items
from helpers.models import save_checkpoint, tiny_config, tiny_model
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.cli.data_source import DataSource
from inkhorn.cli.main import main
from inkhorn.errors import CorpusError, UsageError
from inkhorn.evaluation.evaldata import LAMBADA, WIKITEXT2
from inkhorn.evaluation.loglikelihood import Passage, rolling, score
from inkhorn.evaluation.loss import split_loss
from inkhorn.evaluation.tasks import examine as examining
from inkhorn.evaluation.tasks.journal import Journal
from inkhorn.evaluation.tasks.lambada import Lambada
from inkhorn.evaluation.tasks.session import Session
from inkhorn.evaluation.tasks.windows import Windows
from inkhorn.hardware.device import Hardware
from inkhorn.tokenizer.char import CharTokenizer

CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
CHARS = CharTokenizer({c for text in [*PASSAGES[:4], *PAGES] for c in text if c.isascii()})
BLOCK = 48
MODEL = tiny_model(tiny_config(vocab_size=CHARS.vocab_size, block_size=BLOCK, eos_token_id=CHARS.eos_id))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model of characters, items and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", "cache")
    save_checkpoint(tmp_path / "model", MODEL, CHARS)
    write_items(tmp_path / "items", PASSAGES, QUESTIONS, "\n".join(PAGES))
    (tmp_path / "mine.txt").write_text(" ".join(PASSAGES[:3]), encoding="utf-8")
    return tmp_path


def run(*words: str) -> int:
    try:
        return main(["eval", "--model", "model", *words])
    except SystemExit as left:
        return int(left.code or 0)


def answer(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert run(*words, "--json") == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@given(n=st.integers(2, 80), first=st.integers(1, 60), block=st.integers(1, 20))
def test_rolling_scores_each_token_once_with_all_the_context_there_is(n: int, first: int, block: int) -> None:
    rows = rolling(range(n), first, block)
    scored = [token for row in rows for token in row.ids[row.first :]]
    assert scored == list(range(first, n))
    for row in rows:
        assert 1 <= row.first < len(row.ids) <= block + 1
        assert row.ids == tuple(range(row.ids[0], row.ids[-1] + 1))
    if rows:
        assert len(rows[-1].ids) == min(n, block + 1)


@given(n=st.integers(2, 80), block=st.integers(2, 20), data=st.data(), beyond=st.integers(0, 1))
def test_windows_score_each_token_once(n: int, block: int, data: st.DataObject, beyond: int) -> None:
    stride = data.draw(st.integers(1, block))
    task = Windows(np.arange(n), block, stride, beyond=beyond)
    scored: list[int] = []
    for item in range(len(task)):
        (passage,) = task.passages(item)
        (row,) = passage.rows
        assert len(row.ids) <= block + beyond
        new = row.ids[row.first :]
        assert new, "no window is for nothing"
        assert item == 0 or len(row.ids) - len(new) >= max(1, block + beyond - stride)
        scored += new
    left_out = set(range(0, n, block)) if stride == block and not beyond else {0}
    assert scored == [token for token in range(n) if token not in left_out]


@torch.no_grad()
def naive(ids: list[int], context: int) -> list[float]:
    """ln p of each token but the first, after at most so many others, one pass each."""
    found = []
    for i in range(1, len(ids)):
        logits, _ = MODEL(torch.tensor([ids[max(0, i - context) : i]]))
        found.append(float(logits[0, -1].log_softmax(-1)[ids[i]]))
    return found


def test_a_batch_changes_no_score() -> None:
    ids = CHARS.encode(PASSAGES[0] + PASSAGES[1]).tolist()
    passages = [Passage(rolling(ids[start : start + length], 1, BLOCK)) for start, length in ((0, 9), (3, 30), (7, 90))]
    passages += [Passage(()), Passage(rolling(ids[:40], 37, BLOCK))]
    alone = [score(MODEL, [passage], CPU)[0] for passage in passages]
    for batch_size in (1, 2, 64):
        together = score(MODEL, passages, CPU, batch_size)
        for one, other in zip(alone, together, strict=True):
            assert other.logprobs == pytest.approx(one.logprobs, abs=1e-5)
            assert other.greedy == one.greedy
    assert alone[0].logprobs == pytest.approx(naive(ids[:9], BLOCK), abs=1e-5)
    assert [len(one.logprobs) for one in alone] == [8, 29, 89, 0, 3]


def test_a_stride_of_one_gives_every_token_the_whole_block(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ids = CHARS.encode(Path("mine.txt").read_text()).tolist()
    result = answer(capsys, "--text", "mine.txt", "--stride", "1")
    assert result["loss"] == pytest.approx(-sum(naive(ids, BLOCK)) / (len(ids) - 1), abs=1e-5)
    assert f"stride 1: at least {BLOCK} tokens" in result["method"]


def test_the_usual_loss_is_split_loss_and_comes_in_bits(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = Path("mine.txt").read_text(encoding="utf-8") + "naïve"
    Path("mine.txt").write_text(text, encoding="utf-8")
    ids = CHARS.encode(CHARS.normalize(text)[0])
    result = answer(capsys, "--text", "mine.txt")
    assert result["loss"] == pytest.approx(split_loss(MODEL, ids, CPU), abs=1e-6)
    assert result["method"] == f"non-overlapping windows of {BLOCK}"
    assert (result["tokens"], result["replaced_characters"]) == (len(ids) - 1, 1)
    assert result["perplexity"] == pytest.approx(math.exp(result["loss"]))
    nats = result["loss"] * (len(ids) - 1)
    assert result["bits_per_byte"] == pytest.approx(nats / math.log(2) / len(CHARS.decode(ids.tolist()).encode()))
    assert run("--text", "mine.txt") == 0
    assert "bits per byte" in capsys.readouterr().out


def test_bits_per_byte_are_fewer_where_characters_are_longer(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "äöü ß" * 30
    tokenizer = CharTokenizer(text)
    config = tiny_config(vocab_size=tokenizer.vocab_size, eos_token_id=tokenizer.eos_id)
    shutil.rmtree("model")
    save_checkpoint(Path("model"), tiny_model(config), tokenizer)
    Path("mine.txt").write_text(text, encoding="utf-8")
    result = answer(capsys, "--text", "mine.txt")
    assert result["bits_per_byte"] == pytest.approx(result["bits_per_character"] * 5 / 9)


def test_tasks_are_shown_with_their_method_and_notes(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("--tasks", "all", "--data", "items", "--limit", "5") == 0
    shown = " ".join(capsys.readouterr().out.split())
    for words in (
        "lambada",
        "lm-eval lambada_openai",
        "hellaswag-completion",
        "acc_norm",
        "word_perplexity",
        "stride 24",
    ):
        assert words in shown, words
    assert "note: lambada_test.jsonl is not the published file byte for byte" in shown
    assert "note: only the first 5 of 6 passages" in shown
    assert "contexts were longer than the block and lost their beginning" in shown
    assert "characters read are not in the vocabulary" in shown
    assert "a token is a character here" in shown


def test_tasks_as_json_name_data_and_method(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "--tasks", "hellaswag", "lambada", "--data", "items")
    assert [task["task"] for task in found["tasks"]] == ["hellaswag-lm-eval", "hellaswag-completion", "lambada"]
    for task in found["tasks"]:
        assert task["items"] + task["left_out_items"] == task["of"]
        assert len(task["data"]["sha256"]) == 64
        assert all(measure["method"] for measure in task["measures"])
    acc = found["tasks"][2]["measures"][0]
    p, n = acc["value"], found["tasks"][2]["items"]
    assert acc["stderr"] == pytest.approx(math.sqrt(p * (1 - p) / (n - 1)))


def test_what_the_vocabulary_cannot_write_does_not_count(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_items(Path("items"), ["The man said 日本", PASSAGES[0]], QUESTIONS, "\n".join(PAGES))
    tokenizer = CharTokenizer("".join(PASSAGES[:1]).replace(" ", ""))  # no blank: nothing is left of the last word
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=BLOCK, eos_token_id=tokenizer.eos_id)
    shutil.rmtree("model")
    save_checkpoint(Path("model"), tiny_model(config), tokenizer)
    (task,) = answer(capsys, "--tasks", "lambada", "--data", "items")["tasks"]
    assert (task["items"], task["left_out_items"]) == (1, 1)
    assert any("cannot be written" in note for note in task["notes"])
    write_items(Path("items"), ["The man said 日本"], QUESTIONS, "\n".join(PAGES))
    assert run("--tasks", "lambada", "--data", "items") == 1
    assert "none of its 1 passages can be written" in capsys.readouterr().err


def test_an_interrupted_task_goes_on_where_it_was(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(examining, "_POOL", 2)
    words = ("--tasks", "lambada", "--data", "items", "--out", "kept", "--batch-size", "1")
    whole = answer(capsys, *words[:4])
    calls: list[int] = []

    def counted(model: Any, passages: Any, *more: Any) -> Any:
        calls.append(len(passages))
        if len(calls) == 4:
            raise KeyboardInterrupt
        return score(model, passages, *more)

    monkeypatch.setattr(examining, "score", counted)
    assert run(*words) == 130
    shown = capsys.readouterr().err
    assert "lambada: 3 of 6 passages are done, kept in kept/lambada.jsonl" in shown
    assert len(Path("kept/lambada.jsonl").read_text().splitlines()) == 4
    with Path("kept/lambada.jsonl").open("a") as file:
        file.write('{"item": 5, "logpro')  # as a crash leaves it
    assert answer(capsys, *words) == whole
    assert sum(calls) == 4 + 3, "what was kept is not done again"
    assert answer(capsys, *words) == whole
    assert len(calls) == 4 + 3, "all was there"
    calls.clear()
    assert run(*words[:4], "--batch-size", "1") == 130
    assert "are done, lost (--out FOLDER keeps them)" in capsys.readouterr().err


def test_a_larger_limit_goes_on_and_another_model_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--tasks", "lambada", "--data", "items", "--out", "kept")
    answer(capsys, *words, "--limit", "2")
    kept = Path("kept/lambada.jsonl").read_text().splitlines()
    assert len(kept) == 3
    assert answer(capsys, *words)["tasks"][0]["items"] == 6
    assert Path("kept/lambada.jsonl").read_text().splitlines()[:3] == kept
    assert answer(capsys, *words, "--limit", "2")["tasks"][0]["items"] == 2
    assert run(*words, "--dtype", "bfloat16") == 2
    assert "differ in dtype: give another --out" in capsys.readouterr().err
    save_checkpoint(Path("model"), tiny_model(MODEL.config, seed=1), CHARS)
    assert run(*words) == 2
    assert "differ in model" in capsys.readouterr().err
    assert len(Path("kept/lambada.jsonl").read_text().splitlines()) == 7, "refused, and left as it was"


def test_a_whole_text_is_kept_too(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = answer(capsys, "--text", "mine.txt", "--out", "kept")
    assert Path("kept/text-mine.jsonl").is_file()
    assert answer(capsys, "--text", "mine.txt", "--out", "kept") == first
    assert run("--text", "mine.txt", "--out", "kept", "--stride", "7") == 2
    assert "differ in stride" in capsys.readouterr().err


def test_a_journal_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(Exception, match="cannot keep results in"), Journal(tmp_path / "file" / "x.jsonl", {}):
        pass


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["--tasks", "lambda"], 2, "did you mean 'lambada'?"),
        (["--tasks", "lambada", "--text", "mine.txt"], 2, "leave out --text"),
        (["--limit", "3"], 2, "go with --tasks"),
        (["--tasks", "lambada", "--limit", "0"], 2, "--limit must be at least 1"),
        (["--text", "mine.txt", "--stride", "49"], 2, "--stride 49 is beyond the block 48"),
        (["--tasks", "wikitext2", "--data", "items", "--stride", "49"], 2, "from 1 to the block of 48"),
        (["--tasks", "lambada", "--data", "nowhere"], 1, "nowhere has no lambada_test.jsonl"),
        (["--tasks", "lambada", "--data", "bad"], 1, "line 2 is not JSON"),
        (["--tasks", "hellaswag", "--data", "bad"], 1, "no ctx_a, ctx_b"),
        (["--tasks", "wikitext2", "--data", "bad"], 1, "cannot read bad/wiki.test.raw"),
        (["--text", "mine.txt", "--batch-size", "0"], 2, "--batch-size must be at least 1"),
    ],
)
def test_what_is_refused(
    here: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, told: str
) -> None:
    Path("bad").mkdir()
    Path("bad/lambada_test.jsonl").write_text('{"text": "a b"}\n{"text": \n')
    Path("bad/hellaswag_val.jsonl").write_text('{"ctx": "a", "endings": [], "label": 0}\n')
    Path("bad/wiki.test.raw").write_bytes(b"\xff\xfe")
    assert run(*words) == code
    shown = capsys.readouterr()
    assert told in shown.err
    assert shown.out == ""


def test_a_label_must_name_an_ending(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_items(Path("items"), PASSAGES, [QUESTIONS[0] | {"label": 4}], "\n".join(PAGES))
    assert run("--tasks", "hellaswag", "--data", "items") == 1
    assert "item 1: label '4' names none of the endings" in capsys.readouterr().err


def test_out_of_memory_is_advice(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(examining, "score", full)
    assert run("--text", "mine.txt", "--batch-size", "6") == 1
    assert "out of memory: try --batch-size 3" in capsys.readouterr().err


def test_files_come_plain_packed_or_zipped(tmp_path: Path) -> None:
    text = "\n".join(PAGES)
    (tmp_path / "a").mkdir()
    (tmp_path / "a/wiki.test.raw.gz").write_bytes(gzip.compress(text.encode()))
    (tmp_path / "b").mkdir()
    with zipfile.ZipFile(tmp_path / "b/wikitext-2-raw-v1.zip", "w") as archive:
        archive.writestr(WIKITEXT2.member, text)
    for folder in ("a", "b"):
        data = WIKITEXT2.read(tmp_path / folder)
        assert (data.text, data.published) == (text, False)
    (tmp_path / "a/wiki.test.raw.gz").write_bytes(b"no gzip")
    with pytest.raises(CorpusError, match="cannot read"):
        WIKITEXT2.read(tmp_path / "a")


def test_a_file_is_downloaded_once_and_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path))
    content, asked = b'{"text": "a b"}\n', []

    def download(url: str, path: Path, sha256: str, otherwise: str) -> None:
        asked.append((url, sha256))
        assert "by hand" in otherwise
        path.parent.mkdir(parents=True)
        path.write_bytes(content)

    monkeypatch.setattr("inkhorn.utils.download.download", download)
    file = replace(LAMBADA, sha256=hashlib.sha256(content).hexdigest())
    assert file.read(None).lines(["text"]) == [{"text": "a b"}]
    assert file.read(None).published
    assert asked == [(LAMBADA.url, file.sha256)]
    (tmp_path / "eval" / "lambada_test.jsonl").write_bytes(b"{}")
    with pytest.raises(CorpusError, match="is not the published file"):
        file.read(None)


def test_a_stride_has_limits_and_a_text_two_tokens() -> None:
    with pytest.raises(UsageError, match="from 1 to the block of 12, not 13"):
        Windows(np.arange(20), 12, 13)
    with pytest.raises(CorpusError, match="has 1 tokens"):
        Windows(np.arange(1), 12, 3)


def test_a_context_that_is_too_long_loses_its_beginning(here: Path) -> None:
    session = Session(Path("model"), CPU)
    task = Lambada(LAMBADA.read(Path("items")), session.reader)
    (long,), (short,) = task.passages(0), task.passages(5)
    assert (long.cut, short.cut) == (True, False)
    (row,) = long.rows
    assert CHARS.decode(row.ids) == PASSAGES[0][-BLOCK - 1 :]
    assert CHARS.decode(row.ids[row.first :]) == " mat"
    assert CHARS.decode(short.rows[0].ids) == PASSAGES[5]
    (begun,) = session.reader.continuation("", " cat").rows
    assert begun.ids[0] == CHARS.eos_id
    assert CHARS.decode(begun.ids[begun.first :]) == " cat"


def test_of_documents_the_held_out_part_is_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "web").mkdir()
    rows = "\n".join(json.dumps({"text": f"{i} {text}"}) for i in range(30) for text in PASSAGES[:4])
    (here / "web" / "rows.jsonl").write_text(rows, encoding="utf-8")
    found = answer(capsys, "--text", "web")
    data = DataSource(path=here / "web", tokenizer=CHARS).tokenize()
    assert found["tokens"] == len(data.val) - 1 < len(data.train)
    assert found["loss"] == pytest.approx(split_loss(MODEL, np.asarray(data.val), CPU), rel=1e-5)
    assert found["bits_per_byte"] == pytest.approx(
        found["loss"] / math.log(2) * found["tokens"] / data.val_bytes, rel=1e-9
    )
    assert found["bits_per_character"] is None
    assert run("--text", "web") == 0
    assert "not counted" in capsys.readouterr().out
