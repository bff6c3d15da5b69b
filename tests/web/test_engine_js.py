"""The page's JavaScript engine in Node, compared with the NumPy model and the Python engine."""

import base64
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.web import SHIPPED, VERSE, export_tiny, quantized_reference, run_engine, save_bpe_checkpoint

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference import sampling
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.engine import Engine
from inkhorn.inference.explain import explain
from inkhorn.inference.numpy_model import KVCache, NumpyModel
from inkhorn.inference.sequence import window_start
from inkhorn.tokenizer.base import END_OF_TEXT, Tokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.web import STATIC_DIR
from inkhorn.web.export import write_site


def test_gpt_js_is_short() -> None:
    assert len((STATIC_DIR / "engine" / "gpt.js").read_text(encoding="utf-8").splitlines()) <= 200


def all_logits(model: NumpyModel, ids: list[int]) -> np.ndarray[Any, Any]:
    return model.forward(ids, KVCache(model.config), all_logits=True)


SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gelu": {"activation_function": "gelu", "tie_word_embeddings": False},
    "odd": {"n_head": 3, "n_embd": 15, "n_inner": 37, "block_size": 33, "activation_function": "relu"},
    "wide heads": {"n_head": 1, "n_embd": 34, "n_layer": 1},
    "gpt1": {"model_type": "openai-gpt"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_match_numpy(tmp_path: Path, shape: str) -> None:
    folder = export_tiny(tmp_path, **SHAPES[shape])
    reference = quantized_reference(tmp_path / "checkpoint")
    rng = np.random.default_rng(1)
    ids = rng.integers(reference.config.vocab_size, size=reference.config.block_size).tolist()
    job = {"do": "logits", "folder": str(folder), "ids": ids}
    fast, slow, uncached = run_engine(job | {"kernels": "wasm"}, job | {"kernels": "scalar"}, job | {"cached": False})
    np.testing.assert_allclose(fast, all_logits(reference, ids), atol=1e-3)
    assert fast == slow == uncached  # bit for bit


def test_shipped_model_logits_match_numpy(shipped_site: Path) -> None:
    ids = load_tokenizer(SHIPPED).encode(VERSE).tolist()
    job = {"do": "logits", "folder": str(shipped_site), "ids": ids}
    fast, slow = run_engine(job, job | {"kernels": "scalar"})
    assert fast == slow
    reference = all_logits(quantized_reference(SHIPPED), ids)
    np.testing.assert_allclose(fast, reference, atol=1e-3)


def test_perplexity_within_one_percent_of_float32(shipped_site: Path) -> None:
    text = (STATIC_DIR.parents[1] / "assets" / "shakespeare" / "README.md").read_text(encoding="utf-8")
    tokenizer = load_tokenizer(SHIPPED)
    ids = tokenizer.encode(tokenizer.normalize(VERSE + text)[0]).tolist()[:256]
    (found,) = run_engine({"do": "logits", "folder": str(shipped_site), "ids": ids})

    def loss(logits: np.ndarray[Any, Any]) -> float:
        wide = logits.astype(np.float64)
        normalizers = np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1)) + wide.max(-1)
        return float((normalizers[:-1] - wide[np.arange(len(ids) - 1), ids[1:]]).mean())

    floats = loss(all_logits(NumpyModel.from_pretrained(SHIPPED), ids))
    assert abs(math.exp(loss(np.array(found)) - floats) - 1) < 0.01


def test_uniform_and_exp_match_python() -> None:
    positions = [(0, 0, 0), (1, 2, 3), (2**64 - 1, 255, 7), (123456789012345, 10**6, 0)]
    values = [0.0, -0.5, -1e-9, -0.34657359027997264, -3.75, -699.9, -700.0, -700.1, -1e300]
    values += np.random.default_rng(3).uniform(-50, 0, 500).tolist()
    drawn, exponentials = run_engine(
        {"do": "uniform", "positions": [[str(seed), index, position] for seed, index, position in positions]},
        {"do": "exp", "values": values},
    )
    assert drawn == [sampling.uniform(*position) for position in positions]
    assert exponentials == sampling.exp(np.array(values)).tolist()


def test_sample_matches_python() -> None:
    rng = np.random.default_rng(4)
    cases: list[tuple[list[float], dict[str, Any], float]] = []
    for _ in range(400):
        logits = np.round(rng.normal(scale=3, size=rng.integers(1, 40)), int(rng.integers(0, 4))).astype(np.float32)
        params: dict[str, Any] = {
            "temperature": float(rng.choice([0, 0.3, 0.8, 1.0, 2.5, 1e-300])),
            "top_k": int(rng.choice([0, 1, 3, 10])),
            "top_p": float(rng.choice([1.0, 0.9, 0.5, 1e-9])),
            "min_p": float(rng.choice([0.0, 0.05, 0.5, 1.0])),
        }
        cases.append((logits.tolist(), params, float(rng.choice([0.0, rng.random(), 1 - 2**-53]))))
    (drawn,) = run_engine({"do": "sample", "cases": cases})
    for (values, params, u), token in zip(cases, drawn, strict=True):
        assert token == sampling.sample(np.array(values), SamplingParams(**params), u), params


def test_log_probabilities_match_python() -> None:
    logits = np.round(np.random.default_rng(5).normal(scale=4, size=50), 1).astype(np.float32)
    (found,) = run_engine({"do": "logprobs", "values": logits.tolist(), "count": 5})
    expected = sampling.token_logprobs(logits, 0, 5).top
    assert [token for token, _ in found] == [token for token, _ in expected]
    np.testing.assert_allclose([p for _, p in found], [p for _, p in expected], atol=1e-12)


def test_nan_weights_are_an_error(tiny_site: Path) -> None:
    broken = tiny_site.parent / "broken"
    shutil.copytree(tiny_site, broken)
    file = broken / "model" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    offset = json.loads(data[8:begin])["ln_f.bias"]["data_offsets"][0]
    data[begin + offset : begin + offset + 4] = np.float32(np.nan).tobytes()
    file.write_bytes(data)
    (message,) = run_engine({"do": "generate", "folder": str(broken), "request": {"prompt": "a", "max_tokens": 3}})
    assert message == "Sampling failed: the model's weights contain invalid values."


def reference_engine(reference: NumpyModel, tokenizer: Tokenizer) -> Engine:
    return Engine(NumpyBackend(reference, 1), tokenizer)


@pytest.mark.parametrize(
    "params",
    [
        {"max_tokens": 80, "temperature": 0.8, "seed": 1},
        {"max_tokens": 200, "max_words": 9, "temperature": 1.0, "seed": 2},
        {"max_tokens": 60, "temperature": 0.0},
        {"max_tokens": 60, "temperature": 1.0, "seed": 2**53 - 1, "top_k": 5, "top_p": 0.9, "min_p": 0.02},
        {"max_tokens": 100, "temperature": 1.2, "seed": 3, "stop": ("ab", "bb", "hh", "gd")},
    ],
)
def test_generate_matches_engine(tiny_site: Path, params: dict[str, Any]) -> None:
    """The same text for a seed, also past the context; the log-probabilities of both kernels agree in every bit."""
    tokenizer = load_tokenizer(tiny_site.parent / "checkpoint")
    with reference_engine(quantized_reference(tiny_site.parent / "checkpoint"), tokenizer) as engine:
        expected = engine.submit("ab gé", SamplingParams(**params), logprobs=5).result()
    found, same = run_engine(
        {"do": "generate", "folder": str(tiny_site), "request": {"prompt": "ab gé", **params}},
        {"do": "generate", "folder": str(tiny_site), "kernels": "scalar", "request": {"prompt": "ab gé", **params}},
    )
    assert (found["text"], found["reason"]) == (expected.text, expected.finish_reason)
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]
    assert [token["logprob"] for token in found["tokens"]] == [token["logprob"] for token in same["tokens"]]
    for token, expected_token in zip(found["tokens"], expected.logprobs, strict=False):
        assert abs(token["logprob"] - expected_token.logprob) < 2e-3
        assert len(token["top"]) == 5


def test_abort_returns_the_tokens_so_far(shipped_site: Path) -> None:
    """The driver's clock adds 1 ms per step: 44 steps until the third yield, 5 of them for the prompt."""
    request = {"prompt": "ROMEO:", "max_tokens": 5000, "seed": 1}
    (found,) = run_engine({"do": "generate", "folder": str(shipped_site), "request": request, "abortAfter": 3})
    assert (found["reason"], found["yields"]) == ("abort", 3)
    assert len(found["tokens"]) == 39
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]


def test_window_start_matches_engine() -> None:
    lengths = list(range(1, 60))
    found = run_engine(*({"do": "windows", "lengths": lengths, "block": block} for block in (1, 2, 9, 16)))
    assert found == [[window_start(length, block, "shift") for length in lengths] for block in (1, 2, 9, 16)]


def test_explain_matches_python(shipped_site: Path) -> None:
    reference, tokenizer = quantized_reference(SHIPPED), load_tokenizer(SHIPPED)
    text = ("An “unknown” word: naïveté. " + VERSE * 4)[:290]
    ids = tokenizer.encode(tokenizer.normalize(text)[0]).tolist()
    (found,) = run_engine({"do": "explain", "folder": str(shipped_site), "text": text, "layer": 5})
    expected = {"model": "shakespeare"} | explain(reference, tokenizer, ids, 5).to_json()
    assert list(found) == list(expected)
    for name in ("model", "tokens", "start", "n_layer", "n_head", "layer"):
        assert found[name] == expected[name]
    assert len(found["tokens"]) == 256
    assert found["surprisal"][0] is None
    np.testing.assert_allclose(found["surprisal"][1:], expected["surprisal"][1:], atol=5e-3)
    np.testing.assert_allclose(found["residual_rms"], expected["residual_rms"], atol=5e-3)
    for part in ("attn", "mlp"):
        np.testing.assert_allclose(found["update_rms"][part], expected["update_rms"][part], atol=3e-3)
    assert [text for text, _ in found["next"]][:3] == [text for text, _ in expected["next"]][:3]
    np.testing.assert_allclose([p for _, p in found["next"]], [p for _, p in expected["next"]], atol=2e-3)
    for bits in (
        (found["attention"], expected["attention"]),
        *((found["lens"][k], expected["lens"][k]) for k in ("probs", "actual")),
    ):
        ours, theirs = (np.frombuffer(base64.b64decode(b), np.uint8).astype(int) for b in bits)
        assert ours.shape == theirs.shape
        assert np.abs(ours - theirs).max() <= 2
    same = np.array(found["lens"]["tokens"]) == np.array(expected["lens"]["tokens"])
    assert same.mean() > 0.995  # two may be equally likely
    for name, vector in found["last"].items():
        theirs = expected["last"][name]
        ours = np.frombuffer(base64.b64decode(vector["data"]), np.int8) * vector["scale"]
        expected_values = np.frombuffer(base64.b64decode(theirs["data"]), np.int8) * theirs["scale"]
        np.testing.assert_allclose(ours, expected_values, atol=1.1 * theirs["scale"])


def test_explain_gpt1_and_empty_text(tmp_path: Path) -> None:
    folder = export_tiny(tmp_path, model_type="openai-gpt")
    reference, tokenizer = quantized_reference(tmp_path / "checkpoint"), load_tokenizer(tmp_path / "checkpoint")
    found, empty, wrong = run_engine(
        {"do": "explain", "folder": str(folder), "text": "abé. gg", "layer": 1},
        {"do": "explain", "folder": str(folder), "text": "", "layer": 0},
        {"do": "explain", "folder": str(folder), "text": "a", "layer": 2},
    )
    expected = explain(reference, tokenizer, tokenizer.encode("abé. gg").tolist(), 1).to_json()
    assert found["lens"]["tokens"] == expected["lens"]["tokens"]
    np.testing.assert_allclose(found["residual_rms"], expected["residual_rms"], atol=2e-3)
    assert empty["tokens"] == [END_OF_TEXT]
    assert wrong == "Layer 2 does not exist: the model has layers 0 to 1."


TEXTS = [
    "To be, or not to be",
    "",
    "“Naïve” façade—it’s 10 € …\tend\r\nnext\rlast",
    f"a{END_OF_TEXT}b{END_OF_TEXT}",
    "  two  spaces \n\n lines  ",
    "字 and 😀, don't we'll I'M x1y22",
]


def test_char_tokenizer_matches_engine(shipped_site: Path, tiny_site: Path) -> None:
    for folder, checkpoint in ((shipped_site, SHIPPED), (tiny_site, tiny_site.parent / "checkpoint")):
        tokenizer = load_tokenizer(checkpoint)
        with reference_engine(NumpyModel.from_pretrained(checkpoint), tokenizer) as engine:
            (found,) = run_engine({"do": "encode", "folder": str(folder), "texts": TEXTS})
            for text, (ids, _) in zip(TEXTS, found, strict=True):
                assert ids == list(engine.encode_prompt(text).token_ids), text


def test_bpe_tokenizer_matches_python(tmp_path: Path) -> None:
    folder = save_bpe_checkpoint(tmp_path / "checkpoint")
    write_site(folder, "bpe", tmp_path / "site")
    tokenizer = load_tokenizer(folder)
    texts, job = [text for text in TEXTS if text], {"folder": str(tmp_path / "site")}
    request = {"prompt": "O", "max_tokens": 60, "seed": 1}
    found, written = run_engine({"do": "encode", "texts": texts, **job}, {"do": "generate", "request": request, **job})
    for text, (ids, _) in zip(texts, found, strict=True):
        assert ids == tokenizer.encode(text).tolist(), text
    assert "".join(token["text"] for token in written["tokens"]) == written["text"]
    assert len(written["tokens"]) == 60
    tokens = json.loads((tmp_path / "site" / "model" / "model.json").read_text())["tokens"]
    assert tokens["banned_ids"] == [tokenizer.vocab_size + i for i in range(3)]  # the padding of the model's vocabulary
