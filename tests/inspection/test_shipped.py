"""The inspection files in the package: each number is computed again, and they belong to the shipped weights."""

from collections.abc import Mapping
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from helpers.models import run, save_checkpoint, tiny_config, tiny_model
from helpers.works import works_sdist

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.data import shakespeare
from inkhorn.data.shakespeare.held_out import TEST_PLAYS
from inkhorn.inference.activation_files import FOLDER, read_means, read_steering, steering_facts, steering_names
from inkhorn.inference.engine import Engine
from inkhorn.inference.numpy_model import Array, HookPoint, NumpyModel
from inkhorn.inspection import effects, shipped
from inkhorn.inspection.atlas import Atlas, read_atlas
from inkhorn.inspection.effects import TypicalWords, measure
from inkhorn.inspection.head_scores import BEHAVIOURS, head_scores
from inkhorn.inspection.means import mean_activations
from inkhorn.inspection.shipped import CONTRASTS, STEERING_TOKENS, contrast_texts, held_out_text
from inkhorn.inspection.steering import steering_vector
from inkhorn.inspection.windows import run_windows
from inkhorn.tokenizer.load import load_tokenizer

FOLDER_OF_MODEL = resolve_checkpoint("shakespeare")


@cache
def works() -> dict[str, str]:
    return shakespeare.works(works_sdist())


@cache
def network() -> NumpyModel:
    return NumpyModel.from_pretrained(FOLDER_OF_MODEL)


def tokens() -> list[int]:
    """The text of the atlas."""
    ids: list[int] = load_tokenizer(FOLDER_OF_MODEL).encode(held_out_text(works())[: 32 * 8_192]).tolist()[:8_192]
    return ids


@pytest.fixture(scope="module")
def atlas() -> Atlas:
    return read_atlas(FOLDER_OF_MODEL)


def test_the_package_has_all_files_and_they_are_small() -> None:
    files = [path for path in (FOLDER_OF_MODEL / FOLDER).rglob("*") if path.is_file() and path.name != "atlas.html"]
    steering = {f"{name}.safetensors" for name in CONTRASTS}
    assert {path.name for path in files} == {"heads.json", "means.safetensors", *steering}
    assert sum(path.stat().st_size for path in files) < 300_000
    assert read_means(FOLDER_OF_MODEL)


@pytest.mark.slow
def test_scores_of_the_atlas(atlas: Atlas) -> None:
    found = head_scores(network(), load_tokenizer(FOLDER_OF_MODEL), tokens())
    assert (atlas.num_tokens, set(atlas.scores)) == (8_192, set(BEHAVIOURS))
    for name, scores in found.items():
        np.testing.assert_allclose(np.array(atlas.scores[name]), scores, atol=1.1e-4, err_msg=name)


def test_examples_of_the_atlas(atlas: Atlas) -> None:
    ids, size = tokens(), network().config.block_size
    texts = load_tokenizer(FOLDER_OF_MODEL).token_bytes
    by_window: dict[int, dict[int, Array]] = {}
    for name, examples in atlas.examples.items():
        strongest = [(layer, head) for layer, head, _ in atlas.strongest(name)[:3]]
        assert [(each.layer, each.head) for each in examples] == strongest
        for example in examples:
            start, count = example.token // size * size, len(example.tokens)
            if start not in by_window:
                by_window[start] = patterns(ids[start : start + size])
            row, first = example.token - start, example.token - start + 1 - count
            weights = by_window[start][example.layer][example.head, row, first : row + 1]
            np.testing.assert_allclose(example.weights, weights, atol=1e-3)
            read = b"".join(texts[i] for i in ids[start + first : example.token + 1])
            assert "".join(example.tokens) == read.decode()
            assert sum(example.weights[i] for i in example.marked) > 0.1


def patterns(ids: list[int]) -> dict[int, Array]:
    """The attention weights of each layer."""
    found: dict[int, Array] = {}

    def keep(x: Array, point: HookPoint) -> None:
        if point.name.endswith("hook_pattern"):
            found[point.layer() or 0] = x

    list(run_windows(network(), ids, keep))
    return found


@pytest.mark.slow
def test_means() -> None:
    stored = read_means(FOLDER_OF_MODEL)
    found = mean_activations(network(), tokens())
    assert set(stored) == set(found)
    for name, mean in found.items():
        np.testing.assert_allclose(stored[name], mean, atol=1e-4, err_msg=name)


def test_steering_texts_leave_out_the_held_out_plays() -> None:
    held = "\n".join(works()[slug] for slug in TEST_PLAYS)
    for name in CONTRASTS:
        for text in contrast_texts(works(), name):
            lines = {line for line in text.split("\n") if len(line) > 40}
            assert len(lines) > 100
            assert len(lines & set(held.split("\n"))) <= 1  # a common phrase


def test_steering_vectors_have_measured_effects() -> None:
    assert steering_names(FOLDER_OF_MODEL) == sorted(CONTRASTS)
    for name in CONTRASTS:
        facts = steering_facts(FOLDER_OF_MODEL, name)
        factors = [effect["factor"] for effect in facts.effects]
        assert len(factors) == 7
        assert factors[3] == 0
        typical = [effect["typical"] or 0 for effect in facts.effects]
        assert typical[0] < typical[3] < typical[-1], "the vector does what its name says"
    verse = [effect["verse"] or 0 for effect in steering_facts(FOLDER_OF_MODEL, "verse").effects]
    assert verse[0] < verse[3] < verse[-1]


@pytest.mark.slow
@pytest.mark.parametrize("name", CONTRASTS)
def test_steering_vectors(name: str) -> None:
    """The vectors in the package are those of the texts, and so are the factors and, on the same CPU, the effects."""
    facts, tokenizer = steering_facts(FOLDER_OF_MODEL, name), load_tokenizer(FOLDER_OF_MODEL)
    texts = contrast_texts(works(), name)
    positive, negative = (tokenizer.encode(text[: 32 * STEERING_TOKENS]).tolist()[:STEERING_TOKENS] for text in texts)
    vector, factors = steering_vector(network(), positive, negative, facts.layer, STEERING_TOKENS)
    np.testing.assert_allclose(read_steering(FOLDER_OF_MODEL, name)[0], vector, atol=1e-4)
    assert [effect["factor"] for effect in facts.effects] == list(factors)
    stored, samples = read_steering(FOLDER_OF_MODEL, name)[0], facts.measured["samples"]
    with Engine.from_pretrained(FOLDER_OF_MODEL) as engine:
        exact = engine.backend.fingerprint == facts.measured["fingerprint"]
        found = measure(engine, facts.layer, stored, [factors[0], factors[4]], TypicalWords(*texts), samples)
        for effect, expected in zip(found, (facts.effects[0], facts.effects[4]), strict=True):
            if exact:
                assert effect.to_json() == expected
            else:  # other roundings, other texts: as close as 16 texts of 80 words are; the perplexity is from 10 to 20
                np.testing.assert_allclose(numbers(effect.to_json()), numbers(expected), atol=0.3, rtol=0.25)


def numbers(effect: Mapping[str, float | None]) -> list[float]:
    return [value or 0.0 for value in effect.values()]


@pytest.mark.slow
def test_one_command_makes_all_files_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """For a small model, with less text."""
    tokenizer = load_tokenizer(FOLDER_OF_MODEL)
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=64, bos_token_id=tokenizer.eos_id)
    save_checkpoint(tmp_path / "model", tiny_model(config), tokenizer)
    (tmp_path / "cache").mkdir()
    (tmp_path / "cache" / shakespeare.SDIST_NAME).symlink_to(works_sdist().resolve())
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(shipped, "STEERING_TOKENS", 2_000)
    monkeypatch.setattr(effects, "NUM_WORDS", 3)
    assert run("inspect", str(tmp_path / "model"), "--rebuild") == 0
    folder = tmp_path / "model" / FOLDER
    written = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    vectors = {f"steering/{name}.safetensors" for name in CONTRASTS}
    assert written == {"heads.json", "atlas.html", "means.safetensors", *vectors}
    assert read_atlas(tmp_path / "model").text == shipped.HELD_OUT
    facts = steering_facts(tmp_path / "model", "king")
    assert (facts.positive, facts.negative, len(facts.effects)) == ("a king", "a clown", 7)
