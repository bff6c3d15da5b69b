"""The NumPy backend: logits depend only on the tokens before, bit for bit."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from helpers.models import tiny_config, tiny_model, to_numpy_model
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.config.model import ModelConfig
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.backends.base import ModelInput, ModelOutput
from inkhorn.inference.backends.numpy_backend import CHUNK, NumpyBackend
from inkhorn.inference.numpy_model import KVCache, NumpyModel
from inkhorn.inference.sampling import Sampler, token_logprobs

BLOCK = 3 * CHUNK + 5
VOCAB = 17
TEXT = np.random.default_rng(0).integers(0, VOCAB, 4 * BLOCK).tolist()


class RecordingSampler(Sampler):
    """A sampler that keeps the logits it samples from."""

    def __init__(self, params: SamplingParams, **options: Any) -> None:
        super().__init__(params, **options)
        self.logits_seen: list[np.ndarray[Any, Any]] = []

    def sample(self, logits: np.ndarray[Any, Any], position: int) -> int:
        self.logits_seen.append(logits.copy())
        return super().sample(logits, position)


@cache
def model() -> NumpyModel:
    return to_numpy_model(tiny_model(tiny_config(vocab_size=VOCAB, block_size=BLOCK, n_layer=2)))


def sampler(**params: Any) -> RecordingSampler:
    return RecordingSampler(SamplingParams(**{"temperature": 1.0, "seed": 3} | params))


def model_input(
    slot: int, position: int, ids: Sequence[int], draws: Sampler | None = None, **options: Any
) -> ModelInput:
    return ModelInput(slot, position, ids, **{"num_outputs": int(draws is not None), "sampler": draws} | options)


def generate(
    backend: NumpyBackend, prompt: Sequence[int], count: int, slot: int = 0
) -> tuple[list[int], RecordingSampler]:
    """Generate token by token; the second result holds the logits."""
    draws = sampler()
    tokens = backend.run([model_input(slot, 0, prompt, draws)])[0].token_ids
    while len(tokens) < count:
        tokens += backend.run(
            [model_input(slot, len(prompt) + len(tokens) - 1, tokens[-1:], draws, sample_position=len(tokens))]
        )[0].token_ids
    return tokens, draws


def assert_same_logits(one: RecordingSampler, other: RecordingSampler) -> None:
    np.testing.assert_array_equal(one.logits_seen, other.logits_seen)


# Batch invariance


@settings(max_examples=40)
@given(st.integers(2, BLOCK - 4), st.lists(st.integers(1, BLOCK), max_size=6), st.data())
def test_chunking_invariance(length: int, cuts: list[int], data: st.DataObject) -> None:
    """Logits do not depend on chunks, on the other inputs of a call or on what the slot held before."""
    prompt, offset = TEXT[:length], data.draw(st.integers(0, 9))
    _, alone = generate(NumpyBackend(model()), prompt, 4)
    backend, draws = NumpyBackend(model(), 3), sampler()
    backend.run([model_input(1, 0, TEXT[offset : offset + 50])])
    bounds = [0, *sorted({cut for cut in cuts if cut < length}), length]
    for number, (start, end) in enumerate(pairwise(bounds)):
        other = model_input(2, 0, TEXT[number : number + 5], sampler())
        last = draws if end == length else None
        results = backend.run([model_input(1, start, prompt[start:end], last), other])
    tokens = results[0].token_ids
    for i in range(3):
        other = model_input(0, 0, TEXT[i : i + 7], sampler())
        tokens += backend.run([other, model_input(1, length + i, tokens[-1:], draws, sample_position=i + 1)])[
            1
        ].token_ids
    assert_same_logits(alone, draws)


@pytest.mark.parametrize("shared", [1, 5, CHUNK, CHUNK + 9, 2 * CHUNK + 1])
@pytest.mark.parametrize("target", [0, 1])
def test_copy_prefix(shared: int, target: int) -> None:
    """Also for sampled tokens, which were computed one at a time."""
    backend = NumpyBackend(model(), 2)
    first, _ = generate(backend, TEXT[:20], 60)
    prompt = [*TEXT[:20], *first][:shared] + TEXT[50:53]
    _, alone = generate(NumpyBackend(model()), prompt, 4)
    backend.copy_prefix(0, target, shared)
    draws = sampler()
    tokens = backend.run([model_input(target, shared, prompt[shared:], draws)])[0].token_ids
    for i in range(3):
        tokens += backend.run([model_input(target, len(prompt) + i, tokens[-1:], draws, sample_position=i + 1)])[
            0
        ].token_ids
    assert_same_logits(alone, draws)


def test_multi_step_equals_single_steps() -> None:
    expected, one_by_one = generate(NumpyBackend(model()), TEXT[:10], 20)
    backend, draws = NumpyBackend(model()), sampler()
    tokens = backend.run([model_input(0, 0, TEXT[:10], draws)], num_steps=7)[0].token_ids
    assert len(tokens) == 7
    tokens += backend.run([model_input(0, 16, tokens[-1:], draws, sample_position=7)], num_steps=13)[0].token_ids
    assert tokens == expected
    assert_same_logits(one_by_one, draws)


def test_several_outputs_and_truncation() -> None:
    expected, one_by_one = generate(NumpyBackend(model()), TEXT[:10], 9)
    backend, draws = NumpyBackend(model()), sampler()
    tokens = backend.run([model_input(0, 0, TEXT[:10], draws)])[0].token_ids
    wrong = (expected[3] + 1) % VOCAB
    continuation = [*expected[1:3], wrong, wrong]
    drawn = backend.run([model_input(0, 10, [*tokens, *continuation], draws, num_outputs=5, sample_position=1)])[
        0
    ].token_ids
    assert drawn[:3] == expected[1:4]
    assert len(drawn) == 5
    del draws.logits_seen[4:]
    tokens = expected[:4]
    while len(tokens) < 9:
        tokens += backend.run([model_input(0, 9 + len(tokens), tokens[-1:], draws, sample_position=len(tokens))])[
            0
        ].token_ids
    assert tokens == expected
    assert_same_logits(one_by_one, draws)


def test_logits_equal_the_model() -> None:
    backend, cache = NumpyBackend(model()), KVCache(model().config)
    expected = model().forward(TEXT[:70], cache, all_logits=True)
    assert backend.run([model_input(0, 0, TEXT[:10])]) == [ModelOutput()]
    found = backend.run([model_input(0, 10, TEXT[10:70], num_outputs=60)])[0].logits
    assert found is not None
    np.testing.assert_allclose(found, expected[10:], rtol=0, atol=2e-5)
    found = backend.run([model_input(0, 30, TEXT[30:70], num_outputs=3)])[0].logits
    assert found is not None
    np.testing.assert_allclose(found, expected[67:], rtol=0, atol=2e-5)
    draws = sampler()
    backend.run([model_input(0, 69, TEXT[69:70], draws)])
    np.testing.assert_allclose(draws.logits_seen[0], expected[-1], rtol=0, atol=2e-5)


def test_logprobs() -> None:
    backend, draws = NumpyBackend(model()), sampler()
    result = backend.run([model_input(0, 0, TEXT[:9], draws, logprobs=3)], num_steps=5)[0]
    assert result.logprobs == [
        token_logprobs(logits, t, 3) for logits, t in zip(draws.logits_seen, result.token_ids, strict=True)
    ]


# End of a call


def test_steps_end_at_full_slot_and_eos() -> None:
    tokens, _ = generate(NumpyBackend(model()), TEXT[:10], 20)
    end = tokens[5]
    draws = RecordingSampler(SamplingParams(temperature=1.0, seed=3), eos_id=end)
    found = NumpyBackend(model()).run([model_input(0, 0, TEXT[:10], draws)], num_steps=16)[0].token_ids
    assert found == tokens[: tokens.index(end) + 1]
    full = NumpyBackend(model()).run([model_input(0, 0, TEXT[: BLOCK - 3], sampler())], num_steps=16)[0].token_ids
    assert len(full) == 4, "one token is sampled after the last position"


def test_penalties_limit_the_call_to_one_step() -> None:
    backend = NumpyBackend(model(), 2)
    call = [model_input(0, 0, [1, 2], sampler()), model_input(1, 0, [1, 2], sampler(presence_penalty=1.0))]
    assert [len(result.token_ids) for result in backend.run(call, num_steps=9)] == [1, 1]
    assert [len(result.token_ids) for result in backend.run(call[:1], num_steps=9)] == [9]


def test_logits_not_finite() -> None:
    original = model()
    damaged = {name: array.copy() for name, array in original.weights.items()}
    damaged["wpe.weight"][CHUNK + 8 :] = np.nan
    backend = NumpyBackend(NumpyModel(original.config, damaged), 2)
    backend.run([model_input(1, 0, TEXT[:5], sampler())])
    results = backend.run(
        [model_input(0, 0, TEXT[: CHUNK + 1], sampler()), model_input(1, 0, TEXT[:3], sampler())], num_steps=10
    )
    assert len(results[0].token_ids) == 8
    assert results[0].error is not None
    assert "no token can be sampled" in str(results[0].error)
    assert (len(results[1].token_ids), results[1].error) == (10, None)


# Slots


def test_lazy_cache_allocation(monkeypatch: pytest.MonkeyPatch) -> None:
    caches = []

    class Counted(KVCache):
        def __init__(self, config: ModelConfig) -> None:
            caches.append(self)
            super().__init__(config)

    monkeypatch.setattr("inkhorn.inference.backends.numpy_backend.KVCache", Counted)
    backend = NumpyBackend(model(), 10_000)
    backend.run([model_input(7, 0, [1])])
    backend.run([model_input(7, 0, [2])])
    assert len(caches) == 1
    backend.close()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (model_input(2, 0, [1]), "slot must be from 0 to 1, not 2"),
        (model_input(-1, 0, [1]), "slot must be from 0 to 1, not -1"),
        (model_input(0, 4, [1]), "position must be from 0 to 3, the tokens of the slot, not 4"),
        (model_input(0, -1, [1]), "position must be from 0 to 3, the tokens of the slot, not -1"),
        (model_input(0, 0, []), "0 tokens at position 0"),
        (model_input(0, 3, TEXT[: BLOCK - 2]), f"exceed the block size of {BLOCK}"),
        (model_input(0, 0, [1, 2], num_outputs=3), "num_outputs must be from 0 to 2, not 3"),
        (model_input(0, 0, [VOCAB]), "token ids must be from 0 to 16, not 17"),
        (model_input(0, 0, [-1]), "token ids must be from 0 to 16, not -1"),
    ],
)
def test_invalid_input(wrong: ModelInput, message: str) -> None:
    backend = NumpyBackend(model(), 2)
    backend.run([model_input(0, 0, [1, 2, 3])])
    with pytest.raises(ValueError, match=message):
        backend.run([wrong])


def test_invalid_copy() -> None:
    backend = NumpyBackend(model(), 2)
    backend.run([model_input(0, 0, [1, 2, 3])])
    with pytest.raises(ValueError, match="slot 0 holds 3 tokens, not 4"):
        backend.copy_prefix(0, 1, 4)
    with pytest.raises(UsageError, match="max_num_seqs must be at least 1, not 0"):
        NumpyBackend(model(), 0)
