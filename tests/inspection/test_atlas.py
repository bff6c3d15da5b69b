"""Head scores, mean activations and steering vectors equal their definitions; the commands write and refuse files."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import run, save_checkpoint, tiny_config, tiny_model, to_numpy_model

import inkhorn
from inkhorn.config.interventions import Intervention
from inkhorn.errors import UsageError
from inkhorn.inference.activation_files import read_means, read_steering
from inkhorn.inference.run import run as run_model
from inkhorn.inspection.head_scores import BEHAVIOURS, head_scores
from inkhorn.inspection.means import mean_activations
from inkhorn.inspection.steering import steering_vector
from inkhorn.model import GPT
from inkhorn.tokenizer.char import CharTokenizer

TOKENIZER = CharTokenizer("AB:\nabcd")
TEXT = "AB:\nabab\ncd:x\nB:\ndcba cab\n".replace("x", "a").replace(" ", "")


def gpt(kind: str = "gpt2", seed: int = 1) -> GPT:
    config = tiny_config(model_type=kind, vocab_size=TOKENIZER.vocab_size, block_size=12, n_layer=3)
    return tiny_model(config, seed)


def looked_at(name: str, text: str, t: int) -> set[int]:
    """The positions before t that a behaviour looks at, one by one."""
    earlier = [j for j in range(t) if text[j] == text[t]]
    breaks = [j for j in range(t) if text[j] == "\n"]
    if name == "previous_token":
        return {t - 1} if t else set()
    if name == "duplicate_token":
        return set(earlier)
    if name == "induction":
        return {j + 1 for j in earlier if j + 1 < t}
    if name == "first_token":
        return {0} if t else set()
    if name == "line_start":
        return set(breaks[-1:])
    speaker: set[int] = set()
    start = 0
    for end, character in enumerate(text):
        if character == "\n":
            if text[start:end].endswith(":") and text[start:end].count(":") == 1 and end - start > 1 and end <= t:
                speaker = set(range(start, end))
            start = end + 1
    return speaker


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_scores_equal_their_definition(kind: str) -> None:
    model = to_numpy_model(gpt(kind))
    ids = TOKENIZER.encode(TEXT).tolist()
    found = head_scores(model, TOKENIZER, ids)
    assert set(found) == set(BEHAVIOURS)
    for name, scores in found.items():
        total, count = np.zeros((3, 2)), 0
        for start in range(0, len(ids), 12):
            window, text = ids[start : start + 12], TEXT[start : start + 12]
            result = run_model(model, window)
            for t in range(len(window)):
                positions = sorted(looked_at(name, text, t))
                count += bool(positions)
                for layer in range(3):
                    total[layer] += result[f"blocks.{layer}.attn.hook_pattern"][:, t, positions].sum(-1)
        np.testing.assert_allclose(scores, total / count, atol=1e-5, err_msg=name)


def test_means_and_steering_vectors_equal_their_definition() -> None:
    model = to_numpy_model(gpt())
    ids, other = TOKENIZER.encode(TEXT).tolist(), TOKENIZER.encode("dddcccddd").tolist()
    means = mean_activations(model, ids)
    windows = [run_model(model, ids[start : start + 12]) for start in range(0, len(ids), 12)]
    for name, mean in means.items():
        expected = np.concatenate([window[name] for window in windows]).mean(0)
        np.testing.assert_allclose(mean, expected, atol=1e-5, err_msg=name)
    assert len(means) == 1 + 4 * 3
    for layer, name in (
        (0, "blocks.0.hook_resid_pre"),
        (2, "blocks.2.hook_resid_pre"),
        (3, "blocks.2.hook_resid_post"),
    ):
        expected = np.concatenate([window[name] for window in windows]).mean(0) - run_model(model, other)[name].mean(0)
        np.testing.assert_allclose(steering_vector(model, ids, other, layer), expected, atol=1e-5)
    with pytest.raises(UsageError, match="layer must be from 0 to 3, not 4"):
        steering_vector(model, ids, other, 4)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "model", gpt(), TOKENIZER)
    (tmp_path / "a.txt").write_text(TEXT * 3)
    (tmp_path / "b.txt").write_text("dddccc" * 9)
    return tmp_path / "model"


def test_inspect_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("inspect", str(folder), "--text", str(folder.parent / "a.txt")) == 0
    assert "the token before: layer" in capsys.readouterr().out
    heads = json.loads((folder / "inspection" / "heads.json").read_text())
    ids = TOKENIZER.encode(TEXT * 3).tolist()
    scores = head_scores(to_numpy_model(gpt()), TOKENIZER, ids)
    for name, expected in scores.items():
        np.testing.assert_allclose(heads["scores"][name], expected, atol=1e-4)
    means: Any = read_means(folder)
    with inkhorn.load(folder, backend="numpy") as model:
        off = Intervention(component="mlp", layer=1, action="mean")
        found = model.run("abc", interventions=[off])["blocks.1.hook_mlp_out"]
    np.testing.assert_array_equal(found, np.tile(means["blocks.1.hook_mlp_out"], (3, 1)))


def test_steer_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ("--positive", str(folder.parent / "a.txt"), "--negative", str(folder.parent / "b.txt"))
    assert run("steer", str(folder), "--name", "kind", *texts) == 0
    ids = [TOKENIZER.encode(text).tolist() for text in (TEXT * 3, "dddccc" * 9)]
    vector, layer = read_steering(folder, "kind")
    np.testing.assert_allclose(vector, steering_vector(to_numpy_model(gpt()), ids[0], ids[1], 1), atol=1e-5)
    assert layer == 1
    capsys.readouterr()
    assert run("steer", str(folder), "--name", "kind", *texts) == 2  # a user's file is not replaced unasked
    assert "--force" in capsys.readouterr().err
    assert run("steer", str(folder), "--name", "kind", "--force", "--layer", "3", *texts) == 0
    assert read_steering(folder, "kind")[1] == 3
    for arguments in (("--name", "../x"), ("--name", "new", "--layer", "4")):
        assert run("steer", str(folder), *arguments, *texts) == 2
    (folder.parent / "b.txt").write_text("d")
    assert run("steer", str(folder), "--name", "new", *texts) == 2
    assert "too short" in capsys.readouterr().err
