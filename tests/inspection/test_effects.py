"""The measures of a steering vector's effect equal their definitions."""

import math
from pathlib import Path

import numpy as np
import pytest
from helpers.models import save_checkpoint, tiny_config, tiny_model

import inkhorn
from inkhorn.inspection.effects import TypicalWords, continuing_lines, measure
from inkhorn.tokenizer.char import CharTokenizer

TEXTS = ["A:\nOne line\nAnd another\nbut this one not\n\nB:\n'Tis the first\n(And a second)\n", "Alone"]


def test_continuing_lines() -> None:
    assert continuing_lines(TEXTS[0]) == ["And another", "but this one not", "(And a second)"]
    assert continuing_lines("") == continuing_lines("NAME:\nWords") == continuing_lines("One\n\nTwo") == []


def test_typical_words() -> None:
    positive = "KING:\n" + "crown Crown sword and the " * 6
    negative = "FOOL:\n" + "egg jest and the the " * 6
    words = TypicalWords(positive, negative)
    assert words.positive == frozenset({"crown", "sword"})  # no names, no common words
    assert words.negative == frozenset({"egg", "jest"})
    assert words.share(["A crown and an egg,\nthe CROWN of the jest", "egg:\nsword"]) == pytest.approx(3 / 5)
    assert words.share(["nothing at all"]) is None
    assert TypicalWords("a b", "c d").positive == frozenset()  # too rare to tell


def test_measured_effects(tmp_path: Path) -> None:
    folder = save_model(tmp_path)
    words = TypicalWords("ab ab ab ab ab ab", "cd cd cd cd cd cd")
    vector = np.ones(16, np.float32)
    with inkhorn.load(folder) as model:
        found = list(measure(model.engine, 1, vector, (0.0, 2.0), words, 3))
        handles = model.engine.submit_many("", inkhorn.SamplingParams(max_words=80, temperature=0.8, seed=1), 3)
        texts = [handle.result().text for handle in handles]
        scores = [model.score(text) for text in texts]
    tokens = sum(len(score.token_ids) - 1 for score in scores)
    assert found[0].perplexity == pytest.approx(math.exp(-sum(score.total for score in scores) / tokens))
    assert found[0].typical == words.share(texts)
    lines = [line for text in texts for line in continuing_lines(text)]
    assert found[0].verse == pytest.approx(np.mean([line.lstrip("( ")[:1].isupper() for line in lines]))
    assert found[1] != found[0]


def save_model(tmp_path: Path) -> Path:
    tokenizer = CharTokenizer("ABCD abcd\n")
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=24, n_embd=16, bos_token_id=tokenizer.eos_id)
    save_checkpoint(tmp_path / "model", tiny_model(config, scale=0.2), tokenizer)
    return tmp_path / "model"
