"""The page's engine in Node, compared with the NumPy model and with the server's engine."""

import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.server import complete, folder_client, stream_chunks
from helpers.web import SHIPPED, VERSE, export_tiny, run_engine, save_bpe_checkpoint

import inkhorn
from inkhorn.config.interventions import Intervention
from inkhorn.config.quantization import PRECISIONS, Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference import sampling
from inkhorn.inference.activation_files import SteeringFacts, steering_path, write_activations
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.base import ModelInput
from inkhorn.inference.backends.native_backend import NativeBackend
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.backends.packed_weights import load_packed
from inkhorn.inference.engine import Engine
from inkhorn.inference.explain import MAX_POSITIONS, explain
from inkhorn.inference.numpy_model import KVCache, NumpyModel
from inkhorn.inference.sequence import window_start
from inkhorn.inspection.importance import importance
from inkhorn.inspection.means import mean_activations
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.web.export import write_site

REASON = native_bindings.unavailable_reason()
pytestmark = pytest.mark.skipif(REASON is not None, reason=str(REASON))


@pytest.fixture
def portable() -> Iterator[None]:
    """The kernel computes without fused multiply-add, as WebAssembly does."""
    assert native_bindings.library().ink_isa_select(b"portable") == 0
    yield
    native_bindings.library().ink_isa_select(None)


@pytest.fixture(scope="module")
def fp32_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The exported page with the shipped model in fp32."""
    out = tmp_path_factory.mktemp("fp32") / "site"
    write_site(SHIPPED, "shakespeare", out, "fp32")
    return out


def native_logits(folder: Path, precision: Precision, ids: list[int]) -> list[list[float]]:
    """The kernel's logits after each token."""
    backend = NativeBackend(load_packed(folder, precision), threads=1, max_num_seqs=1)
    (output,) = backend.run([ModelInput(slot=0, position=0, ids=ids, num_outputs=len(ids))])
    backend.close()
    assert output.logits is not None
    return output.logits.tolist()


SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gelu": {"activation_function": "gelu", "tie_word_embeddings": False},
    "odd": {"n_head": 3, "n_embd": 15, "n_inner": 37, "block_size": 33, "activation_function": "relu"},
    "wide heads": {"n_head": 1, "n_embd": 34, "n_layer": 1},
    "gpt1": {"model_type": "openai-gpt"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_fp32_logits_match_numpy(tmp_path: Path, shape: str) -> None:
    folder = export_tiny(tmp_path, precision="fp32", **SHAPES[shape])
    model = NumpyModel.from_pretrained(tmp_path / "checkpoint")
    ids = np.random.default_rng(1).integers(model.config.vocab_size, size=model.config.block_size).tolist()
    job = {"do": "logits", "folder": str(folder), "ids": ids}
    each, (last,) = run_engine(job, job | {"together": True})
    np.testing.assert_allclose(each, model.forward(ids, KVCache(model.config), all_logits=True), atol=1e-4)
    assert each[-1] == last  # bit for bit


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("shape", ["gpt2", "odd", "gpt1"])
def test_logits_equal_the_portable_kernel(tmp_path: Path, portable: None, shape: str, precision: Precision) -> None:
    """Bit for bit."""
    folder = export_tiny(tmp_path, precision=precision, **SHAPES[shape])
    config = json.loads((folder / "model" / "model.json").read_text())["config"]
    ids = np.random.default_rng(2).integers(config["vocab_size"], size=config["block_size"]).tolist()
    (found,) = run_engine({"do": "logits", "folder": str(folder), "ids": ids})
    assert found == native_logits(tmp_path / "checkpoint", precision, ids)


def test_shipped_logits_equal_the_portable_kernel(shipped_site: Path, portable: None) -> None:
    ids = load_tokenizer(SHIPPED).encode(VERSE).tolist()
    (found,) = run_engine({"do": "logits", "folder": str(shipped_site), "ids": ids})
    assert found == native_logits(SHIPPED, "int8", ids)


def test_sample_matches_python(tiny_site: Path) -> None:
    """The sampler and its random numbers."""
    metadata = json.loads((tiny_site / "model" / "model.json").read_text())
    vocab_size, banned = metadata["config"]["vocab_size"], metadata["tokens"]["banned_ids"]
    assert banned
    rng = np.random.default_rng(4)
    cases: list[tuple[list[float], dict[str, Any], str, int]] = []
    for seed in [0, 2**53 - 1, 2**64 - 1, *range(400)]:
        logits = np.round(rng.normal(scale=3, size=vocab_size), int(rng.integers(0, 4))).astype(np.float32)
        params: dict[str, Any] = {
            "temperature": float(rng.choice([0, 0.3, 0.8, 1.0, 2.5, 1e-300])),
            "top_k": int(rng.choice([0, 1, 3, 10])),
            "top_p": float(rng.choice([1.0, 0.9, 0.5, 1e-9])),
            "min_p": float(rng.choice([0.0, 0.05, 0.5, 1.0])),
        }
        cases.append((logits.tolist(), params, str(seed), int(rng.integers(1000))))
    (drawn,) = run_engine({"do": "sample", "folder": str(tiny_site), "cases": cases})
    for (values, params, seed, position), token in zip(cases, drawn, strict=True):
        allowed = np.array(values)
        allowed[banned] = -np.inf
        u = sampling.uniform(int(seed), 0, position)
        assert token == sampling.sample(allowed, SamplingParams(**params), u), params


def test_log_probabilities_match_python(tiny_site: Path) -> None:
    vocab_size = json.loads((tiny_site / "model" / "model.json").read_text())["config"]["vocab_size"]
    logits = np.round(np.random.default_rng(5).normal(scale=4, size=vocab_size), 1).astype(np.float32)
    job = {"do": "logprobs", "folder": str(tiny_site), "cases": [(logits.tolist(), 3, 5), (logits.tolist(), 0, 99)]}
    ((found, every),) = run_engine(job)
    expected = sampling.token_logprobs(logits, 3, 5)
    assert [token for token, _ in found["top"]] == [token for token, _ in expected.top]
    np.testing.assert_allclose([p for _, p in found["top"]], [p for _, p in expected.top], atol=1e-6)
    assert abs(found["logprob"] - expected.logprob) < 1e-6
    assert len(every["top"]) == vocab_size  # no more than there are


def test_nan_weights_are_an_error(tmp_path: Path) -> None:
    folder = export_tiny(tmp_path)
    file = folder / "model" / "weights.bin"
    data = bytearray(file.read_bytes())
    data[-64:] = np.full(16, np.nan, np.float32).tobytes()  # the bias of the head
    file.write_bytes(data)
    job = {"do": "generate", "folder": str(folder), "request": {"prompt": "a", "max_tokens": 3}}
    (message,) = run_engine(job)
    assert message == "Sampling failed: the model's weights contain invalid values."
    data[:4] = b"none"
    file.write_bytes(data)
    (message,) = run_engine(job)
    assert message == "The model's weights do not fit this version of the page. Reload the page."


REQUESTS: list[dict[str, Any]] = [
    {"max_tokens": 80, "temperature": 0.8, "seed": 1},
    {"max_tokens": 200, "max_words": 9, "temperature": 1.0, "seed": 2},
    {"max_tokens": 60, "temperature": 0.0},
    {"max_tokens": 60, "temperature": 1.0, "seed": 2**53 - 1, "top_k": 5, "top_p": 0.9, "min_p": 0.02},
    {"max_tokens": 100, "temperature": 1.2, "seed": 3, "stop": ("ab", "bb", "hh", "gd")},
]


def check_generation(site: Path, checkpoint: Path, precision: Precision, prompt: str, params: dict[str, Any]) -> None:
    """The page writes the text of the server's engine, with the same log-probabilities."""
    backend = NativeBackend(load_packed(checkpoint, precision), threads=1)
    with Engine(backend, load_tokenizer(checkpoint)) as engine:
        expected = engine.submit(prompt, SamplingParams(**params), logprobs=5).result()
    request = {"prompt": prompt, "logprobs": 5, **params}
    (found,) = run_engine({"do": "generate", "folder": str(site), "request": request})
    assert (found["text"], found["reason"]) == (expected.text, expected.finish_reason)
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]
    for token, expected_token in zip(found["tokens"], expected.logprobs, strict=False):
        assert abs(token["logprob"] - expected_token.logprob) < 1e-4
        assert len(token["top"]) == 5


@pytest.mark.parametrize("params", REQUESTS)
def test_generate_matches_engine(tiny_site: Path, portable: None, params: dict[str, Any]) -> None:
    """Also past the context."""
    check_generation(tiny_site, tiny_site.parent / "checkpoint", "int8", "ab gé", params)


INTERVENTIONS: list[dict[str, Any]] = [
    {"component": "head", "layer": 0, "head": 1},
    {"component": "layer", "layer": 1, "action": "scale", "factor": 0.5},
    {"component": "mlp", "layer": 0, "action": "scale", "factor": -1.5},
    {"component": "resid", "layer": 2, "action": "add", "vector": [0.5, -1.0] * 8, "factor": 2},
    {"component": "resid", "layer": 1, "action": "patch", "prompt": "gé ba", "source_position": -2, "position": 1},
]


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_interventions_match_the_engine(tmp_path: Path, portable: None, kind: str) -> None:
    """Texts and explanations, also past the context, where positions in the cache change."""
    site, checkpoint = export_tiny(tmp_path, precision="fp32", model_type=kind), tmp_path / "checkpoint"
    params: dict[str, Any] = {"max_tokens": 60, "temperature": 1.0, "seed": 8}
    cases = [[], *([each] for each in INTERVENTIONS), INTERVENTIONS]
    base = {"folder": str(site)}
    requests = [{"prompt": "ab gé", "logprobs": 0, "interventions": case, **params} for case in cases]
    explains = [{"do": "explain", "text": "ab gé", "layer": 1, "interventions": case, **base} for case in cases]
    found = run_engine(*({"do": "generate", "request": request, **base} for request in requests), *explains)
    with inkhorn.load(checkpoint, backend="native", precision="fp32", threads=1) as model:
        for case, text, explained in zip(cases, found, found[len(cases) :], strict=False):
            wanted = [Intervention(**fields) for fields in as_tuples(case)]
            assert text["text"] == model.generate("ab gé", interventions=wanted, **params).text, case
            expected = model.explain("ab gé", 1, interventions=wanted).to_json()
            np.testing.assert_allclose(explained["residual_rms"], expected["residual_rms"], atol=2e-3)
            np.testing.assert_allclose(explained["surprisal"][1:], expected["surprisal"][1:], atol=5e-3)
    assert len({text["text"] for text in found[: len(cases)]}) >= 5


LONG = "ab cd ef gh .: AB " * 2
"""A prompt longer than the context of 24 tokens."""
STORED: list[dict[str, Any]] = [
    {"component": "resid", "layer": 1, "action": "add", "vector": "kind", "factor": -3.5},
    {"component": "head", "layer": 1, "head": 1, "action": "mean"},
    {"component": "mlp", "layer": 0, "action": "mean"},
    {"component": "layer", "layer": 1, "action": "mean"},
    {"component": "resid", "layer": 0, "action": "mean"},
    {"component": "resid", "layer": 2, "action": "mean"},
    {"component": "head", "layer": 0, "head": 1, "action": "patch", "prompt": "gh.", "source_position": 1},
    {"component": "attn", "layer": 1, "action": "patch", "prompt": LONG, "source_position": -2, "position": 0},
    {"component": "mlp", "layer": 1, "action": "patch", "prompt": "hg", "position": 1},
    {"component": "mlp", "layer": 0, "action": "patch", "prompt": LONG * 2, "position": 2},
]


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_stored_activations_and_patches_match_the_engine(tmp_path: Path, portable: None, kind: str) -> None:
    """Steering vectors and means, which the export writes, and patches of heads, attention and MLPs."""
    export_tiny(tmp_path, precision="fp32", model_type=kind)
    site, checkpoint = tmp_path / "site", tmp_path / "checkpoint"
    ids, network = load_tokenizer(checkpoint).encode(LONG * 3).tolist(), NumpyModel.from_pretrained(checkpoint)
    write_activations(checkpoint / "inspection" / "means.safetensors", checkpoint, mean_activations(network, ids))
    vector = np.random.default_rng(1).standard_normal(network.config.n_embd).astype(np.float32)
    facts = SteeringFacts("kind", 1, "one", "other", [], {}).to_metadata()
    write_activations(steering_path(checkpoint, "kind"), checkpoint, {"vector": vector}, facts)
    write_site(checkpoint, "tiny", site, "fp32")
    params: dict[str, Any] = {"max_tokens": 40, "temperature": 1.0}
    cases = [(seed, case) for case in ([], *([each] for each in STORED), STORED) for seed in range(4)]
    requests = [
        {"prompt": "ab gé", "logprobs": 0, "interventions": case, "seed": seed, **params} for seed, case in cases
    ]
    (found,) = run_engine({"do": "generateAll", "folder": str(site), "requests": requests})
    with inkhorn.load(checkpoint, backend="native", precision="fp32", threads=1) as model:
        for (seed, case), text in zip(cases, found, strict=True):
            wanted = [Intervention(**fields) for fields in case]
            assert text == model.generate("ab gé", interventions=wanted, seed=seed, **params).text, case
    assert len(set(found)) >= 12


def as_tuples(case: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{name: tuple(x) if isinstance(x, list) else x for name, x in fields.items()} for fields in case]


def test_a_session_forgets_the_interventions_of_the_last_text(tmp_path: Path) -> None:
    site = export_tiny(tmp_path, precision="fp32")
    request = {"prompt": "ab", "max_tokens": 9, "temperature": 0}
    plain, changed = (request | {"interventions": case} for case in ([], [{"component": "mlp", "layer": 0}]))
    ((first, other, again),) = run_engine(
        {"do": "generateAll", "folder": str(site), "requests": [plain, changed, plain]}
    )
    assert first == again != other


@pytest.mark.parametrize("case", [[], INTERVENTIONS[1:2]], ids=["plain", "changed"])
def test_importance_matches_python(tmp_path: Path, case: list[dict[str, Any]]) -> None:
    site = export_tiny(tmp_path, precision="fp32", block_size=90, n_layer=3)
    text = "ab gé. fedc bA:" * 5
    (found,) = run_engine({"do": "importance", "folder": str(site), "request": {"text": text, "interventions": case}})
    with inkhorn.load(tmp_path / "checkpoint", backend="numpy") as model:
        ids = model.engine.encode_prompt(text).token_ids
        edits = model.resolver.resolve([Intervention(**fields) for fields in as_tuples(case)], len(ids))
        expected = importance(NumpyModel.from_pretrained(tmp_path / "checkpoint"), ids, edits).to_json()
    assert len(ids) == 75  # more than the tokens at which parts are switched off
    for name, values in expected.items():
        np.testing.assert_allclose(found["effects"][name], values, atol=2e-3)
    assert found["steps"][-1] == [12, 12]


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"component": "mlp", "layer": 2}, "Layer 2 does not exist: mlp has layers 0 to 1."),
        ({"component": "head", "layer": 0, "head": 2}, "Head 2 does not exist: a layer has heads 0 to 1."),
        ({"component": "resid", "layer": 0, "action": "add", "vector": "x"}, "This model has no steering vector x."),
        (
            {"component": "mlp", "layer": 0, "action": "mean"},
            "This model has no mean activations: make them with inkhorn inspect, then export the page again.",
        ),
        (
            {"component": "mlp", "layer": 0, "action": "patch", "prompt": "ab", "source_position": 2},
            "The source prompt has 2 tokens: there is no token 2.",
        ),
    ],
)
def test_interventions_that_the_page_cannot_do(tmp_path: Path, wanted: dict[str, Any], message: str) -> None:
    request = {"prompt": "a", "max_tokens": 3, "interventions": [wanted]}
    assert run_engine({"do": "generate", "folder": str(export_tiny(tmp_path)), "request": request}) == [message]


def test_fp32_text_is_the_servers(fp32_site: Path) -> None:
    """On the best instruction set of this CPU, whose rounding differs; also past the context."""
    check_generation(fp32_site, SHIPPED, "fp32", "ROMEO:", {"max_tokens": 400, "temperature": 0.8, "seed": 1})


def test_abort_returns_the_tokens_so_far(shipped_site: Path) -> None:
    """The driver's clock adds 1 ms per step: 44 steps until the third yield, the first of them for the prompt."""
    request = {"prompt": "ROMEO:", "max_tokens": 5000, "seed": 1}
    (found,) = run_engine({"do": "generate", "folder": str(shipped_site), "request": request, "abortAfter": 3})
    assert (found["reason"], found["yields"]) == ("abort", 3)
    assert len(found["tokens"]) == 44
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]


def test_window_start_matches_engine() -> None:
    lengths = list(range(1, 60))
    found = run_engine(*({"do": "windows", "lengths": lengths, "block": block} for block in (1, 2, 9, 16)))
    assert found == [[window_start(length, block, "shift") for length in lengths] for block in (1, 2, 9, 16)]


def test_explain_matches_python(fp32_site: Path) -> None:
    reference, tokenizer = NumpyModel.from_pretrained(SHIPPED), load_tokenizer(SHIPPED)
    text = ("An “unknown” word: naïveté. " + VERSE * 24)[:2000]  # longer than the context
    ids = tokenizer.encode(tokenizer.normalize(text)[0]).tolist()
    (found,) = run_engine({"do": "explain", "folder": str(fp32_site), "text": text, "layer": 5})
    expected = {"model": "shakespeare"} | explain(reference, tokenizer, ids, 5).to_json()
    assert list(found) == list(expected)
    for name in ("model", "tokens", "start", "n_layer", "n_head", "layer"):
        assert found[name] == expected[name]
    assert len(found["tokens"]) == MAX_POSITIONS
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
    folder = export_tiny(tmp_path, precision="fp32", model_type="openai-gpt")
    reference = NumpyModel.from_pretrained(tmp_path / "checkpoint")
    tokenizer = load_tokenizer(tmp_path / "checkpoint")
    found, empty, wrong = run_engine(
        {"do": "explain", "folder": str(folder), "text": "abé. gg", "layer": 1},
        {"do": "explain", "folder": str(folder), "text": "", "layer": 0},
        {"do": "explain", "folder": str(folder), "text": "a", "layer": 2},
    )
    expected = explain(reference, tokenizer, tokenizer.encode("abé. gg").tolist(), 1).to_json()
    assert found["lens"]["tokens"] == expected["lens"]["tokens"]
    np.testing.assert_allclose(found["residual_rms"], expected["residual_rms"], atol=2e-3)
    for part in ("attn", "mlp"):
        np.testing.assert_allclose(found["update_rms"][part], expected["update_rms"][part], atol=2e-3)
    assert empty["tokens"] == [END_OF_TEXT]
    texts = [
        {"do": "explain", "folder": str(folder), "text": text, "layer": 0, "add_special_tokens": True}
        for text in ("ab", "")
    ]
    started, nothing = run_engine(*texts)
    expected = explain(reference, tokenizer, tokenizer.encode(f"{END_OF_TEXT}ab").tolist(), 0).to_json()
    assert started["tokens"] == expected["tokens"] == [END_OF_TEXT, "a", "b"]
    np.testing.assert_allclose(started["residual_rms"], expected["residual_rms"], atol=2e-3)
    assert nothing["tokens"] == [END_OF_TEXT]
    assert wrong == "Layer 2 does not exist: the model has layers 0 to 1."


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("text", ["ab gé. fedc bA:" * 4, "abé"])
def test_vectors_match_python(tmp_path: Path, kind: str, text: str) -> None:
    site = export_tiny(tmp_path, precision="fp32", model_type=kind, block_size=90, n_layer=3)
    folder = tmp_path / "checkpoint"
    found, wrong = run_engine(
        {"do": "explain", "folder": str(site), "text": text, "layer": 1, "head": 1},
        {"do": "explain", "folder": str(site), "text": text, "layer": 1, "head": 2},
    )
    ids = load_tokenizer(folder).encode(text).tolist()
    expected = explain(NumpyModel.from_pretrained(folder), load_tokenizer(folder), ids, 1, head=1).to_json()
    assert list(found) == ["model", *expected]
    ours, theirs = found["vectors"], expected["vectors"]
    assert list(ours) == list(theirs)
    for name in ("head", "first", "ids"):
        assert ours[name] == theirs[name]
    for name in ("wte", "wpe", "q", "k", "v", "norm_in", "norm_out", "final", "log_sum"):
        np.testing.assert_allclose(ours[name], theirs[name], atol=1e-3, err_msg=name)
    assert dict(ours["logits"]).keys() == dict(theirs["logits"]).keys()
    np.testing.assert_allclose([x for _, x in ours["logits"]], [x for _, x in theirs["logits"]], atol=1e-3)
    assert wrong == "Head 2 does not exist: a layer has heads 0 to 1."


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
        with Engine(NumpyBackend(NumpyModel.from_pretrained(checkpoint), 1), tokenizer) as engine:
            (found,) = run_engine({"do": "encode", "folder": str(folder), "texts": TEXTS})
            for text, (ids, _) in zip(TEXTS, found, strict=True):
                assert ids == list(engine.encode_prompt(text).token_ids), text


def test_prompt_changes_match_server(tiny_site: Path) -> None:
    with folder_client(tiny_site.parent / "checkpoint") as client:
        (found,) = run_engine({"do": "promptChanges", "folder": str(tiny_site), "texts": TEXTS})
        for text, change in zip(TEXTS, found, strict=True):
            expected = complete(client, prompt=text, max_tokens=1).get("prompt_changes", [None])[0]
            assert (change and {"index": 0} | change) == expected, text


def test_explained_tokens_are_the_text(tmp_path: Path) -> None:
    write_site(save_bpe_checkpoint(tmp_path / "checkpoint"), "bpe", tmp_path / "site")
    text = "To be 🎭 or 字 not—"
    (found,) = run_engine({"do": "explain", "folder": str(tmp_path / "site"), "text": text, "layer": 0})
    assert text.endswith("".join(found["tokens"]))
    assert "" in found["tokens"]  # a token that ends within a character


def test_chunk_reader(tmp_path: Path) -> None:
    """The tokens of each chunk, joined, are its text, also where tokens end within a character or the text is cut."""
    with folder_client(save_bpe_checkpoint(tmp_path)) as client:
        for seed in range(5):
            body: dict[str, Any] = {"prompt": "O", "max_tokens": 200, "temperature": 2, "seed": seed, "logprobs": 5}
            body |= {"max_words": 20} if seed == 1 else {"stop": ["a", "e"]} if seed == 2 else {}
            choices = [choice for chunk in stream_chunks(client, **body) for choice in chunk["choices"]]
            (chunks,) = run_engine({"do": "chunks", "choices": choices})
            assert "".join(chunk["text"] for chunk in chunks) == "".join(choice["text"] for choice in choices)
            tokens = [token for chunk in chunks for token in chunk["tokens"]]
            assert "".join(token["text"] for token in tokens) == "".join(choice["text"] for choice in choices)
            if seed == 0:
                assert len(tokens) == 200
                assert any(token["text"] == "" for token in tokens)
                assert not any(text.startswith("bytes:") for token in tokens for text, _ in token["top"])


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
    banned = np.where(np.arange(tokenizer.vocab_size + 3) < tokenizer.vocab_size, 0, 50).tolist()
    (drawn,) = run_engine({"do": "sample", "cases": [(banned, {}, str(seed), 0) for seed in range(20)], **job})
    assert max(drawn) < tokenizer.vocab_size


def test_each_end_token_of_generation_config_ends_a_text(tmp_path: Path, portable: None) -> None:
    """As on the server. The config's token is one of them only if it is named."""
    export_tiny(tmp_path, precision="fp32")
    checkpoint = tmp_path / "checkpoint"
    request = {"max_tokens": 60, "temperature": 1.0, "seed": 3, "prompt": "ab"}
    for ends in ([0, 1, 2, 3], [15, 4, 5, 6], [7, 8, 9, 10]):
        (checkpoint / "generation_config.json").write_text(json.dumps({"eos_token_id": ends}))
        site = tmp_path / f"site-{ends[0]}"
        write_site(checkpoint, "tiny", site, "fp32")
        (found,) = run_engine({"do": "generate", "folder": str(site), "request": request})
        with Engine.from_pretrained(checkpoint, precision="fp32") as engine:
            params = SamplingParams(max_tokens=60, temperature=1.0, seed=3)
            expected = engine.submit("ab", params).result()
        assert found["text"] == expected.text
        assert found["reason"] == expected.finish_reason == "stop"
