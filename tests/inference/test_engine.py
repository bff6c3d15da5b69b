"""The engine: logits and text equal torch's, seeds, batch invariance, prefix reuse, stopping, banned tokens."""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pytest
import torch
from helpers.models import save_checkpoint, tiny_config, tiny_model, to_numpy_model
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.config.sampling import ContextOverflow, SamplingParams
from inkhorn.errors import CheckpointError, InkhornError, UsageError
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.base import Backend, ModelInput, ModelOutput
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.engine import MAX_SCORED_LOGITS, Engine
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inference.outputs import Prompt, TokenChunk
from inkhorn.inference.sampling import Sampler
from inkhorn.inference.sequence import window_start
from inkhorn.model import GPT
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.char import CharTokenizer

ASCII = "abcdefgh .\n"
MULTIBYTE = ASCII + "éß日本😀"
BLOCK = 12
POLICIES = get_args(ContextOverflow)


def tiny(alphabet: str = ASCII, seed: int = 0, slots: int = 8, **changes: Any) -> tuple[GPT, Engine]:
    tokenizer = CharTokenizer(alphabet)
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    config = tiny_config(**({"vocab_size": tokenizer.vocab_size, "block_size": BLOCK} | ends | changes))
    model = tiny_model(config, seed)
    return model, Engine(NumpyBackend(to_numpy_model(model), slots), tokenizer)


def weights_of(engine: Engine) -> dict[str, np.ndarray[Any, Any]]:
    assert isinstance(engine.backend, NumpyBackend)
    return dict(engine.backend.model.weights)


def tokens_of(engine: Engine, prompt: str, params: SamplingParams, sample_index: int = 0) -> list[int]:
    chunks = engine.submit(engine.encode_prompt(prompt), params, sample_index)
    return [chunk.token_id for chunk in chunks if chunk.token_id is not None]


def next_logits(model: GPT, ids: list[int]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Torch's logits of the next token; all tokens must fit the context."""
    with torch.no_grad():
        return model(torch.tensor([ids]))[0][0, -1].numpy()


# Equality with torch


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("prompt", ["", "a", "bad cafe", "abc. " * 9])
def test_greedy_recompute_equals_torch(kind: str, prompt: str) -> None:
    """Compare tokens beyond the context as long as the two largest logits differ by more than 1e-3."""
    compared = 0
    for seed in range(4):
        model, engine = tiny(seed=seed, model_type=kind)
        eos = model.config.eos_token_id
        assert eos is not None
        with torch.no_grad():
            model.lm_head.weight[eos] = 0.0  # its logit is 0 and others are positive, so generation continues
        engine = Engine(NumpyBackend(to_numpy_model(model)), engine.tokenizer)
        start = engine.encode_prompt(prompt).token_ids
        steps = 5 * BLOCK
        drawn = tokens_of(engine, prompt, SamplingParams(temperature=0, max_tokens=steps, context_overflow="recompute"))
        naive = model.generate(torch.tensor([start]), steps, temperature=0)[0].tolist()
        for position, token in enumerate(drawn, start=len(start)):
            second, best = np.sort(next_logits(model, naive[:position][-BLOCK:]))[-2:]
            if best - second <= 1e-3:
                break
            assert token == naive[position]
            compared += 1
    assert compared > 2 * BLOCK, "too few tokens were compared"


@pytest.mark.parametrize("context_overflow", POLICIES)
def test_greedy_within_the_context_equals_torch(context_overflow: ContextOverflow) -> None:
    model, engine = tiny(seed=3)
    params = SamplingParams(temperature=0, max_tokens=BLOCK - 3, context_overflow=context_overflow, ignore_eos=True)
    drawn = tokens_of(engine, "abcd", params)
    ids = list(engine.encode_prompt("abcd").token_ids)
    for token in drawn:
        logits = next_logits(model, ids)
        logits[engine.eos_id] = -np.inf
        second, best = np.sort(logits)[-2:]
        assert best - second > 1e-3
        assert token == int(logits.argmax())
        ids.append(token)
    assert len(drawn) == BLOCK - 3


class LogitsRecorder(NumpyModel):
    """A model that keeps the logits of calls with one token, which are those that are sampled from."""

    recorded: list[np.ndarray[Any, Any]]

    def forward(self, ids: Any, *rest: Any, **options: Any) -> Any:
        logits = super().forward(ids, *rest, **options)
        if len(ids) == 1:
            self.recorded.append(logits[0].copy())
        return logits


@pytest.mark.parametrize("context_overflow", ["shift", "recompute"])
@pytest.mark.parametrize("block", [1, 2, 3, 7, 12])
@pytest.mark.parametrize("prompt", ["ab", "hade. " * 5])
def test_logits_of_a_moved_window_equal_torch(context_overflow: ContextOverflow, block: int, prompt: str) -> None:
    model, engine = tiny(block_size=block)
    reference = to_numpy_model(model)
    recorder = LogitsRecorder(reference.config, reference.weights)
    recorder.recorded = []
    engine = Engine(NumpyBackend(recorder), engine.tokenizer)
    params = SamplingParams(
        temperature=1.0, seed=1, max_tokens=4 * block + 5, context_overflow=context_overflow, ignore_eos=True
    )
    drawn = tokens_of(engine, prompt, params)
    assert len(drawn) == 4 * block + 5
    ids, start = list(engine.encode_prompt(prompt).token_ids), 0
    sampler = Sampler(params, 0, ids, {engine.eos_id or 0})
    for token, logits in zip(drawn, recorder.recorded, strict=True):
        while len(ids) - start > block:  # full: drop half of the window, or its first token
            start += max(1, block // 2) if context_overflow == "shift" else 1
        expected = next_logits(model, ids[start:])
        np.testing.assert_allclose(logits, expected, rtol=0, atol=2e-5)
        assert token == sampler.sample(expected, len(ids))
        ids.append(token)


def test_window_start() -> None:
    assert [window_start(n, 8, "shift") for n in range(1, 22)] == [0] * 8 + [4] * 4 + [8] * 4 + [12] * 4 + [16]
    assert [window_start(n, 8, "recompute") for n in range(1, 12)] == [0] * 8 + [1, 2, 3]
    assert [window_start(n, 8, "stop") for n in (1, 8, 9, 100)] == [0] * 4
    for block in range(1, 9):
        for context_overflow in ("shift", "recompute"):
            for n in range(1, 60):
                seen = n - window_start(n, block, context_overflow)
                assert 1 <= seen <= block
                assert n <= block or seen > block // 2, "at least half the block is context"


def test_shift_recomputes_every_half_block() -> None:
    """Each call takes one token, except that a moved window is computed in one chunk."""
    _, engine = tiny()
    sizes: list[int] = []

    class Counting(NumpyModel):
        def forward(self, ids: Any, *rest: Any, **options: Any) -> Any:
            sizes.append(len(ids))
            return super().forward(ids, *rest, **options)

    counting = Engine(NumpyBackend(Counting(engine.config, weights_of(engine))), engine.tokenizer)
    tokens_of(counting, "a", SamplingParams(max_tokens=30, seed=0, ignore_eos=True))
    assert sizes == [1] * 12 + ([BLOCK] + [1] * 6) * 3, "a moved window is computed in one chunk of full size"


@pytest.mark.parametrize("context_overflow", ["shift", "recompute"])
@pytest.mark.parametrize("first", [1, 7, 12, 13, 29])
def test_resumed_generation(context_overflow: ContextOverflow, first: int) -> None:
    _, engine = tiny(MULTIBYTE)

    def generate(prompt: str, count: int) -> str:
        params = SamplingParams(
            temperature=1.0, seed=11, max_tokens=count, context_overflow=context_overflow, ignore_eos=True
        )
        return engine.submit(prompt, params).result().text

    prompt = "日a bé"
    whole = generate(prompt, 40)
    assert len(whole) == 40
    beginning = generate(prompt, first)
    assert beginning == whole[:first]
    assert beginning + generate(prompt + beginning, 40 - first) == whole


# Seeds


def test_seed_and_sample_index() -> None:
    _, engine = tiny()
    params = SamplingParams(temperature=1.0, seed=4, max_tokens=40)
    texts = [engine.submit("a", params, sample_index).result().text for sample_index in (0, 0, 1, 2)]
    assert texts[0] == texts[1]
    assert len(set(texts)) == 3
    other = SamplingParams(temperature=1.0, seed=5, max_tokens=40)
    assert engine.submit("a", other).result().text != texts[0]


def test_interleaved_streams() -> None:
    _, engine = tiny()
    params = SamplingParams(temperature=1.0, seed=4, max_tokens=30, ignore_eos=True)
    alone = [engine.submit(prompt, params).result().text for prompt in ("abc", "hg")]
    one, two = (engine.submit(engine.encode_prompt(prompt), params) for prompt in ("abc", "hg"))
    together = [(a.text, b.text) for a, b in zip(one, two, strict=True)]
    assert ["".join(texts) for texts in zip(*together, strict=True)] == alone


def test_random_without_seed() -> None:
    _, engine = tiny()
    params = SamplingParams(temperature=1.0, max_tokens=40, ignore_eos=True)
    assert engine.submit("a", params).result().text != engine.submit("a", params).result().text


# Batches and prefix reuse

SAMPLING: list[dict[str, Any]] = [
    {"temperature": 0},
    {"temperature": 1.0},
    {"temperature": 1.0, "context_overflow": "recompute", "max_tokens": 60},
    {"temperature": 1.0, "context_overflow": "stop"},
    {"temperature": 1.3, "top_k": 5, "top_p": 0.9},
    {"temperature": 1.0, "min_p": 0.05, "max_words": 7},
    {"temperature": 0.9, "repetition_penalty": 1.2},
    {"temperature": 1.0, "presence_penalty": 0.5, "frequency_penalty": 0.2, "logit_bias": {1: 1.0}},
    {"temperature": 1.0, "stop": ("ab", "ee"), "ignore_eos": False},
    {"temperature": 0, "end_at_sentence": True},
]
LONG = "abc de. hg " * 4
PROMPTS = ["", "a", "bad cafe", LONG, LONG + "head", "abc de. hg " * 9, LONG[:33]]


def requests(count: int) -> list[tuple[str, SamplingParams]]:
    """Requests with different parameters; some prompts share a prefix."""
    found = []
    for i in range(count):
        options: dict[str, Any] = {"max_tokens": 30 + i % 41, "ignore_eos": True} | SAMPLING[i % len(SAMPLING)]
        prompt = PROMPTS[i % len(PROMPTS)]
        found.append(
            (
                prompt[:40] if options.get("context_overflow") == "stop" else prompt,
                SamplingParams(seed=i % 23, **options),
            )
        )
    return found


def backend_of(model: GPT, kind: Literal["numpy", "fp32", "int8"], slots: int) -> Backend:
    reference = to_numpy_model(model)
    if kind == "numpy":
        return NumpyBackend(reference, slots)
    reason = native_bindings.unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    from inkhorn.inference.backends.native_backend import NativeBackend
    from inkhorn.inference.backends.packed_weights import pack

    return NativeBackend(pack(reference.config, reference.weights, kind), threads=2, max_num_seqs=slots)


@pytest.mark.parametrize("kind", ["numpy", "fp32", "int8"])
@pytest.mark.parametrize("slots", [64, 5, 2])
def test_batch_invariance(kind: Literal["numpy", "fp32", "int8"], slots: int) -> None:
    """A request gives the same result alone and among 64, with shared prefixes and reused slots."""
    model, tokenizer = tiny(block_size=48)[0], CharTokenizer(ASCII)
    with Engine(backend_of(model, kind, slots), tokenizer) as batched:
        handles = [batched.submit(prompt, params, logprobs=1) for prompt, params in requests(64)]
        together = [handle.result() for handle in handles]
    for (prompt, params), found in zip(requests(64), together, strict=True):
        with Engine(backend_of(model, kind, 1), tokenizer) as alone:
            assert found == alone.submit(prompt, params, logprobs=1).result()


class RecordingBackend(NumpyBackend):
    """Counts computed tokens and keeps copied prefixes."""

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.num_computed = 0
        self.copies: list[tuple[int, int, int]] = []

    def run(self, work: Any, steps: int = 1) -> Any:
        self.num_computed += sum(len(each.ids) for each in work)
        return super().run(work, steps)

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        self.copies.append((source, target, length))
        super().copy_prefix(source, target, length)


def test_samples_share_the_prompt() -> None:
    model, alone = tiny(block_size=48, slots=1)
    backend = RecordingBackend(to_numpy_model(model), 4)
    engine = Engine(backend, alone.tokenizer)
    prompt = engine.encode_prompt(LONG[:40])
    params = SamplingParams(temperature=1.0, seed=5, max_tokens=6, ignore_eos=True)
    texts = [handle.result() for handle in engine.submit_many(prompt, params, 10)]
    assert texts == [alone.submit(prompt, params, sample_index).result() for sample_index in range(10)]
    assert len({text.text for text in texts}) > 5
    assert len(backend.copies) == 9
    assert {length for _, _, length in backend.copies} == {39}


def test_conversation_reuses_the_cache() -> None:
    model, alone = tiny(block_size=48)
    backend = RecordingBackend(to_numpy_model(model), 2)
    engine = Engine(backend, alone.tokenizer)
    params = SamplingParams(temperature=1.0, seed=5, max_tokens=9, ignore_eos=True)
    history = LONG[:20]
    for _ in range(2):
        history += engine.submit(history, params).result().text + "a"
        assert history == history[:-10] + alone.submit(history[:-10], params).result().text + "a"
    assert backend.copies == [(0, 0, 28)]


def test_stop_within_a_multi_step_call() -> None:
    """Tokens sampled after the stop are dropped, and a later request in the same slot does not see them."""
    _, engine = tiny(block_size=48, slots=1)
    free = SamplingParams(temperature=1.0, seed=1, max_tokens=40, ignore_eos=True)
    whole = engine.submit("ab", free).result().text
    stopped = SamplingParams(temperature=1.0, seed=1, max_tokens=40, ignore_eos=True, stop=(whole[18:21],))
    done = engine.submit("ab", stopped).result()
    assert done.text == whole[: whole.index(whole[18:21])]
    assert (
        engine.submit("ab" + whole[:19], free).result()
        == tiny(block_size=48)[1].submit("ab" + whole[:19], free).result()
    )


# Log-probabilities


def log_softmax(logits: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return torch.log_softmax(torch.from_numpy(logits), -1).numpy()


def test_logprobs_equal_torch() -> None:
    """Log-probabilities are those of the model: before temperature, penalties and bans."""
    model, engine = tiny()
    params = SamplingParams(temperature=0.3, seed=1, max_tokens=9, ignore_eos=True, presence_penalty=1.0)
    handle = engine.submit("bad", params, logprobs=4)
    chunks = list(handle)
    ids = list(engine.encode_prompt("bad").token_ids)
    for chunk in chunks:
        expected = log_softmax(next_logits(model, ids))
        assert chunk.token_id is not None
        assert chunk.logprobs is not None
        assert chunk.logprobs.logprob == pytest.approx(expected[chunk.token_id], abs=1e-4)
        assert [token for token, _ in chunk.logprobs.top] == np.argsort(-expected)[:4].tolist()
        assert [logprob for _, logprob in chunk.logprobs.top] == pytest.approx(
            np.sort(expected)[::-1][:4].tolist(), abs=1e-4
        )
        ids.append(chunk.token_id)
    done = engine.submit("bad", params, logprobs=4).result()
    assert done.token_ids == tuple(chunk.token_id for chunk in chunks)
    assert done.logprobs == tuple(chunk.logprobs for chunk in chunks)
    plain = engine.submit("bad", params).result()
    assert (plain.text, plain.token_ids, plain.logprobs, plain.prompt_logprobs) == (done.text, done.token_ids, (), ())


@pytest.mark.parametrize("length", [1, 2, BLOCK, BLOCK + 3, 40])
def test_prompt_logprobs(length: int) -> None:
    model, engine = tiny()
    prompt = engine.encode_prompt(("head cafe. " * 5)[:length])
    params = SamplingParams(temperature=1.0, seed=1, max_tokens=20, ignore_eos=True)
    done = engine.submit(prompt, params, logprobs=2, prompt_logprobs=True).result()
    assert done.text == engine.submit(prompt, params).result().text
    first = window_start(length, BLOCK, "shift")
    assert len(done.prompt_logprobs) == length
    assert done.prompt_logprobs[: first + 1] == (None,) * (first + 1), (
        "tokens without context in the window have no log-probability"
    )
    for position in range(first + 1, length):
        found = done.prompt_logprobs[position]
        assert found is not None
        expected = log_softmax(next_logits(model, list(prompt.token_ids[first:position])))
        assert found.logprob == pytest.approx(expected[prompt.token_ids[position]], abs=1e-4)
        assert [token for token, _ in found.top] == np.argsort(-expected)[:2].tolist()


def test_logprobs_out_of_range() -> None:
    _, engine = tiny()
    assert len(engine.submit("a", SamplingParams(max_tokens=1, seed=0), logprobs=12).result().logprobs[0].top) == 12
    for wrong in (-1, 13):
        with pytest.raises(UsageError, match=f"logprobs must be from 0 to 12, the vocabulary, not {wrong}"):
            engine.submit("a", SamplingParams(), logprobs=wrong)


# Stopping


def test_eos_ends_the_text() -> None:
    _, engine = tiny()
    assert engine.eos_id is not None
    chunks = list(engine.submit(engine.encode_prompt("a"), SamplingParams(logit_bias={engine.eos_id: 100})))
    assert chunks == [TokenChunk("", engine.eos_id, "stop")]
    ended = engine.submit("a", SamplingParams(logit_bias={engine.eos_id: 100})).result()
    assert (ended.text, ended.num_tokens, ended.finish_reason) == ("", 1, "stop")


def test_ignore_eos() -> None:
    _, engine = tiny()
    assert engine.eos_id is not None
    params = SamplingParams(temperature=1.0, logit_bias={engine.eos_id: 100}, max_tokens=200, seed=0, ignore_eos=True)
    drawn = tokens_of(engine, "a", params)
    assert len(drawn) == 200
    assert engine.eos_id not in drawn


def test_eos_from_the_tokenizer() -> None:
    _, engine = tiny(bos_token_id=None, eos_token_id=None)
    assert engine.eos_id == engine.tokenizer.eos_id
    assert engine.encode_prompt("").token_ids == (engine.tokenizer.eos_id,)
    assert engine.submit("a", SamplingParams(logit_bias={engine.eos_id or 0: 100})).result().text == ""


def test_eos_releases_held_back_text() -> None:
    """`aaa` is held back as a possible stop string until the end-of-text token."""
    model, engine = tiny()
    eos, a = engine.eos_id, engine.tokenizer.encode("a")[0]
    assert eos is not None

    class Scripted(NumpyModel):
        def forward(self, ids: Any, cache: Any, *rest: Any, **options: Any) -> Any:
            super().forward(ids, cache, *rest, **options)
            logits = np.full((1, self.config.vocab_size), -1e9, np.float32)
            logits[0, a if cache.length < 4 else eos] = 0
            return logits

    scripted = Engine(NumpyBackend(Scripted(model.config, weights_of(engine))), engine.tokenizer)
    chunks = list(scripted.submit(scripted.encode_prompt("b"), SamplingParams(stop=("aaaa",))))
    assert [(chunk.text, chunk.finish_reason) for chunk in chunks] == [("", None)] * 3 + [("aaa", "stop")]


def test_max_words_and_stop_strings() -> None:
    _, engine = tiny()
    words = engine.submit("a ", SamplingParams(temperature=1.0, seed=1, max_words=5, ignore_eos=True)).result()
    assert len(words.text.split()) == 5
    assert words.finish_reason == "length"
    free = SamplingParams(temperature=1.0, seed=1, max_tokens=60, ignore_eos=True)
    whole = engine.submit("a ", free).result().text
    stop = whole[20:23]
    stopped = engine.submit("a ", SamplingParams(temperature=1.0, seed=1, stop=(stop,), ignore_eos=True)).result()
    assert stopped.text == whole[: whole.index(stop)]
    assert stopped.finish_reason == "stop"


def test_chunks() -> None:
    _, engine = tiny()
    chunks = list(engine.submit(engine.encode_prompt("a"), SamplingParams(max_tokens=20, seed=0, ignore_eos=True)))
    assert [chunk.finish_reason for chunk in chunks] == [None] * 19 + ["length"]
    assert engine.tokenizer.decode(chunk.token_id for chunk in chunks if chunk.token_id is not None) == "".join(
        chunk.text for chunk in chunks
    )


@pytest.mark.parametrize("length", [1, 5, BLOCK])
def test_context_overflow_stop(length: int) -> None:
    """One token can be sampled after the last position of the context."""
    _, engine = tiny()
    done = engine.submit(
        "a" * length, SamplingParams(temperature=1.0, context_overflow="stop", seed=0, ignore_eos=True)
    ).result()
    assert done.num_tokens == len(done.text) == BLOCK - length + 1
    assert done.finish_reason == "length"


def test_context_overflow_stop_with_a_long_prompt() -> None:
    _, engine = tiny()
    prompt = engine.encode_prompt("a" * (BLOCK + 1))
    with pytest.raises(
        UsageError,
        match=f"{BLOCK + 1} tokens, more than the block size of {BLOCK}.*context_overflow shift",
    ):
        engine.submit(prompt, SamplingParams(context_overflow="stop"))  # raised by submit, not by the first token


# Prompts


def test_empty_prompt() -> None:
    _, engine = tiny()
    prompt = engine.encode_prompt("")
    assert (prompt.text, prompt.token_ids) == ("", (engine.config.bos_token_id,))
    for seed in range(8):
        params = SamplingParams(temperature=1.0, seed=seed, max_words=3, ignore_eos=True)
        text = engine.submit("", params).result().text
        assert len(text.split()) == 3
        assert engine.submit(END_OF_TEXT, params).result().text == text, (
            "the empty prompt is the end-of-text token, which is not a word"
        )


def test_empty_prompt_without_bos() -> None:
    _, engine = tiny(bos_token_id=None, eos_token_id=None)
    engine.eos_id = None
    with pytest.raises(UsageError, match="the prompt is empty"):
        engine.encode_prompt("")


def test_bos_differs_from_eos() -> None:
    _, engine = tiny(bos_token_id=3)
    assert engine.encode_prompt("").token_ids == (3,)


def test_unknown_characters() -> None:
    _, engine = tiny()
    prompt = engine.encode_prompt("a😀ché")
    assert prompt.text == "ache"
    assert prompt.token_ids == tuple(engine.tokenizer.encode("ache").tolist())
    assert [(u.character, u.position, u.replacement) for u in prompt.unknown] == [("😀", 1, ""), ("é", 4, "e")]
    assert engine.encode_prompt("😀").token_ids == (engine.config.bos_token_id,), "the same as an empty prompt"
    with pytest.raises(InkhornError, match="GRINNING FACE"):
        engine.encode_prompt("a😀", "error")


@pytest.mark.parametrize("context_overflow", ["shift", "recompute"])
def test_prompt_longer_than_the_context(context_overflow: ContextOverflow) -> None:
    model, engine = tiny()
    prompt = "cab.face bed\n" * 30 + "head"
    params = SamplingParams(temperature=0, max_tokens=1, context_overflow=context_overflow)
    ids = list(engine.encode_prompt(prompt).token_ids)
    seen = ids[-BLOCK:] if context_overflow == "recompute" else ids[window_start(len(ids), BLOCK, "shift") :]
    assert tokens_of(engine, prompt, params) == [int(next_logits(model, seen).argmax())]


def test_long_prompt_computes_only_its_window() -> None:
    model, engine = tiny()
    backend = RecordingBackend(to_numpy_model(model), 1)
    params = SamplingParams(max_tokens=5, seed=0, repetition_penalty=1.1, ignore_eos=True)
    text = Engine(backend, engine.tokenizer).submit("head cafe.\n" * 100_000, params).result().text
    assert len(text) == 5
    assert backend.num_computed <= 2 * BLOCK


# Banned tokens and damaged weights


def test_partial_characters_are_banned() -> None:
    _, engine = tiny(MULTIBYTE)
    assert engine.tokenizer.partial_ids
    bias = dict.fromkeys(engine.tokenizer.partial_ids, 100.0)
    params = SamplingParams(temperature=100, logit_bias=bias, max_tokens=400, seed=0, ignore_eos=True)
    drawn = tokens_of(engine, "a", params)
    assert not engine.tokenizer.partial_ids & set(drawn)
    assert set(engine.tokenizer.decode(drawn)) == set(MULTIBYTE), "every complete character is sampled"


def test_padding_ids_are_banned() -> None:
    """Vocabularies are often padded to a multiple of 64."""
    tokenizer = CharTokenizer(ASCII)
    _, engine = tiny(vocab_size=tokenizer.vocab_size + 20)
    params = SamplingParams(temperature=100, max_tokens=300, seed=0, ignore_eos=True)
    assert set(tokens_of(engine, "a", params)) == set(range(tokenizer.vocab_size - 1))


def test_tokenizer_larger_than_the_model() -> None:
    model = tiny_model(tiny_config(vocab_size=5))
    with pytest.raises(CheckpointError, match=r"tokenizer.json has 12 tokens, but the model of config.json only 5"):
        Engine(NumpyBackend(to_numpy_model(model)), CharTokenizer(ASCII))


def test_logit_bias_out_of_range() -> None:
    _, engine = tiny()
    with pytest.raises(UsageError, match="logit_bias: token ids of this model are 0 to 11, not 12"):
        engine.submit(engine.encode_prompt("a"), SamplingParams(logit_bias={12: 1.0}))


DAMAGED = ["wte.weight", "h.1.mlp.c_fc.weight", "h.0.attn.c_attn.bias", "ln_f.weight"]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", DAMAGED)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_weights_not_finite(name: str, value: float, temperature: float) -> None:
    """Raise CheckpointError without NumPy's warnings, which pytest turns into errors."""
    _, engine = tiny()
    weights_of(engine)[name][:] = value
    with pytest.raises(CheckpointError, match="the model's weights are damaged"):
        engine.submit("ab", SamplingParams(temperature=temperature, max_tokens=5)).result()


@pytest.mark.parametrize("name", DAMAGED)
def test_huge_weights(name: str) -> None:
    _, engine = tiny()
    weights_of(engine)[name][:] = 3e38
    with suppress(CheckpointError):
        engine.submit("ab", SamplingParams(max_tokens=5)).result()


def folder(path: Path, **changes: Any) -> Path:
    model, engine = tiny(**changes)
    save_checkpoint(path, model, engine.tokenizer)
    return path


def test_missing_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="nowhere"):
        Engine.from_pretrained(tmp_path / "nowhere")


# Work of one request in the engine's thread


def test_scoring_a_prompt_is_bounded_per_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a large vocabulary few positions are scored in a call, however many prompts there are, and no logits leave
    the backend."""
    config = tiny_config(vocab_size=50_000, block_size=64, n_layer=1, n_embd=4, n_head=1)
    backend = NumpyBackend(to_numpy_model(tiny_model(config)), 8)
    calls: list[int] = []
    run = backend.run

    def counted(inputs: Sequence[ModelInput], num_steps: int = 1) -> list[ModelOutput]:
        outputs = run(inputs, num_steps)
        assert all(output.logits is None for output in outputs)
        calls.append(sum(each.num_outputs for each in inputs if each.targets))
        return outputs

    monkeypatch.setattr(backend, "run", counted)
    with Engine(backend, CharTokenizer(ASCII)) as engine:
        params = SamplingParams(max_tokens=1, temperature=0)
        prompts = [Prompt("", tuple(range(n, n + 30))) for n in range(4)]
        handles = [engine.submit(prompt, params, prompt_logprobs=True) for prompt in prompts]
        assert all(len(handle.result().prompt_logprobs) == 30 for handle in handles)
    assert max(calls) * config.vocab_size <= MAX_SCORED_LOGITS
    assert sum(calls) == 4 * 29


def test_min_tokens_needs_a_token_that_does_not_end_the_text() -> None:
    _, engine = tiny()
    everything = tuple(range(engine.config.vocab_size))
    with pytest.raises(UsageError, match="leave no token that may be sampled"):
        engine.submit("a", SamplingParams(min_tokens=1, max_tokens=2, stop_token_ids=everything))
    free = engine.tokenizer.encode("b").tolist()
    allowed = tuple(token for token in everything if token not in free)
    done = engine.submit("a", SamplingParams(min_tokens=2, max_tokens=3, stop_token_ids=allowed)).result()
    assert done.text.startswith("bb")


@settings(max_examples=200, deadline=None)
@given(
    st.floats(0, 100),
    st.integers(0, 2**31 - 1),
    st.floats(0, 1, exclude_min=True),
    st.floats(0, 1),
    st.floats(0.01, 100),
    st.floats(-2, 2),
    st.dictionaries(st.integers(0, 10), st.floats(-100, 100), max_size=5),
    st.integers(0, 5),
)
def test_every_allowed_parameter_gives_a_text(
    temperature: float, top_k: int, top_p: float, min_p: float, penalty: float, presence: float, bias: Any, least: int
) -> None:
    params = SamplingParams(
        temperature=temperature,
        top_k=top_k,
        top_p=top_p,
        min_p=min_p,
        repetition_penalty=penalty,
        presence_penalty=presence,
        frequency_penalty=presence,
        logit_bias=bias,
        min_tokens=least,
        max_tokens=5,
        seed=1,
    )
    assert 1 <= SHARED.submit("ab", params).result().num_tokens <= 5


SHARED = tiny()[1]
