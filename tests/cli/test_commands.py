"""The commands data, train, eval and export."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from helpers.models import run

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.cli.train_args import recipe_for
from inkhorn.model import GPT

TEXT = "To be, or not to be: that is the question.\nWhether 'tis nobler in the mind to suffer.\n" * 40
TINY = [
    "--steps",
    "6",
    "--eval-every",
    "3",
    "--save-every",
    "3",
    "--n-embd",
    "16",
    "--block-size",
    "16",
    "--sample-tokens",
    "10",
]


@pytest.fixture(autouse=True)
def _own_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text(TEXT)


def test_train_then_generate_eval_and_export(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "test", "--text", "mine.txt", "--out", "run", *TINY) == 0
    for name in ("run.json", "metrics.jsonl", "samples.jsonl", "loss.png", "report.html", "latest", "best"):
        assert Path("run", name).stat().st_size > 0, name
    shown = capsys.readouterr().err
    assert "device cpu" in shown
    assert "dtype" in shown
    assert "compile off" in shown
    assert "Finished 6 steps, best validation loss" in shown

    assert run("generate", "To be", "--model", "run", "--words", "5", "--seed", "1") == 0
    assert capsys.readouterr().out.startswith("To be")

    assert run("eval", "--model", "run", "--text", "mine.txt", "--json") == 0
    result = json.loads(capsys.readouterr().out)
    assert result["tokens"] == len(TEXT)
    assert 0 < result["loss"] < 5
    assert result["bits_per_token"] == pytest.approx(result["loss"] / 0.693147, rel=1e-4)

    assert run("export", "run", "half", "--dtype", "bfloat16") == 0
    assert GPT.from_pretrained("half").config.n_embd == 16
    assert not Path("half", "trainer").exists()
    assert run("export", "run", "half") == 1
    assert "already holds a checkpoint" in capsys.readouterr().err


def test_train_resumes_with_the_saved_flags(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "test", "--text", "mine.txt", "--out", "run", *TINY) == 0
    assert run("train", "test", "--out", "run") == 2
    assert "--resume" in capsys.readouterr().err
    assert run("train", "test", "--out", "run", "--resume", "--steps", "9") == 0
    assert "Resuming from step 6" in capsys.readouterr().err
    assert Path("run", "latest").read_text() == "step-0000009\n"


def test_train_init_from(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "test", "--text", "mine.txt", "--out", "run", *TINY) == 0
    Path("other.txt").write_text(TEXT.upper() + "\u2603" + TEXT)
    capsys.readouterr()
    words = ["train", "test", "--init-from", "run", "--text", "other.txt", "--out", "next"]
    assert (
        run(*words, "--steps", "4", "--eval-every", "4", "--batch-size", "2", "--lr", "1e-9", "--muon-lr", "1e-9") == 0
    )
    shown = capsys.readouterr().err
    lacking = sum(c not in TEXT for c in TEXT.upper()) + 1
    assert f"{lacking:,} characters are not in the vocabulary" in shown
    old, new = GPT.from_pretrained(resolve_checkpoint("run")), GPT.from_pretrained(resolve_checkpoint("next"))
    assert new.config.n_embd == old.config.n_embd == 16, "the shape came with the weights"
    assert all(torch.allclose(a, b, atol=1e-6) for a, b in zip(old.parameters(), new.parameters(), strict=True))
    assert "initial weights" in (resolve_checkpoint("next") / "README.md").read_text()
    assert json.loads(Path("next", "run.json").read_text())["init_from"] == str(resolve_checkpoint("run").resolve())
    shutil.rmtree("run")  # from now on the run has all that it needs
    assert run("train", "--out", "next", "--resume", "--steps", "6") == 0
    assert "Resuming from step 4" in capsys.readouterr().err
    assert run(*words[:-1], "third", "--init-from", "next", "--n-embd", "32", "--n-layer", "3") == 2
    assert "leave out --n-layer, --n-embd" in capsys.readouterr().err
    assert run("train", "--out", "next", "--resume", "--init-from", "shakespeare") == 2
    assert "from other weights" in capsys.readouterr().err
    assert (
        run("train", "test", "--init-from", "next", "--out", str(resolve_checkpoint("next")), "--text", "mine.txt") == 2
    )
    assert "already holds a model" in capsys.readouterr().err
    Path("chinese.txt").write_text("\u5b50\u66f0" * 500)
    assert run("train", "test", "--init-from", "next", "--out", "fifth", "--text", "chinese.txt") == 1
    assert "has no character of chinese" in capsys.readouterr().err
    Path("short.txt").write_text(TEXT[:100])
    assert run("train", "test", "--init-from", "next", "--out", "fifth", "--text", "short.txt") == 1
    assert "block-size" not in capsys.readouterr().err, "the block comes with the weights"
    assert run("train", "test", "--init-from", "nowhere", "--text", "mine.txt", "--out", "fourth") == 1
    assert "nowhere does not exist" in capsys.readouterr().err
    assert not Path("third").exists()


def test_rejected_resume_keeps_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("other.txt").write_text(TEXT.upper())
    assert run("train", "test", "--text", "mine.txt", "--out", "run", *TINY) == 0
    before = Path("run", "run.json").read_bytes()
    assert run("train", "--out", "run", "--resume", "--dropout", "0.1") == 1
    assert run("train", "--out", "run", "--resume", "--text", "other.txt") == 1
    assert run("train", "small", "--out", "run", "--resume") == 2
    assert "is a run of the recipe test, not of small" in capsys.readouterr().err
    assert Path("run", "run.json").read_bytes() == before
    assert run("train", "--out", "run", "--resume", "--steps", "7") == 0
    assert json.loads(Path("run", "run.json").read_text())["name"] == "test"


def test_checkpoint_generates_in_transformers() -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    assert run("train", "test", "--text", "mine.txt", "--out", "run", *TINY) == 0
    folder = Path("run", Path("run", "best").read_text().strip())
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    generated = model.generate(**tokenizer("To be,", return_tensors="pt"), max_new_tokens=8)
    assert 0 < generated.shape[1] - 6 <= 8


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "test", "--text", "mine.txt", "--corpus", "shakespeare"], 2, "not both"),
        (["train", "test", "--val-text", "mine.txt"], 2, "--val-text needs --text"),
        (["train", "test", "--text", "mine.txt", "--seed", str(2**64)], 2, "--seed must be at least 0 and less than"),
        (["data", "shakespeare", "--val-text", "mine.txt"], 2, "--val-text needs --text"),
        (["eval", "--text", "mine.txt", "--corpus", "shakespeare"], 2, "not both"),
        (["train", "shakespear"], 2, "did you mean 'shakespeare'"),
        (["train", "test", "--text", "nowhere.txt"], 1, "nowhere.txt"),
        (["train", "test", "--text", "empty.txt"], 1, "empty"),
        (["train", "test", "--text", "binary.txt"], 1, "not text"),
        (["train", "test", "--text", "short.txt"], 1, "needs at least 33"),
        (["train", "test", "--text", "mine.txt", "--dropout", "1.5"], 2, "--dropout must be at least 0"),
        (["train", "test", "--text", "mine.txt", "--tokenizer", "bpe", "--vocab-size", "9"], 2, "--vocab-size must"),
        (["train", "test", "--text", "mine.txt", "--n-head", "3"], 2, "multiple of n_head (3)"),
        (["train", "test", "--text", "mine.txt", "--device", "cuda"], 2, "not available here"),
        (["train", "test", "--corpus", "shakespere"], 2, "did you mean 'shakespeare'"),
        (["data", "tiny"], 2, "tiny-shakespeare"),
        (["data", "shakespeare", "--text", "mine.txt"], 2, "not both"),
        (["eval", "--model", "nowhere"], 1, "nowhere does not exist"),
        (["export", "nowhere", "out"], 1, "nowhere does not exist"),
    ],
)
def test_invalid_requests(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    if message == "no such device" and torch.cuda.is_available():
        pytest.skip("needs a machine without GPU")
    Path("empty.txt").write_text("")
    Path("binary.txt").write_bytes(b"\x7fELF\0\0\1\2" * 100)
    Path("short.txt").write_text("To be.")
    assert run(*words) == code
    shown = capsys.readouterr()
    output = " ".join((shown.err + shown.out).replace("│", " ").split())
    assert message in output
    assert "Traceback" not in output
    assert not Path("runs", "test").exists()


def test_data_builds_and_saves_a_text(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data", "--text", "mine.txt", "--save", "parts") == 0
    shown = capsys.readouterr().out
    assert f"{len(TEXT) * 9 // 10:,} training tokens" in shown
    assert Path("parts", "train.txt").read_text() + Path("parts", "val.txt").read_text() == TEXT


def test_encoding_is_saved_with_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    Path("latin.txt").write_bytes((TEXT + "é" * 40).encode("latin-1"))
    words = ["train", "test", "--text", "latin.txt", "--out", "run"]
    assert run(*words, *TINY) == 1
    assert "latin.txt is not UTF-8 text" in capsys.readouterr().err
    assert run(*words, *TINY, "--encoding", "latin-1") == 0
    assert run("train", "--out", "run", "--resume", "--steps", "7") == 0
    assert "Resuming from step 6" in capsys.readouterr().err
    record = json.loads(Path("run", "run.json").read_text())
    assert record["encoding"] == "latin-1"
    del record["encoding"], record["skip_bad_rows"]  # as older versions wrote it
    Path("run", "run.json").write_text(json.dumps(record))
    assert run("train", "--out", "run", "--resume", "--steps", "8", "--encoding", "latin-1") == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["data", "--text", "mine.txt", "--encoding", "klingon"], "there is no text encoding 'klingon'"),
        (["data", "tiny-shakespeare", "--encoding", "cp1251"], "--encoding needs --text"),
        (["data", "tiny-shakespeare", "--skip-bad-rows"], "--skip-bad-rows needs --text"),
        (["data", "--text", "mine.txt", "--skip-bad-rows"], "applies to .jsonl and .parquet files"),
        (["data", "--text", "rows.jsonl", "--encoding", "cp1251"], "--encoding applies to text files"),
    ],
)
def test_flags_without_effect_are_refused(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    Path("rows.jsonl").write_text('{"text": "a"}\n')
    assert run(*words) == 2
    assert message in capsys.readouterr().err


def test_data_lists_the_corpora(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("data") == 0
    shown = capsys.readouterr().out
    assert "tiny-shakespeare" in shown
    assert "public domain" in shown


def test_file_alone_chooses_the_recipe(capsys: pytest.CaptureFixture[str]) -> None:
    """A file or folder in place of a recipe is the text; the run is named after it, and says how long it takes."""
    assert run("train", "mine.txt", *TINY) == 0
    shown = capsys.readouterr().err
    assert "Recipe: small; output folder: runs/mine" in shown
    assert re.search(r"Time: about \d[\d.]* minutes for 6 steps", shown)
    record = json.loads(Path("runs/mine/run.json").read_text())
    assert record["text"] == str(Path("mine.txt").resolve())
    assert run("train", "mine.txt", "--resume") == 0
    assert run("train", "mine.txt", "--text", "mine.txt", *TINY) == 2


def test_recipe_by_size(tmp_path: Path) -> None:
    folder = tmp_path / "texts"
    folder.mkdir()
    for size, recipe in ((100, "small"), (400_000, "tiny-shakespeare"), (3_000_000, "shakespeare-char")):
        (folder / "a.txt").write_bytes(b"a" * size)
        assert recipe_for(folder) == recipe_for(folder / "a.txt") == recipe


def test_recipe_sets_flag_defaults() -> None:
    help_text = subprocess.run(
        [sys.executable, "-m", "inkhorn", "train", "small", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "(default: 600)" in help_text
    assert "(default: 128)" in help_text
    listing = subprocess.run(
        [sys.executable, "-m", "inkhorn", "train", "--help"], capture_output=True, text=True, check=True
    ).stdout
    assert "gpt2-xl" in listing


def test_help_is_quick_and_light() -> None:
    program = "import sys; from inkhorn.cli.main import main; main(['--help']); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    for heavy in ("torch", "numpy", "fastapi", "tyro", "rich"):
        assert f"'{heavy}'" not in loaded
