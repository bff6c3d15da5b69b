"""The public Python API."""

import asyncio
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inkhorn
from inkhorn.errors import CheckpointError, InkhornError, UsageError
from inkhorn.inference.explain import explain
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.model import GPT
from inkhorn.tokenizer.char import CharTokenizer

BLOCK = 12
TOKENIZER = CharTokenizer("abcdefgh .\n")
SAMPLING: dict[str, Any] = {"max_tokens": 20, "seed": 1, "ignore_eos": True}


@pytest.fixture
def model(tiny_checkpoint: Path) -> Iterator[inkhorn.Model]:
    with inkhorn.load(tiny_checkpoint, backend="numpy", max_num_seqs=2) as loaded:
        yield loaded


def test_generate_string_and_list(model: inkhorn.Model) -> None:
    prompts = ["abc", "", "bad cafe", "hg"]
    completions = model.generate(prompts, **SAMPLING)
    assert completions == [model.generate(prompt, **SAMPLING) for prompt in prompts]
    assert {completion.num_tokens for completion in completions} == {20}
    assert model.generate([], **SAMPLING) == []


def test_generate_params_and_keywords(model: inkhorn.Model) -> None:
    params = inkhorn.SamplingParams(**SAMPLING)
    assert model.generate("ab", params) == model.generate("ab", **SAMPLING)
    assert model.generate("ab", params, max_tokens=3).num_tokens == 3
    with pytest.raises(UsageError, match="temperature"):
        model.generate("ab", temperature=-1)


@pytest.mark.parametrize("limits", [{}, {"max_tokens": None}, {"max_words": None, "end_at_sentence": False}])
def test_generate_default_limit(model: inkhorn.Model, limits: dict[str, Any]) -> None:
    assert model.generate("abc", seed=1, ignore_eos=True, **limits).num_tokens == 200


def test_generate_logprobs(model: inkhorn.Model) -> None:
    completion = model.generate("ab", logprobs=2, **SAMPLING)
    assert [len(entry.top) for entry in completion.logprobs] == [2] * 20


def test_generate_one_liner(tiny_checkpoint: Path, model: inkhorn.Model) -> None:
    assert inkhorn.generate("abc", model=tiny_checkpoint, **SAMPLING) != ""
    assert len(inkhorn.generate("abc", model=tiny_checkpoint, seed=1, ignore_eos=True)) == 200


def test_stream(model: inkhorn.Model) -> None:
    chunks = list(model.stream("abc", **SAMPLING))
    completion = model.generate("abc", **SAMPLING)
    assert "".join(chunk.text for chunk in chunks) == completion.text
    assert tuple(chunk.token_id for chunk in chunks) == completion.token_ids
    assert [chunk.finish_reason for chunk in chunks] == [None] * 19 + ["length"]


def test_async_equals_sync(model: inkhorn.Model) -> None:
    async def main() -> tuple[Any, ...]:
        chunks = [chunk async for chunk in model.astream("abc", **SAMPLING)]
        return chunks, await model.agenerate("abc", **SAMPLING), await model.agenerate(["abc", "hg"], **SAMPLING)

    chunks, completion, completions = asyncio.run(main())
    assert chunks == list(model.stream("abc", **SAMPLING))
    assert completion == model.generate("abc", **SAMPLING)
    assert completions == model.generate(["abc", "hg"], **SAMPLING)


@pytest.mark.parametrize("length", [1, 2, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5])
def test_score_equals_torch(tiny_checkpoint: Path, model: inkhorn.Model, length: int) -> None:
    text = ("bad cafe. hag\n" * 9)[:length]
    torch_model = GPT.from_pretrained(tiny_checkpoint).eval()
    score = model.score(text)
    ids = TOKENIZER.encode(text).tolist()
    assert (score.tokens, score.token_ids) == (tuple(text), tuple(ids))
    assert score.logprobs[0] is None
    for i in range(1, length):
        stride = BLOCK // 2
        start = 0 if i < BLOCK else (i - BLOCK) // stride * stride + stride
        with torch.no_grad():
            logits = torch_model(torch.tensor([ids[start:i]]))[0][0, -1]
        expected = torch.log_softmax(logits, -1)[ids[i]].item()
        assert score.logprobs[i] == pytest.approx(expected, abs=1e-4)
    assert score.total == pytest.approx(sum(each for each in score.logprobs if each is not None))


def test_score_of_an_empty_text(model: inkhorn.Model) -> None:
    with pytest.raises(UsageError, match="the text is empty"):
        model.score("")


@pytest.mark.parametrize("backend", [None, "numpy"])
def test_explain(tiny_checkpoint: Path, backend: Any) -> None:
    with inkhorn.load(tiny_checkpoint, backend=backend) as model:
        explanation = model.explain("bad cafe", layer=1)
    expected = explain(NumpyModel.from_pretrained(tiny_checkpoint), TOKENIZER, TOKENIZER.encode("bad cafe").tolist(), 1)
    np.testing.assert_array_equal(explanation.attention, expected.attention)
    assert "".join(explanation.tokens) == "bad cafe"
    assert math.isnan(explanation.surprisal[0])


def test_close(tiny_checkpoint: Path) -> None:
    with inkhorn.load(tiny_checkpoint) as model:
        model.generate("a", max_tokens=1)
    with pytest.raises(InkhornError, match="the engine was closed"):
        model.generate("a")


def test_load_errors(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        inkhorn.load(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="unknown backend 'gpu'"):
        inkhorn.load(tiny_checkpoint, backend="gpu")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="supports fp32 only, not int8"):
        inkhorn.load(tiny_checkpoint, backend="numpy", precision="int8")


def test_public_names() -> None:
    types = [
        "Completion",
        "Explanation",
        "Intervention",
        "ModelConfig",
        "RunResult",
        "SamplingParams",
        "Score",
        "TokenChunk",
    ]
    assert inkhorn.__all__ == sorted(["GPT", "InkhornError", "Model", "generate", "load", *types])
    for name in inkhorn.__all__:
        assert getattr(inkhorn, name).__doc__
