"""Export to GGUF, which llama.cpp runs if it is installed, and to a PyTorch state dict."""

from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.shipped import CHARACTERS

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.checkpoint.weights import read_config, read_weights
from inkhorn.cli.main import main
from inkhorn.convert.formats import open_checkpoint
from inkhorn.convert.gguf import write_gguf
from inkhorn.errors import CheckpointError
from inkhorn.model import GPT
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.bpe import train_bpe
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.tokenizer.load import load_tokenizer
from inkhorn.utils.files import read_json, write_json

TEXT = "To be, or not to be: that is the question.\nIt's 12 o'clock, naïve façade, 日本! 😀\n"
TOKENIZERS: dict[str, Tokenizer] = {"bpe": train_bpe([TEXT * 30], 300), "characters": CharTokenizer(TEXT)}
ASCII = CharTokenizer("abcdefgh .\n")


def run(*words: str) -> int:
    try:
        return main(words)
    except SystemExit as left:
        return int(left.code or 0)


def save(folder: Path, tokenizer: Tokenizer, padding: int = 0, **changes: Any) -> GPT:
    ends = dict.fromkeys(("bos_token_id", "eos_token_id"), tokenizer.eos_id)
    shape: dict[str, Any] = {"vocab_size": tokenizer.vocab_size + padding, "block_size": 64, "n_embd": 32, "n_head": 4}
    model = tiny_model(tiny_config(**shape | ends | changes))
    save_checkpoint(folder, model, tokenizer)
    return model


def field(reader: gguf.GGUFReader, name: str) -> Any:
    found = reader.get_field(name)
    assert found is not None, name
    return found.contents()


@pytest.mark.parametrize("tied", [True, False])
def test_float32_bit_exact(tied: bool, tmp_path: Path) -> None:
    save(tmp_path, ASCII, tie_word_embeddings=tied, n_inner=96)
    write_gguf(tmp_path, tmp_path / "all.gguf", "f32")
    found = {tensor.name: tensor.data for tensor in gguf.GGUFReader(tmp_path / "all.gguf").tensors}
    config = read_config(tmp_path)
    weights = read_weights(tmp_path, config)
    assert len(found) == len(weights)
    for ours, theirs in {
        "wte.weight": "token_embd.weight",
        "wpe.weight": "position_embd.weight",
        "h.0.ln_1.bias": "blk.0.attn_norm.bias",
        "ln_f.weight": "output_norm.weight",
    }.items():
        assert np.array_equal(found[theirs], weights[ours]), ours
    for ours, theirs in {
        "attn.c_attn": "attn_qkv",
        "attn.c_proj": "attn_output",
        "mlp.c_fc": "ffn_up",
        "mlp.c_proj": "ffn_down",
    }.items():
        assert np.array_equal(found[f"blk.1.{theirs}.weight"], weights[f"h.1.{ours}.weight"].T), ours
        assert np.array_equal(found[f"blk.1.{theirs}.bias"], weights[f"h.1.{ours}.bias"]), ours
    if not tied:
        assert np.array_equal(found["output.weight"], weights["lm_head.weight"])


def test_metadata(tmp_path: Path) -> None:
    save(tmp_path, ASCII, padding=5)
    write_gguf(tmp_path, tmp_path / "m.gguf", "q8_0")
    reader = gguf.GGUFReader(tmp_path / "m.gguf")
    assert field(reader, "tokenizer.ggml.bos_token_id") == ASCII.eos_id
    assert field(reader, "tokenizer.ggml.eos_token_id") == ASCII.eos_id  # not llama.cpp's 11
    assert field(reader, "gpt2.context_length") == 64
    tokens = field(reader, "tokenizer.ggml.tokens")
    assert tokens[:3] == ["Ċ", "Ġ", "."]
    assert tokens[ASCII.vocab_size - 1 :] == ["<|endoftext|>", *(f"[padding {ASCII.vocab_size + i}]" for i in range(5))]
    kinds = {tensor.name: tensor.tensor_type.name for tensor in reader.tensors}
    assert kinds["blk.0.ffn_up.weight"] == kinds["token_embd.weight"] == "Q8_0"
    assert kinds["position_embd.weight"] == kinds["blk.0.ffn_up.bias"] == "F32"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "openai-gpt"}, "is a GPT-1, which llama.cpp does not support"),
        ({"activation_function": "gelu"}, "uses the activation gelu"),
        ({"activation_function": "relu"}, "uses the activation relu"),
    ],
)
def test_models_unsupported_by_llama_cpp(
    changes: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    save(tmp_path / "m", ASCII, **changes)
    assert run("export", str(tmp_path / "m"), "--gguf", str(tmp_path / "m.gguf")) == 1
    assert message in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_missing_end_token(tmp_path: Path) -> None:
    save(tmp_path, TOKENIZERS["bpe"], bos_token_id=None, eos_token_id=None)
    write_gguf(tmp_path, tmp_path / "m.gguf")  # the vocabulary's <|endoftext|> is meant
    spec = read_json(tmp_path / "tokenizer.json")
    spec["added_tokens"][0]["content"] = "<end>"
    write_json(tmp_path / "tokenizer.json", spec)
    with pytest.raises(CheckpointError, match="would use token 11"):
        write_gguf(tmp_path, tmp_path / "n.gguf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"pre_tokenizer": {"type": "Whitespace"}}, "pre_tokenizer Whitespace"),
        ({"normalizer": {"type": "Lowercase"}}, "a normalizer"),
    ],
)
def test_unsupported_tokenizers(change: dict[str, Any], message: str, tmp_path: Path) -> None:
    save(tmp_path, TOKENIZERS["bpe"])
    write_json(tmp_path / "tokenizer.json", read_json(tmp_path / "tokenizer.json") | change)
    with pytest.raises(CheckpointError, match=message):
        write_gguf(tmp_path, tmp_path / "m.gguf")
    assert not list(tmp_path.glob("*.gguf*"))


def test_values_beyond_float16(tmp_path: Path) -> None:
    model = save(tmp_path, ASCII)
    with torch.no_grad():
        model.h[0].mlp.c_fc.weight[0, 0] = 1e6  # type: ignore[union-attr,operator]
    model.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match="beyond the range of float16: use --gguf-type f32"):
        write_gguf(tmp_path, tmp_path / "m.gguf")
    write_gguf(tmp_path, tmp_path / "m.gguf", "f32")


# llama.cpp itself


@pytest.fixture(scope="module")
def llama() -> Any:
    return pytest.importorskip("llama_cpp", reason="llama-cpp-python is not installed")


LEAD = 0.03
"""twice the largest deviation of llama.cpp's logits here: its table of GELU and its cache are in float16"""


def greedy(model: GPT, ids: list[int], new: int) -> list[int]:
    """The reference's greedy text, up to the first near tie of the two largest logits."""
    idx = torch.tensor([ids])
    for _ in range(new):
        with torch.no_grad():
            logits = model(idx)[0][0, -1]
        best = logits.topk(2).values
        if best[0] - best[1] < LEAD:
            break
        idx = torch.cat([idx, logits.argmax()[None, None]], 1)
    return idx[0, len(ids) :].tolist()


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f32", "f16"])
@pytest.mark.parametrize("name", ["bpe", "characters"])
@pytest.mark.parametrize("tied", [True, False])
def test_llama_cpp_logits_and_text(llama: Any, kind: Any, name: str, tied: bool, tmp_path: Path) -> None:
    tokenizer = TOKENIZERS[name]
    ours = save(tmp_path, tokenizer, padding=3, tie_word_embeddings=tied)
    write_gguf(tmp_path, tmp_path / "m.gguf", kind)
    model = llama.Llama(str(tmp_path / "m.gguf"), n_ctx=64, n_threads=1, verbose=False)
    assert model.tokenize(TEXT.encode(), add_bos=False) == tokenizer.encode(TEXT).tolist()
    assert model.detokenize(tokenizer.encode(TEXT).tolist()).decode() == TEXT
    assert (model.token_bos(), model.token_eos()) == (tokenizer.eos_id, tokenizer.eos_id)
    compared = 0
    for prompt in ("To be, or not", "It's 12", "question", "naïve 日本"):
        ids = tokenizer.encode(prompt).tolist()
        expected = greedy(ours, ids, 24)
        drawn = model.generate(ids, temp=0.0, repeat_penalty=1.0)
        assert [int(next(drawn)) for _ in expected] == expected
        compared += len(expected)
    assert compared > 20


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["f16", "q8_0"])
def test_llama_cpp_generates_shakespeare(
    llama: Any, kind: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The shipped model, exported by the command, generates the same greedy text."""
    file = tmp_path / "shakespeare.gguf"
    assert run("export", "shakespeare", "--gguf", str(file), "--gguf-type", kind) == 0
    assert f"GGUF {kind}" in capsys.readouterr().out
    model = llama.Llama(str(file), n_ctx=256, n_threads=1, verbose=False)
    theirs = model.create_completion("ROMEO:", max_tokens=100, temperature=0, repeat_penalty=1.0)["choices"][0]["text"]
    assert run("generate", "ROMEO:", "--temperature", "0", "--max-tokens", "100", "--quantize", "fp32") == 0
    assert capsys.readouterr().out.rstrip("\n") == "ROMEO:" + theirs.rstrip("\n")
    assert run("export", "shakespeare", "--gguf", str(file)) == 1
    assert "already exists" in capsys.readouterr().err


# A state dict


def test_state_dict_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", CHARACTERS, "--state-dict", "nanoGPT.pth") == 0
    lines = """
import inkhorn, torch
model = inkhorn.GPT(inkhorn.ModelConfig(vocab_size=66))
model.load_state_dict(torch.load("nanoGPT.pth", weights_only=True))
"""
    names: dict[str, Any] = {}
    exec(lines, names)
    idx = torch.tensor([[30, 27, 25, 17, 27, 10]])
    with torch.no_grad():
        found, expected = names["model"](idx)[0], GPT.from_pretrained(SHIPPED[CHARACTERS])(idx)[0]
    assert torch.equal(found, expected)


def test_state_dict_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    save(Path("mine"), TOKENIZERS["characters"])
    assert run("export", "mine", "--state-dict", "mine.pth") == 0
    assert run("import", "mine.pth", "--n-head", "4", "--tokenizer", "mine", "--out", "back") == 0
    assert read_config(Path("back")) == read_config(Path("mine"))
    assert load_tokenizer(Path("back")).fingerprint() == load_tokenizer(Path("mine")).fingerprint()
    again = open_checkpoint(Path("back")).tensors
    assert all(np.array_equal(read(), again[name]()) for name, read in open_checkpoint(Path("mine")).tensors.items())


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["shakespeare"], "exactly one output of OUT (a folder), --state-dict, --gguf, --web, --hub, not none"),
        (["shakespeare", "out", "--gguf", "a.gguf"], "not OUT (a folder) and --gguf"),
        (["--gguf", "a.gguf", "--state-dict", "a.pth"], "not --state-dict and --gguf"),
        (["--gguf", "a.gguf", "--dtype", "float32"], "--dtype float32 needs OUT"),
        (["--state-dict", "a.pth", "--quantize", "int8"], "--quantize int8 needs OUT"),
        (["shakespeare", "out", "--gguf-type", "f32"], "--gguf-type f32 needs --gguf"),
        (["shakespeare", "out", "--dtype", "float32", "--quantize", "int8"], "not both"),
    ],
)
def test_output_flags_are_exclusive(
    words: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run("export", *words) == 2
    assert message in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_unwritable_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("in the way")
    for flag in ("--gguf", "--state-dict"):
        assert run("export", flag, str(tmp_path / "file" / "m")) == 1
        assert "file" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_name_and_license(tmp_path: Path) -> None:
    write_gguf(SHIPPED["shakespeare"], tmp_path / "shipped.gguf", vocabulary=False)
    reader = gguf.GGUFReader(tmp_path / "shipped.gguf")
    assert (field(reader, "general.name"), field(reader, "general.license")) == ("shakespeare", "mit")
    step = tmp_path / "mine" / "step-0000400"
    save(step, ASCII)
    write_gguf(step, tmp_path / "mine.gguf")
    reader = gguf.GGUFReader(tmp_path / "mine.gguf")
    assert field(reader, "general.name") == "mine"
    assert reader.get_field("general.license") is None
