"""The page without a server: its JavaScript in Node against the NumPy oracle, and the command that writes it.

Without Node the tests of the JavaScript are skipped, and say so; INKHORN_REQUIRE_BROWSER=1 makes that a failure.
"""

import base64
import functools
import http.server
import json
import math
import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tokenizers
from helpers.models import save_checkpoint, tiny_config, tiny_model
from tokenizers import decoders, models, pre_tokenizers, trainers

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.cli.main import main
from inkhorn.config.model import ModelConfig
from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.inference import sampling
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.backends.packed_weights import pack
from inkhorn.inference.engine import Engine
from inkhorn.inference.explain import explain
from inkhorn.inference.numpy_model import Cache, ReferenceModel
from inkhorn.inference.window import window_start
from inkhorn.tokenizer.base import END_OF_TEXT, Tokenizer
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.web import STATIC_DIR, export
from inkhorn.web.export import site_tensors, write_site

NODE = shutil.which("node")
SHIPPED = resolve_checkpoint("shakespeare")
VERSE = "JULIET:\nO Romeo, Romeo! wherefore art thou Romeo?\nDeny thy father and refuse thy name;\n"
ALPHABET = "abcdefgh .\n:ABé"


def ask(*jobs: dict[str, Any]) -> list[Any]:
    """The answers of static_page.mjs."""
    if NODE is None:
        if os.environ.get("INKHORN_REQUIRE_BROWSER"):
            pytest.fail("the page's JavaScript cannot be tested: no Node (apt install nodejs)")
        pytest.skip("THE PAGE'S JAVASCRIPT IS NOT TESTED: no Node (apt install nodejs)")
    driver = Path(__file__).with_name("static_page.mjs")
    done = subprocess.run([NODE, driver], input=json.dumps(jobs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [answer.get("result", answer.get("error")) for answer in json.loads(done.stdout)]


def tiny_site(folder: Path, alphabet: str = ALPHABET, **changes: Any) -> Path:
    """A small model's checkpoint in folder/checkpoint, its page in folder/site."""
    tokenizer = CharTokenizer(alphabet)
    ends = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    config = tiny_config(**{"vocab_size": tokenizer.vocab_size, "block_size": 24, **ends, **changes})
    save_checkpoint(folder / "checkpoint", tiny_model(config, scale=0.2), tokenizer)
    write_site(folder / "checkpoint", "tiny", folder / "site")
    return folder / "site"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The page with the shipped model."""
    out = tmp_path_factory.mktemp("page") / "site"
    write_site(SHIPPED, "shakespeare", out)
    return out


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_site(tmp_path_factory.mktemp("tiny"))


def rounded(folder: Path) -> ReferenceModel:
    """The oracle with the weights that the page has, as floats."""
    config = read_config(folder)
    tensors = site_tensors(config, read_weights(folder, config))
    weights = {name: array for name, array in tensors.items() if array.dtype == np.float32 and "scale" not in name}
    for name, array in tensors.items():
        if array.dtype == np.int8:
            wide = array * tensors[name.removesuffix("weight") + "scale"][:, None]
            weights["lm_head.weight" if name == "head.weight" else name] = wide if name == "head.weight" else wide.T
    return ReferenceModel(replace(config, tie_word_embeddings=False), weights)


def every_logit(model: ReferenceModel, ids: list[int]) -> np.ndarray[Any, Any]:
    return model.forward(ids, Cache(model.config), every=True)


def test_it_is_short() -> None:
    assert len((STATIC_DIR / "engine" / "gpt.js").read_text(encoding="utf-8").splitlines()) <= 200


SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "gelu": {"activation_function": "gelu", "tie_word_embeddings": False},
    "odd": {"n_head": 3, "n_embd": 15, "n_inner": 37, "block_size": 33, "activation_function": "relu"},
    "wide heads": {"n_head": 1, "n_embd": 34, "n_layer": 1},
    "gpt1": {"model_type": "openai-gpt"},
}


@pytest.mark.parametrize("shape", SHAPES)
def test_the_logits_are_the_oracle_s(tmp_path: Path, shape: str) -> None:
    folder = tiny_site(tmp_path, **SHAPES[shape])
    oracle = rounded(tmp_path / "checkpoint")
    rng = np.random.default_rng(1)
    ids = rng.integers(oracle.config.vocab_size, size=oracle.config.block_size).tolist()
    job = {"do": "logits", "folder": str(folder), "ids": ids}
    fast, slow, uncached = ask(job | {"memory": "simd"}, job | {"memory": "plain"}, job | {"cached": False})
    np.testing.assert_allclose(fast, every_logit(oracle, ids), atol=1e-3)
    assert fast == slow == uncached  # bit for bit


def test_the_shipped_model_s_logits_and_odds(shipped: Path) -> None:
    ids = load_tokenizer(SHIPPED).encode(VERSE).tolist()
    job = {"do": "logits", "folder": str(shipped), "ids": ids}
    fast, slow = ask(job, job | {"memory": "plain"})
    assert fast == slow
    oracle = every_logit(rounded(SHIPPED), ids)
    np.testing.assert_allclose(fast, oracle, atol=1e-3)


def test_perplexity_is_that_of_the_float_model(shipped: Path) -> None:
    """Within 1 % on a text that no corpus holds just so."""
    text = (STATIC_DIR.parents[1] / "assets" / "shakespeare" / "README.md").read_text(encoding="utf-8")
    tokenizer = load_tokenizer(SHIPPED)
    ids = tokenizer.encode(tokenizer.normalize(VERSE + text)[0]).tolist()[:256]
    (found,) = ask({"do": "logits", "folder": str(shipped), "ids": ids})

    def loss(logits: np.ndarray[Any, Any]) -> float:
        wide = logits.astype(np.float64)
        normalizers = np.log(np.exp(wide - wide.max(-1, keepdims=True)).sum(-1)) + wide.max(-1)
        return float((normalizers[:-1] - wide[np.arange(len(ids) - 1), ids[1:]]).mean())

    floats = loss(every_logit(ReferenceModel.from_pretrained(SHIPPED), ids))
    assert abs(math.exp(loss(np.array(found)) - floats) - 1) < 0.01


def test_weights_are_the_kernel_s() -> None:
    """The same whole numbers, with the same scales, as native/pack.cpp makes."""
    if native_bindings.why_not() is not None:
        pytest.skip(f"no kernel: {native_bindings.why_not()}")
    config = read_config(SHIPPED)
    weights = read_weights(SHIPPED, config)
    packed = pack(config, weights, "int8").data.tobytes()
    tensors = site_tensors(config, weights)
    for name in ("h.0.attn.c_attn", "h.3.mlp.c_proj", "head"):
        rows, scale = (
            tensors[f"{name}.weight"][:16],
            tensors[f"{name}.scale"][:16],
        )  # the kernel's blocks are of 16 rows
        block = (
            (rows.astype(np.int16) + 128).astype(np.uint8).reshape(16, -1, 4).transpose(1, 0, 2)
        )  # (inputs / 4, 16, 4)
        assert block.tobytes() in packed, name
        assert (scale.view(np.uint32) >> 16).astype("<u2").tobytes() in packed, name


def test_rows_of_nothing_and_of_hardly_anything() -> None:
    rows = np.random.default_rng(2).normal(size=(5, 64)).astype(np.float32)
    rows[1], rows[2] = 0, rows[2] * np.float32(1e-42)
    made = export._matrix("m", rows)
    whole, scale = made["m.weight"], made["m.scale"]
    assert np.abs(whole).max() <= 127
    assert not whole[1].any()
    assert np.isfinite(scale).all()
    np.testing.assert_allclose(whole * scale[:, None], rows, atol=np.abs(rows).max() / 127 / 1.9)


def test_the_random_numbers_and_exp_are_python_s() -> None:
    places = [(0, 0, 0), (1, 2, 3), (2**64 - 1, 255, 7), (123456789012345, 10**6, 0)]
    values = [0.0, -0.5, -1e-9, -0.34657359027997264, -3.75, -699.9, -700.0, -700.1, -1e300]
    values += np.random.default_rng(3).uniform(-50, 0, 500).tolist()
    drawn, raised = ask(
        {"do": "uniform", "places": [[str(seed), choice, position] for seed, choice, position in places]},
        {"do": "exp", "values": values},
    )
    assert drawn == [sampling.uniform(*place) for place in places]
    assert raised == sampling.exp(np.array(values)).tolist()


def test_the_same_tokens_are_drawn() -> None:
    rng = np.random.default_rng(4)
    cases: list[tuple[list[float], dict[str, Any], float]] = []
    for _ in range(400):
        logits = np.round(rng.normal(scale=3, size=rng.integers(1, 40)), int(rng.integers(0, 4))).astype(np.float32)
        how: dict[str, Any] = {
            "temperature": float(rng.choice([0, 0.3, 0.8, 1.0, 2.5, 1e-300])),
            "top_k": int(rng.choice([0, 1, 3, 10])),
            "top_p": float(rng.choice([1.0, 0.9, 0.5, 1e-9])),
            "min_p": float(rng.choice([0.0, 0.05, 0.5, 1.0])),
        }
        cases.append((logits.tolist(), how, float(rng.choice([0.0, rng.random(), 1 - 2**-53]))))
    (drawn,) = ask({"do": "sample", "cases": cases})
    for (values, how, u), token in zip(cases, drawn, strict=True):
        assert token == sampling.sample(np.array(values), SamplingParams(**how), u), how


def test_odds_are_told_as_python_tells_them() -> None:
    logits = np.round(np.random.default_rng(5).normal(scale=4, size=50), 1).astype(np.float32)
    (found,) = ask({"do": "odds", "values": logits.tolist(), "count": 5})
    _, expected = sampling.log_probabilities(logits, 0, 5)
    assert [token for token, _ in found] == [token for token, _ in expected]
    np.testing.assert_allclose([odds for _, odds in found], [odds for _, odds in expected], atol=1e-12)


def test_damaged_weights_are_told(tiny: Path) -> None:
    broken = tiny.parent / "broken"
    shutil.copytree(tiny, broken)
    file = broken / "model" / "weights.safetensors"
    data = bytearray(file.read_bytes())
    begin = 8 + int.from_bytes(data[:8], "little")
    place = json.loads(data[8:begin])["ln_f.bias"]["data_offsets"][0]
    data[begin + place : begin + place + 4] = np.float32(np.nan).tobytes()
    file.write_bytes(data)
    (told,) = ask({"do": "write", "folder": str(broken), "request": {"prompt": "a", "max_tokens": 3}})
    assert told == "No token can be drawn: the model's weights are damaged."


def reference_engine(oracle: ReferenceModel, tokenizer: Tokenizer) -> Engine:
    return Engine(NumpyBackend(oracle, 1), tokenizer)


@pytest.mark.parametrize(
    "how",
    [
        {"max_tokens": 80, "temperature": 0.8, "seed": 1},
        {"max_tokens": 200, "max_words": 9, "temperature": 1.0, "seed": 2},
        {"max_tokens": 60, "temperature": 0.0},
        {"max_tokens": 60, "temperature": 1.0, "seed": 2**53 - 1, "top_k": 5, "top_p": 0.9, "min_p": 0.02},
        {"max_tokens": 100, "temperature": 1.2, "seed": 3, "stop": ("ab", "bb", "hh", "gd")},
    ],
)
def test_it_writes_what_the_engine_writes(tiny: Path, how: dict[str, Any]) -> None:
    """Beyond the block too, with the same seed: where odds are not a hair's breadth apart the tokens are the same."""
    tokenizer = load_tokenizer(tiny.parent / "checkpoint")
    with reference_engine(rounded(tiny.parent / "checkpoint"), tokenizer) as engine:
        expected = engine.complete("ab gé", SamplingParams(**how), logprobs=5)
    found, same = ask(
        {"do": "write", "folder": str(tiny), "request": {"prompt": "ab gé", **how}},
        {"do": "write", "folder": str(tiny), "memory": "plain", "request": {"prompt": "ab gé", **how}},
    )
    assert (found["text"], found["reason"]) == (expected.text, expected.finish_reason)
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]
    assert [token["logprob"] for token in found["tokens"]] == [token["logprob"] for token in same["tokens"]]
    for token, odds in zip(found["tokens"], expected.logprobs, strict=False):
        assert abs(token["logprob"] - odds.logprob) < 2e-3
        assert len(token["top"]) == 5


def test_abort_returns_the_tokens_so_far(shipped: Path) -> None:
    """The driver's clock adds 1 ms per step: 44 steps until the third pause, 5 of them for the prompt."""
    request = {"prompt": "ROMEO:", "max_tokens": 5000, "seed": 1}
    (found,) = ask({"do": "write", "folder": str(shipped), "request": request, "abortAfter": 3})
    assert (found["reason"], found["turns"]) == ("abort", 3)
    assert len(found["tokens"]) == 39
    assert "".join(token["text"] for token in found["tokens"]) == found["text"]


ASK = """async () => {
    const loaded = [];
    const { makeLocalClient } = await import("./api/worker_client.js");
    const client = makeLocalClient({ onProgress: (...bytes) => loaded.push(bytes) });
    const [model] = await client.models();
    const request = { model: model.id, prompt: "ROMEO:", max_tokens: 400, temperature: 0.8, seed: 7, logprobs: 5 };
    const texts = ["", "", ""];
    const hear = (i) => ({ onPiece: (piece) => (texts[i] += piece.text) });
    const ends = await Promise.all([client.complete(request, hear(0)), client.complete(request, hear(1))]); // at once
    const control = new AbortController();
    const stopped = client.complete({ ...request, max_tokens: Infinity }, {
        signal: control.signal,
        onPiece: (piece) => {
            texts[2] += piece.text;
            control.abort();
        },
    });
    const look = await client.explain({ model: model.id, text: texts[0], layer: 7 });
    const failure = await client.explain({ model: model.id, text: "a", layer: 99 }).catch((error) => error.message);
    return { model, texts, ends, stopped: await stopped, look, failure, loaded };
}"""


def test_in_a_browser(shipped: Path) -> None:
    """The worker, under the page's own policy: Node writes the same text, and nothing is amiss."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        sync_playwright = None  # type: ignore[assignment]
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if sync_playwright is None or chromium is None:
        why = "no Playwright (pip install playwright)" if chromium else "no Chromium (apt install chromium)"
        if os.environ.get("INKHORN_REQUIRE_BROWSER"):
            pytest.fail(f"the page without a server cannot be tested: {why}")
        pytest.skip(f"THE PAGE WITHOUT A SERVER IS NOT TESTED IN A BROWSER: {why}")
    request = {"prompt": "ROMEO:", "max_tokens": 400, "temperature": 0.8, "seed": 7}
    (expected,) = ask({"do": "write", "folder": str(shipped), "memory": "plain", "request": request})
    wrong: list[str] = []
    with served(shipped.parent) as address, sync_playwright() as driver:
        flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
        browser = driver.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text))
        page.on("request", lambda asked: wrong.append(asked.url) if not asked.url.startswith(address) else None)
        page.goto(f"{address}/{shipped.name}/index.html")
        found = page.evaluate(ASK)
        browser.close()
    assert wrong == []
    assert found["texts"][:2] == [expected["text"]] * 2
    assert [end["finish_reason"] for end in found["ends"]] == ["length"] * 2
    assert found["ends"][0]["fingerprint"] == found["model"]["fingerprint"]
    assert found["model"]["parameters"] == read_config(SHIPPED).num_parameters
    assert found["stopped"]["finish_reason"] == "abort"
    assert 0 < len(found["texts"][2]) < 400
    assert found["texts"][0].endswith("".join(found["look"]["tokens"]))
    assert found["failure"] == "There is no layer 99: the model has 8, from 0."
    size = (shipped / "model" / "weights.safetensors").stat().st_size
    assert found["loaded"][-1] == [size, size]


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """A folder on loopback; gives its address."""

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()


def test_windows_are_the_engine_s() -> None:
    lengths = list(range(1, 60))
    found = ask(*({"do": "windows", "lengths": lengths, "block": block} for block in (1, 2, 9, 16)))
    assert found == [[window_start(length, block, "shift") for length in lengths] for block in (1, 2, 9, 16)]


def test_the_look_inside_is_the_server_s(shipped: Path) -> None:
    oracle, tokenizer = rounded(SHIPPED), load_tokenizer(SHIPPED)
    text = ("An “unknown” word: naïveté. " + VERSE * 4)[:290]
    ids = tokenizer.encode(tokenizer.normalize(text)[0]).tolist()
    (found,) = ask({"do": "explain", "folder": str(shipped), "text": text, "layer": 5})
    expected = {"model": "shakespeare"} | explain(oracle, tokenizer, ids, 5).to_json()
    assert list(found) == list(expected)
    for name in ("model", "tokens", "start", "n_layer", "n_head", "layer"):
        assert found[name] == expected[name]
    assert len(found["tokens"]) == 256
    assert found["surprise"][0] is None
    np.testing.assert_allclose(found["surprise"][1:], expected["surprise"][1:], atol=5e-3)
    np.testing.assert_allclose(found["residual"], expected["residual"], atol=5e-3)
    for part in ("attn", "mlp"):
        np.testing.assert_allclose(found["added"][part], expected["added"][part], atol=3e-3)
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


def test_a_look_inside_a_gpt_1_and_of_nothing(tmp_path: Path) -> None:
    folder = tiny_site(tmp_path, model_type="openai-gpt")
    oracle, tokenizer = rounded(tmp_path / "checkpoint"), load_tokenizer(tmp_path / "checkpoint")
    found, empty, wrong = ask(
        {"do": "explain", "folder": str(folder), "text": "abé. gg", "layer": 1},
        {"do": "explain", "folder": str(folder), "text": "", "layer": 0},
        {"do": "explain", "folder": str(folder), "text": "a", "layer": 2},
    )
    expected = explain(oracle, tokenizer, tokenizer.encode("abé. gg").tolist(), 1).to_json()
    assert found["lens"]["tokens"] == expected["lens"]["tokens"]
    np.testing.assert_allclose(found["residual"], expected["residual"], atol=2e-3)
    assert empty["tokens"] == [END_OF_TEXT]
    assert wrong == "There is no layer 2: the model has 2, from 0."


TEXTS = [
    "To be, or not to be",
    "",
    "“Naïve” façade—it’s 10 € …\tend\r\nnext\rlast",
    f"a{END_OF_TEXT}b{END_OF_TEXT}",
    "  two  spaces \n\n lines  ",
    "字 and 😀, don't we'll I'M x1y22",
    "half \ud83d of a character",
]


def test_character_vocabularies(shipped: Path, tiny: Path) -> None:
    for folder, checkpoint in ((shipped, SHIPPED), (tiny, tiny.parent / "checkpoint")):
        tokenizer = load_tokenizer(checkpoint)
        with reference_engine(ReferenceModel.from_pretrained(checkpoint), tokenizer) as engine:
            (found,) = ask({"do": "encode", "folder": str(folder), "texts": TEXTS[:-1]})
            for text, (ids, _) in zip(TEXTS, found, strict=False):
                assert ids == list(engine.prompt(text).ids), text


def bpe_checkpoint(folder: Path, **options: Any) -> Path:
    inner = tokenizers.Tokenizer(models.BPE(**options))
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet)
    inner.train_from_iterator([VERSE * 3, "don't we'll 10 € naïve façade 字字 😀"], trainer)
    tokenizer = BPETokenizer(inner)
    save_checkpoint(folder, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size + 3, block_size=24)), tokenizer)
    return folder


def test_byte_level_bpe(tmp_path: Path) -> None:
    folder = bpe_checkpoint(tmp_path / "checkpoint")
    write_site(folder, "bpe", tmp_path / "site")
    tokenizer = load_tokenizer(folder)
    texts, job = [text for text in TEXTS[:-1] if text], {"folder": str(tmp_path / "site")}
    request = {"prompt": "O", "max_tokens": 60, "seed": 1}
    found, written = ask({"do": "encode", "texts": texts, **job}, {"do": "write", "request": request, **job})
    for text, (ids, _) in zip(texts, found, strict=True):
        assert ids == tokenizer.encode(text).tolist(), text
    assert "".join(token["text"] for token in written["tokens"]) == written["text"]
    assert len(written["tokens"]) == 60
    tokens = json.loads((tmp_path / "site" / "model" / "model.json").read_text())["tokens"]
    assert tokens["never"] == [tokenizer.vocab_size + i for i in range(3)]  # what only fills the model's vocabulary up


def test_tokenizers_that_the_page_lacks_are_refused(tmp_path: Path) -> None:
    folder = bpe_checkpoint(tmp_path / "checkpoint")
    spec = json.loads((folder / "tokenizer.json").read_text())
    spec["pre_tokenizer"]["add_prefix_space"] = True
    spec["normalizer"] = {"type": "NFC"}
    (folder / "tokenizer.json").write_text(json.dumps(spec))
    with pytest.raises(UsageError, match=r"a normalizer, a prefix space.*inkhorn serve takes all"):
        write_site(folder, "odd", tmp_path / "site")
    assert not (tmp_path / "site").exists()


def files_of(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--web", "deep/site/"]) == 0
    said = capsys.readouterr().out
    assert "MB. Upload the folder to any static host" in said
    assert "python3 -m http.server -d deep/site 8080" in said
    out = tmp_path / "deep" / "site"
    written = files_of(out)
    assert {"index.html", "style.css", "engine/worker.js", "model/model.json", "model/weights.safetensors"} <= written
    assert not {"docs.html", "docs.js"} & written
    assert 9e6 < sum(path.stat().st_size for path in out.rglob("*") if path.is_file()) < 12e6
    page = (out / "index.html").read_text(encoding="utf-8")
    assert '<meta name="inkhorn" content="static">' in page
    assert page.index("Content-Security-Policy") < page.index("<link")
    assert "frame-ancestors" not in page
    facts = json.loads((out / "model" / "model.json").read_text(encoding="utf-8"))
    assert facts["id"] == "shakespeare"
    assert facts["fingerprint"].startswith("fp_")
    assert facts["fingerprint"].endswith("_int8_browser")
    assert (out / "model" / "weights.safetensors").stat().st_mode & 0o444 == 0o444
    (out / "left.over").touch()
    assert main(["export", "--web", "deep/site"]) == 0  # an earlier page is replaced
    assert files_of(out) == written
    assert [path.name for path in out.parent.iterdir()] == ["site"]


def test_the_policy_is_the_server_s() -> None:
    border = pytest.importorskip("inkhorn.server.middleware")
    theirs, ours = (policy.split("; ") for policy in (border.CONTENT_SECURITY_POLICY, export.POLICY))
    assert set(theirs) - set(ours) == {"script-src 'self'", "frame-ancestors 'none'"}
    assert set(ours) - set(theirs) == {"script-src 'self' 'wasm-unsafe-eval'"}


def test_another_folder_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "letters.txt").write_text("dear")
    assert main(["export", "--web", str(tmp_path)]) == 2
    assert "is no page of inkhorn's: give a new or an empty folder" in capsys.readouterr().err
    assert main(["export", "--web", str(tmp_path / "letters.txt")]) == 2
    assert main(["export", "--web", "."]) == 2
    assert "is where you are" in capsys.readouterr().err
    assert files_of(tmp_path) == {"letters.txt"}
    assert main(["export", str(tmp_path), "--web", str(tmp_path / "site")]) == 1
    assert main(["export"]) == 2
    assert files_of(tmp_path) == {"letters.txt"}


def test_nothing_is_left_of_a_page_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder, out = tmp_path / "checkpoint", tmp_path / "site"
    tokenizer = CharTokenizer(ALPHABET)
    config = tiny_config(vocab_size=tokenizer.vocab_size)
    save_checkpoint(folder, tiny_model(config), tokenizer)
    write_site(folder, "tiny", out)
    before = {name: (out / name).read_bytes() for name in files_of(out)}
    monkeypatch.setattr(export, "save_file", full_disk)
    with pytest.raises(OSError, match="No space"):
        write_site(folder, "tiny", out)
    assert {name: (out / name).read_bytes() for name in files_of(out)} == before
    assert {path.name for path in tmp_path.iterdir()} == {"checkpoint", "site"}


def full_disk(*_: Any) -> None:
    raise OSError(28, "No space left on device")


def test_weights_that_are_not_finite_are_refused() -> None:
    config = ModelConfig(vocab_size=3, block_size=4, n_layer=1, n_head=1, n_embd=4)
    weights = {"wte.weight": np.full((3, 4), np.nan, np.float32)}
    with pytest.raises(CheckpointError, match=r"wte\.weight holds values that are not finite"):
        site_tensors(config, weights)
