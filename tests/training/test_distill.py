"""Distillation from the averaged probabilities of several teachers."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from helpers.models import run, save_checkpoint, tiny_config, tiny_model
from helpers.training import ARCHITECTURE, BASE, CPU, config_for, same_weights, trainer

from inkhorn.data.dataset import Dataset
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.model import GPT
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.training.distill import Teachers, load_teachers
from inkhorn.training.signals import Interrupt
from inkhorn.utils.files import read_json

CONFIG = tiny_config()
IDX = torch.randint(0, CONFIG.vocab_size, (3, 12), generator=torch.Generator().manual_seed(1))
TARGETS = IDX.roll(-1, dims=1)


def teachers(count: int, weight: float = 0.5) -> Teachers:
    return Teachers([tiny_model(CONFIG, seed) for seed in range(1, count + 1)], weight, CPU)


def test_probabilities_are_averaged() -> None:
    expected = torch.stack([tiny_model(CONFIG, seed)(IDX)[0].softmax(-1) for seed in (1, 2, 3)]).mean(0)
    found = teachers(3).probabilities(IDX)
    torch.testing.assert_close(found, expected)
    assert not found.requires_grad


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_loss_and_gradient(weight: float) -> None:
    student = tiny_model(CONFIG, 9)
    logits, loss = student(IDX, TARGETS)
    wanted = teachers(2).probabilities(IDX)
    soft = F.cross_entropy(logits.flatten(0, 1), wanted.flatten(0, 1))
    expected = (1 - weight) * loss + weight * soft
    (gradient,) = torch.autograd.grad(expected, student.wte.weight, retain_graph=True)
    mixed = teachers(2, weight).mix(loss, logits, IDX)
    torch.testing.assert_close(mixed, expected)
    torch.testing.assert_close(torch.autograd.grad(mixed, student.wte.weight)[0], gradient)


def test_padded_vocabulary_takes_probability() -> None:
    logits = torch.randn(3, 12, CONFIG.vocab_size + 5, generator=torch.Generator().manual_seed(2))
    padded = F.pad(teachers(1).probabilities(IDX), (0, 5))
    expected = F.cross_entropy(logits.flatten(0, 1), padded.flatten(0, 1))
    torch.testing.assert_close(teachers(1, 1.0).mix(torch.tensor(0.0), logits, IDX), expected)


def test_student_equals_its_teacher_at_the_minimum() -> None:
    teacher = tiny_model(CONFIG, 1)
    logits, loss = teacher(IDX, TARGETS)
    own = teachers(1, 1.0).mix(loss, logits, IDX)
    for seed in (2, 3):
        other, _ = tiny_model(CONFIG, seed)(IDX)
        assert teachers(1, 1.0).mix(loss, other, IDX) > own


def write_teacher(folder: Path, data: Dataset, seed: int, **changes: Any) -> str:
    config = replace(config_for(data, BASE), embd_pdrop=0.0, resid_pdrop=0.0, **changes)
    save_checkpoint(folder, tiny_model(config, seed), data.tokenizer)
    return str(folder)


def test_training_moves_to_the_teachers(data: Dataset, tmp_path: Path) -> None:
    names = tuple(write_teacher(tmp_path / f"teacher-{seed}", data, seed, n_layer=1) for seed in (1, 2))
    base = replace(BASE, steps=40, dropout=0.0, eval_every=40, save_every=40, ema_decay=0.0, sample_tokens=0)
    plain = trainer(data, tmp_path / "plain", base).run(resume=False)
    train = replace(base, teachers=names, distill_weight=1.0)
    student = trainer(data, tmp_path / "student", train).run(resume=False)
    loaded = load_teachers(names, 1.0, student.config, data.tokenizer, CPU)
    assert loaded is not None
    rows = torch.from_numpy(data.val[:17].astype("int64"))[None, :-1]

    def distance(model: GPT) -> float:
        return loaded.mix(torch.tensor(0.0), model.eval()(rows)[0], rows).item()

    assert distance(student.model) < distance(plain.model) - 0.1
    without = trainer(data, tmp_path / "without", replace(train, distill_weight=0.0)).run(resume=False)
    assert same_weights(plain, without)


def test_resumed_student_is_bit_equal(data: Dataset, tmp_path: Path) -> None:
    train = replace(BASE, teachers=(write_teacher(tmp_path / "teacher", data, 1),))
    uninterrupted = trainer(data, tmp_path / "uninterrupted", train).run(resume=False)
    started = trainer(data, tmp_path / "stopped", train)
    state = started.start(resume=False)
    while state.step < 6:
        state = started._train_until_checkpoint(state, Interrupt())
    assert same_weights(uninterrupted, trainer(data, tmp_path / "stopped", train).run(resume=True))


def test_teachers_that_do_not_fit(data: Dataset, tmp_path: Path) -> None:
    short = write_teacher(tmp_path / "short", data, 1, block_size=8)
    save_checkpoint(tmp_path / "letters", tiny_model(tiny_config()), CharTokenizer("abcdefghijklmno"))
    config = config_for(data, BASE)
    for name, error, message in (
        (short, UsageError, rf"block size of 8, this run one of {ARCHITECTURE.block_size}"),
        (str(tmp_path / "letters"), UsageError, "has another vocabulary"),
        (str(tmp_path / "none"), CheckpointError, "none"),
    ):
        with pytest.raises(error, match=message):
            load_teachers((name,), 0.5, config, data.tokenizer, CPU)
    assert load_teachers((), 0.5, config, data.tokenizer, CPU) is None


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "mine.txt").write_text("The pen is full of ink.\n" * 200)
    quick = ["--text", "mine.txt", "--device", "cpu", "--sample-tokens", "0", "--steps", "3"]
    for seed in ("1", "2"):
        assert run("train", "test", *quick, "--seed", seed, "--out", f"teacher-{seed}") == 0
    learn = ["--teachers", "teacher-1", "teacher-2", "--distill-weight", "0.7", "--out", "student"]
    assert run("train", "test", *quick, *learn) == 0
    saved = read_json(tmp_path / "student" / "run.json")["train"]
    assert saved["teachers"] == [str(path.resolve()) for path in sorted(tmp_path.glob("teacher-?/step-*3"))]
    assert run("train", "--out", "student", "--resume", "--steps", "5") == 0
    assert run("train", "test", *quick, "--teachers", "nowhere", "--out", "other") in (1, 2)
    assert "nowhere" in capsys.readouterr().err
    assert saved["distill_weight"] == 0.7
