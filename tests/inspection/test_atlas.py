"""Head scores, mean activations and steering vectors equal their definitions; the commands write and refuse files."""

import base64
import hashlib
import html
import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import run, save_checkpoint, tiny_config, tiny_model, to_numpy_model

import inkhorn
from inkhorn.config.interventions import Intervention
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference.activation_files import read_means, read_steering, steering_facts
from inkhorn.inference.engine import Engine
from inkhorn.inference.run import run as run_model
from inkhorn.inspection.atlas import read_atlas
from inkhorn.inspection.effects import TypicalWords, measure
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
        np.testing.assert_allclose(steering_vector(model, ids, other, layer)[0], expected, atol=1e-5)
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
    atlas, page = read_atlas(folder), (folder / "inspection" / "atlas.html").read_text(encoding="utf-8")
    assert (atlas.text, atlas.num_tokens) == ("a.txt", len(ids))
    for name, examples in atlas.examples.items():
        layer, head, score = atlas.strongest(name)[0]
        assert f"Layer {layer + 1}, head {head + 1}: mean {score:.2f}" in page
        for each in examples:  # the tokens are those of the text, and the weights those of the head at the last one
            start = each.token // 12 * 12
            shown = "".join(each.tokens)
            assert (TEXT * 3)[: each.token + 1].endswith(shown)
            result = run_model(to_numpy_model(gpt()), ids[start : start + 12])
            weights = result[f"blocks.{each.layer}.attn.hook_pattern"][each.head, each.token - start, : len(shown)]
            np.testing.assert_allclose(each.weights, weights, atol=1e-3)
            assert set(each.marked) == looked_at(name, (TEXT * 3)[start : start + 12], each.token - start)
    policy = re.search(r"style-src '(sha256-[^']+)'", html.unescape(page))
    style = page.partition("<style>")[2].partition("</style>")[0]
    assert policy is not None
    assert policy[1] == f"sha256-{base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()}"
    assert not re.search(r"<script|\ssrc=|https?://", page)  # self-contained
    means: Any = read_means(folder)
    with inkhorn.load(folder, backend="numpy") as model:
        off = Intervention(component="mlp", layer=1, action="mean")
        found = model.run("abc", interventions=[off])["blocks.1.hook_mlp_out"]
    np.testing.assert_array_equal(found, np.tile(means["blocks.1.hook_mlp_out"], (3, 1)))


def test_a_behaviour_that_the_text_does_not_show(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.parent / "a.txt").write_text("abcd")
    assert run("inspect", str(folder), "--text", str(folder.parent / "a.txt")) == 0
    assert "the last line break: not in this text" in capsys.readouterr().out
    atlas = read_atlas(folder)
    assert atlas.strongest("line_start") == []
    assert "NaN" not in (folder / "inspection" / "heads.json").read_text()
    assert "The text has no such tokens" in (folder / "inspection" / "atlas.html").read_text()


def test_an_atlas_of_other_weights_or_a_damaged_one_is_refused(folder: Path) -> None:
    with pytest.raises(UsageError, match="has no head atlas: make it with inkhorn inspect"):
        read_atlas(folder)
    assert run("inspect", str(folder), "--text", str(folder.parent / "a.txt")) == 0
    path = folder / "inspection" / "heads.json"
    content = json.loads(path.read_text())
    path.write_text(json.dumps({**content, "examples": {"induction": [{"layer": 0}]}}))
    with pytest.raises(CheckpointError, match=r"heads\.json is damaged"):
        read_atlas(folder)
    path.write_text(json.dumps(content))
    save_checkpoint(folder, gpt(seed=2), TOKENIZER)
    with pytest.raises(UsageError, match=r"heads\.json was made from other weights"):
        read_atlas(folder)


@pytest.mark.parametrize(
    ("flags", "message"),
    [((), "--text is missing"), (("--text", "a.txt", "--rebuild"), "give either --text or --rebuild, not both")],
)
def test_inspect_needs_a_text(
    folder: Path, capsys: pytest.CaptureFixture[str], flags: tuple[str, ...], message: str
) -> None:
    assert run("inspect", str(folder), *flags) == 2
    assert message in capsys.readouterr().err


def test_steer_command(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ("--positive", str(folder.parent / "a.txt"), "--negative", str(folder.parent / "b.txt"))
    assert run("steer", str(folder), "--name", "kind", "--samples", "2", *texts) == 0
    ids = [TOKENIZER.encode(text).tolist() for text in (TEXT * 3, "dddccc" * 9)]
    vector, layer = read_steering(folder, "kind")
    np.testing.assert_allclose(vector, steering_vector(to_numpy_model(gpt()), ids[0], ids[1], 1)[0], atol=1e-5)
    assert layer == 1
    facts = steering_facts(folder, "kind")
    assert (facts.layer, facts.positive, facts.negative, facts.measured["samples"]) == (1, "a", "b", 2)
    assert [effect["factor"] for effect in facts.effects] == list(
        steering_vector(to_numpy_model(gpt()), ids[0], ids[1], 1)[1]
    )
    with Engine.from_pretrained(folder) as engine:  # the same seed: the same texts, and the same numbers
        factors, words = (facts.effects[0]["factor"] or 0, 0.0), TypicalWords(TEXT * 3, "dddccc" * 9)
        again = [effect.to_json() for effect in measure(engine, 1, vector, factors, words, 2)]
    assert again == [facts.effects[0], facts.effects[3]]
    capsys.readouterr()
    assert run("steer", str(folder), "--name", "kind", *texts) == 2  # a user's file is not replaced unasked
    assert "--force" in capsys.readouterr().err
    assert run("steer", str(folder), "--name", "kind", "--force", "--layer", "3", "--samples", "0", *texts) == 0
    assert read_steering(folder, "kind")[1] == 3
    assert run("steer", str(folder), "--name", "new", "--layer", "4", *texts) == 2
    assert run("steer", str(folder), "--name", "../x", *texts) == 2
    assert "--name: '../x' is not a name" in capsys.readouterr().err
    (folder.parent / "b.txt").write_text("d")
    assert run("steer", str(folder), "--name", "new", *texts) == 2
    assert "too short" in capsys.readouterr().err
