"""The native kernel against the NumPy model on every instruction set that this CPU supports, and batch invariance."""

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.models import write_arrays
from hypothesis import given, settings
from hypothesis import strategies as st

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import PRECISIONS, Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.base import ModelInput
from inkhorn.inference.backends.native_backend import NativeBackend
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.backends.packed_weights import load_packed, pack, save_packed
from inkhorn.inference.numpy_model import KVCache, NumpyModel
from inkhorn.inference.sampling import Sampler, token_logprobs
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.cpu import affinity_cpus

REASON = native_bindings.unavailable_reason()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))

Array = np.ndarray[Any, Any]
Weights = dict[str, Array]
ISAS = native_bindings.supported_isas() if native_bindings.unavailable_reason() is None else []
FP32 = PRECISIONS[0]


@pytest.fixture(params=ISAS)
def isa(request: pytest.FixtureRequest) -> Iterator[str]:
    """Each supported instruction set."""
    assert native_bindings.library().ink_isa_select(request.param.encode()) == 0
    yield request.param
    native_bindings.library().ink_isa_select(None)


def random_weights(config: ModelConfig, seed: int = 0, scale: float = 0.2) -> Weights:
    generator = np.random.default_rng(seed)
    weights = {
        spec.name: (scale * generator.standard_normal(spec.shape)).astype(np.float32) for spec in config.tensor_specs()
    }
    for name in weights:
        if ".ln_" in f".{name}" and name.endswith("weight"):
            weights[name] += 1
    return weights


def shapes() -> st.SearchStrategy[ModelConfig]:
    def build(heads: int, size: int, inner: int | None, **other: Any) -> ModelConfig:
        return ModelConfig(n_head=heads, n_embd=heads * size, n_inner=inner, **other)

    return st.builds(
        build,
        heads=st.integers(1, 4),
        size=st.sampled_from([1, 3, 8, 16, 20, 32, 48, 64, 80]),
        inner=st.one_of(st.none(), st.integers(1, 150)),
        vocab_size=st.integers(2, 100),
        block_size=st.integers(2, 50),
        n_layer=st.integers(1, 3),
        model_type=st.sampled_from(["gpt2", "openai-gpt"]),
        activation_function=st.sampled_from(["gelu_new", "gelu", "relu"]),
        tie_word_embeddings=st.booleans(),
    )


def logits_of(backend: NativeBackend, ids: list[int], slot: int = 0) -> Array:
    found = backend.run([ModelInput(slot, 0, ids, len(ids))])[0].logits
    assert found is not None
    return found


def in_chunks(backend: NativeBackend, texts: list[list[int]], generator: np.random.Generator) -> list[Array]:
    """The logits of several texts, computed together in random chunks and slots."""
    slots = generator.permutation(backend.max_num_seqs)[: len(texts)].tolist()
    found: list[list[Array]] = [[] for _ in texts]
    done = [0] * len(texts)
    while any(position < len(text) for position, text in zip(done, texts, strict=True)):
        inputs, indices = [], []
        for i in generator.permutation(len(texts)).tolist():
            count = min(int(generator.integers(0, 9)), len(texts[i]) - done[i])
            if count:
                inputs.append(ModelInput(slots[i], done[i], texts[i][done[i] : done[i] + count], count))
                indices.append(i)
                done[i] += count
        for i, result in zip(indices, backend.run(inputs) if inputs else [], strict=True):
            assert result.logits is not None
            found[i].append(result.logits)
    return [np.concatenate(parts) for parts in found]


@settings(max_examples=25)
@given(config=shapes(), seed=st.integers(0, 2**32 - 1))
def test_random_shapes_and_batches(config: ModelConfig, seed: int) -> None:
    generator = np.random.default_rng(seed)
    weights = random_weights(config, seed)
    texts = [
        generator.integers(0, config.vocab_size, int(generator.integers(1, config.block_size + 1))).tolist()
        for _ in range(3)
    ]
    reference = NumpyModel(config, weights)
    expected = [reference.forward(text, KVCache(config), all_logits=True) for text in texts]
    try:
        for name in ISAS:
            assert native_bindings.library().ink_isa_select(name.encode()) == 0
            for precision in PRECISIONS:
                packed = pack(config, weights, precision, int(generator.choice([0, 32, 64, 128])))
                alone = [logits_of(NativeBackend(packed, threads=1, max_num_seqs=1), text) for text in texts]
                together = in_chunks(NativeBackend(packed, threads=2, max_num_seqs=4), texts, generator)
                for one, other, right in zip(alone, together, expected, strict=True):
                    assert np.array_equal(one, other), (name, precision)
                    if precision == FP32:
                        assert np.abs(one - right).max() <= 1e-4 * max(1.0, np.abs(right).max())
    finally:
        native_bindings.library().ink_isa_select(None)


def test_shipped_model_fp32(isa: str) -> None:
    folder = SHIPPED["shakespeare"]
    config = read_config(folder)
    ids = (
        load_tokenizer(folder)
        .encode("ROMEO:\nBut, soft! what light through yonder window breaks?\n" * 4)
        .tolist()[:240]
    )
    expected = NumpyModel(config, read_weights(folder, config)).forward(ids, KVCache(config), all_logits=True)
    found = logits_of(NativeBackend(load_packed(folder, "fp32"), max_num_seqs=1), ids)
    assert np.abs(found - expected).max() <= 1e-4


def test_gpt2_width_fp32(isa: str) -> None:
    config = ModelConfig(vocab_size=1000, block_size=64, n_layer=2, n_head=12, n_embd=768)
    weights = random_weights(config, scale=0.02)
    ids = np.random.default_rng(1).integers(0, 1000, 40).tolist()
    expected = NumpyModel(config, weights).forward(ids, KVCache(config), all_logits=True)
    assert np.abs(logits_of(NativeBackend(pack(config, weights, "fp32"), max_num_seqs=1), ids) - expected).max() <= 1e-4


SPEECHES = """\
MIRANDA:
If by your art, my dearest father, you have
Put the wild waters in this roar, allay them.
The sky, it seems, would pour down stinking pitch,
But that the sea, mounting to the welkin's cheek,
Dashes the fire out. O, I have suffered
With those that I saw suffer: a brave vessel,
Who had, no doubt, some noble creature in her,
Dash'd all to chunks. O, the cry did knock
Against my very heart. Poor souls, they perish'd.
Had I been any god of power, I would
Have sunk the sea within the earth or ere
It should the good ship so have swallow'd and
The fraughting souls within her.

PROSPERO:
Be collected:
No more amazement: tell your piteous heart
There's no harm done.
"""


@pytest.mark.parametrize(("precision", "max_increase"), [("bf16", 0.001), ("int8", 0.01), ("int4", 0.1)])
def test_quantization_quality(isa: str, precision: Precision, max_increase: float) -> None:
    """Perplexity on a few lines of a held-out play, so with wide limits; docs/performance.md has the complete plays."""
    folder = SHIPPED["shakespeare"]
    ids = load_tokenizer(folder).encode(SPEECHES).tolist()

    def loss(at: Precision) -> float:
        backend = NativeBackend(load_packed(folder, at), max_num_seqs=1)
        windows = [ids[i : i + 200] for i in range(0, len(ids) - 200, 100)]
        losses = []
        for window in windows:
            logits = logits_of(backend, window)
            losses += [-token_logprobs(row, token, 0).logprob for row, token in zip(logits, window[1:], strict=False)]
        return float(np.mean(losses))

    increase = np.exp(loss(precision) - loss("fp32")) - 1
    assert increase <= max_increase


def tiny(**changes: Any) -> ModelConfig:
    return replace(ModelConfig(vocab_size=23, block_size=24, n_layer=2, n_head=2, n_embd=32), **changes)


def tokens_of(
    backend: NativeBackend | NumpyBackend, sampler: Sampler, ids: list[int], count: int, steps: int
) -> list[int]:
    """Sample `count` tokens, up to `steps` in a call."""
    result = backend.run([ModelInput(0, 0, ids, 1, sampler, len(ids))])[0]
    tokens = result.token_ids
    while len(tokens) < count and tokens[-1] != sampler.eos_id and len(ids) + len(tokens) <= backend.config.block_size:
        at = len(ids) + len(tokens) - 1
        more = backend.run([ModelInput(0, at, tokens[-1:], 1, sampler, at + 1)], min(steps, count - len(tokens)))[0]
        assert more.error is None
        tokens = tokens + more.token_ids
    return tokens


@pytest.mark.parametrize(
    "options", [{"temperature": 0}, {}, {"top_k": 5}, {"top_p": 0.7}, {"min_p": 0.1, "temperature": 1.5}]
)
def test_multi_step_samples_equal_numpy(options: dict[str, Any]) -> None:
    config = tiny()
    weights = random_weights(config)
    params = SamplingParams(seed=11, **options)
    native = NativeBackend(pack(config, weights, "fp32"), max_num_seqs=2)
    reference = NumpyBackend(NumpyModel(config, weights), 1)
    for sample_index in range(8):
        sampler = Sampler(params, sample_index, banned_ids=[3, 4], eos_id=9)
        expected = tokens_of(reference, sampler, [1, 2], 20, 1)
        for steps in (1, 3, 16):
            assert tokens_of(native, sampler, [1, 2], 20, steps) == expected


def test_steps_end_at_full_slot_and_eos() -> None:
    config = tiny()
    native = NativeBackend(pack(config, random_weights(config), "fp32"))
    sampler = Sampler(SamplingParams(seed=1))
    result = native.run([ModelInput(0, 0, [5] * 20, 1, sampler, 20)], 16)[0]
    assert len(result.token_ids) == 5  # 4 more tokens fit, and one is sampled after the last
    ending = Sampler(SamplingParams(seed=1), eos_id=result.token_ids[2])
    again = native.run([ModelInput(0, 0, [5] * 20, 1, ending, 20)], 16)[0]
    assert again.token_ids == result.token_ids[: result.token_ids.index(ending.eos_id) + 1]  # type: ignore[arg-type]


def test_several_outputs() -> None:
    config = tiny()
    native = NativeBackend(pack(config, random_weights(config), "int8"))
    sampler = Sampler(SamplingParams(seed=4))
    text = tokens_of(native, sampler, [1, 2, 3], 12, 4)
    whole = native.run([ModelInput(1, 0, [1, 2, 3, *text[:-1]], len(text), sampler, 3)])[0]
    assert whole.token_ids == text


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("top", [None, 0, 3, 23])
def test_scores_equal_python_in_any_chunks(precision: Precision, top: int | None) -> None:
    config = tiny()
    native = NativeBackend(pack(config, random_weights(config), precision), max_num_seqs=3)
    ids = [int(token) for token in np.random.default_rng(2).integers(0, 23, 21)]
    expected = [
        token_logprobs(row, token, top or 0) for row, token in zip(logits_of(native, ids[:-1]), ids[1:], strict=True)
    ]
    sampler = Sampler(SamplingParams(seed=1))
    for size in (20, 7, 1):
        found = []
        for start in range(0, 20, size):
            part = ids[start : start + size][: 20 - start]
            targets = ids[start + 1 : start + 1 + len(part)]
            scored = ModelInput(1, start, part, len(part), targets=targets, logprobs=top)
            outputs = native.run([ModelInput(0, 0, [1, 2], 1, sampler, 2, logprobs=1), scored])  # beside another input
            assert outputs[1].logits is None
            assert len(outputs[0].logprobs) == 1
            found += outputs[1].logprobs
        for one, other in zip(found, expected, strict=True):
            assert one.logprob == pytest.approx(other.logprob, abs=1e-5)
            assert [i for i, _ in one.top] == [i for i, _ in other.top]
            assert [x for _, x in one.top] == pytest.approx([x for _, x in other.top], abs=1e-5)
        if size == 20:
            first = found
        assert found == first, "bit for bit, however the prompt is split"
        for token, score in zip(ids[1:], found, strict=True):
            assert dict(score.top).get(token, score.logprob) == score.logprob


def test_logprobs_equal_python() -> None:
    config = tiny()
    native = NativeBackend(pack(config, random_weights(config), "fp32"))
    sampler = Sampler(SamplingParams(seed=4))
    result = native.run([ModelInput(0, 0, [1, 2], 1, sampler, 2, logprobs=3)], 6)[0]
    assert len(result.logprobs) == len(result.token_ids) == 6
    for i, (token, found) in enumerate(zip(result.token_ids, result.logprobs, strict=True)):
        row = logits_of(native, [1, 2, *result.token_ids[:i]], slot=1)[-1]
        expected = token_logprobs(row, token, 3)
        assert found.logprob == pytest.approx(expected.logprob, abs=1e-6)
        assert [i for i, _ in found.top] == [i for i, _ in expected.top]
        assert [x for _, x in found.top] == pytest.approx([x for _, x in expected.top], abs=1e-6)


def test_penalties_equal_numpy() -> None:
    config = tiny()
    weights = random_weights(config)
    params = SamplingParams(seed=2, frequency_penalty=1.0, repetition_penalty=1.3, logit_bias={7: 3.0})
    native, reference = NativeBackend(pack(config, weights, "fp32")), NumpyBackend(NumpyModel(config, weights), 1)
    assert tokens_of(native, Sampler(params), [1], 15, 8) == tokens_of(reference, Sampler(params), [1], 15, 1)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_copy_prefix(precision: Precision) -> None:
    config = tiny()
    native = NativeBackend(pack(config, random_weights(config), precision), max_num_seqs=3)
    ids = np.random.default_rng(0).integers(0, 23, 24).tolist()
    whole = logits_of(native, ids)
    native.copy_prefix(0, 2, 13)
    rest = native.run([ModelInput(2, 13, ids[13:], 11)])[0].logits
    assert rest is not None
    assert np.array_equal(rest, whole[13:])


@pytest.mark.parametrize(
    ("work", "message"),
    [
        (ModelInput(2, 0, [1]), "slot must be from 0 to 1, not 2"),
        (ModelInput(0, 20, [1] * 5), "5 tokens at position 20 exceed the block size of 24"),
        (ModelInput(0, 0, [23]), "token ids must be from 0 to 22, not 23"),
        (ModelInput(0, 0, [-1]), "token ids must be from 0 to 22, not -1"),
        (ModelInput(0, 0, [1], 2), "n_outputs must be from 0 to 1, not 2"),
        (ModelInput(0, 0, []), "0 tokens at position 0"),
    ],
)
def test_invalid_input_is_an_error(work: ModelInput, message: str) -> None:
    native = NativeBackend(pack(tiny(), random_weights(tiny()), "fp32"), max_num_seqs=2)
    with pytest.raises(ValueError, match=message):
        native.run([work])


def test_duplicate_slot_and_too_many_inputs() -> None:
    native = NativeBackend(pack(tiny(), random_weights(tiny()), "fp32"), max_num_seqs=2)
    with pytest.raises(ValueError, match="slot 1 is used by two inputs"):
        native.run([ModelInput(1, 0, [1]), ModelInput(1, 0, [1])])
    with pytest.raises(ValueError, match="1 to 2 inputs, not 3"):
        native.run([ModelInput(0, 0, [1]), ModelInput(1, 0, [1]), ModelInput(0, 0, [1])])


def test_weights_not_finite() -> None:
    weights = random_weights(tiny())
    weights["h.1.mlp.c_fc.weight"][3, 4] = np.nan
    with pytest.raises(CheckpointError, match=r"weights are damaged: h\.1 contains NaN or infinite values"):
        pack(tiny(), weights, "int8")


def test_invalid_precision_and_threads() -> None:
    with pytest.raises(UsageError, match=r"int6'.*did you mean"):
        pack(tiny(), random_weights(tiny()), "int6")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="threads must be at least 1, not 0"):
        NativeBackend(pack(tiny(), random_weights(tiny()), "fp32"), threads=0)
    assert NativeBackend(pack(tiny(), random_weights(tiny()), "fp32"), threads=1000).threads == len(affinity_cpus())


# Packed files


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    write_arrays(tmp_path, tiny(), random_weights(tiny()))
    return tmp_path


@pytest.mark.parametrize("precision", PRECISIONS)
def test_packed_file_round_trip(checkpoint: Path, precision: Precision) -> None:
    ids = list(range(20))
    expected = logits_of(NativeBackend(load_packed(checkpoint, precision)), ids)
    save_packed(load_packed(checkpoint, precision), checkpoint)
    (checkpoint / "model.safetensors").unlink()
    mapped = load_packed(checkpoint)
    assert isinstance(mapped.data, np.memmap)
    assert np.array_equal(logits_of(NativeBackend(mapped), ids), expected)
    with pytest.raises(UsageError, match=f"packed as {precision} only"):
        load_packed(checkpoint, next(other for other in PRECISIONS if other != precision))


def test_packed_file_of_another_precision(checkpoint: Path) -> None:
    save_packed(load_packed(checkpoint, "int4"), checkpoint)
    assert load_packed(checkpoint).precision == "int4"
    assert load_packed(checkpoint, "fp32").precision == "fp32"


@settings(max_examples=40)
@given(at=st.floats(0, 1, exclude_max=True), change=st.integers(1, 255))
def test_corrupt_packed_file(tmp_path_factory: pytest.TempPathFactory, at: float, change: int) -> None:
    folder = tmp_path_factory.getbasetemp() / "corrupt"
    if not folder.exists():
        write_arrays(folder, tiny(), random_weights(tiny()))
        save_packed(load_packed(folder, "int8"), folder)
        (folder / "original").write_bytes((folder / "packed.safetensors").read_bytes())
    data = bytearray((folder / "original").read_bytes())
    data[int(at * len(data))] ^= change
    (folder / "packed.safetensors").write_bytes(bytes(data))
    try:
        packed = load_packed(folder)
    except CheckpointError:
        return
    assert (
        packed.data.tobytes() == (folder / "original").read_bytes()[-packed.data.nbytes :]
    )  # the change was in the padding of the header


def test_truncated_or_mismatched_packed_file(checkpoint: Path) -> None:
    path = save_packed(load_packed(checkpoint, "int8"), checkpoint)
    whole = path.read_bytes()
    for size in (0, 5, 100, 5000, len(whole) - 1):
        path.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match="export it again"):
            load_packed(checkpoint)
    path.write_bytes(whole)
    config = (checkpoint / "config.json").read_text().replace('"n_layer": 2', '"n_layer": 3')
    (checkpoint / "config.json").write_text(config)
    with pytest.raises(CheckpointError, match=r"does not match config\.json"):
        load_packed(checkpoint)


# The library


def run_python(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False, env=os.environ | environment
    )


@pytest.mark.parametrize("name", ISAS)
def test_isa_environment_variable(name: str) -> None:
    done = run_python(
        "from inkhorn.inference.backends import native_bindings; print(native_bindings.isa())", INKHORN_ISA=name
    )
    assert done.stdout.strip() == name, done.stderr


def test_unsupported_isa_is_an_error() -> None:
    done = run_python("import sys; from inkhorn.cli.main import main; sys.exit(main(['A']))", INKHORN_ISA="altivec")
    assert done.returncode == 2
    assert "INKHORN_ISA=altivec: this CPU supports" in done.stderr


def test_structure_sizes() -> None:
    """Sizes of the structures of inkhorn.h on a 64-bit machine."""
    assert [
        ctypes.sizeof(kind)
        for kind in (
            native_bindings.InkConfig,
            native_bindings.InkSamplingParams,
            native_bindings.InkEdit,
            native_bindings.InkModelInput,
        )
    ] == [48, 72, 32, 88]
