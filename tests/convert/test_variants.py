"""Variants of config, tensors and tokenizer files: each gives transformers' result, or is refused by name."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AutoTokenizer, GPT2Config, GPT2LMHeadModel

from inkhorn.checkpoint.weights import read_config, read_weights, write_weights
from inkhorn.cli.main import main
from inkhorn.config.sampling import SamplingParams
from inkhorn.convert.converted import ConvertedModel
from inkhorn.convert.formats import open_checkpoint
from inkhorn.convert.vocabulary import choose, read_meta
from inkhorn.errors import CheckpointError
from inkhorn.inference.engine import Engine
from inkhorn.model import GPT
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.load import load_tokenizer

IDS = torch.arange(5, 25)[None]
TEXT = "Sing, goddess, the anger of Peleus' son Achilles. "
C_FC = "transformer.h.0.mlp.c_fc.weight"


def theirs(folder: Path, vocab_size: int = 280, **changes: Any) -> Any:
    torch.manual_seed(0)
    options = {"n_positions": 32, "n_embd": 24, "n_layer": 3, "n_head": 3, "initializer_range": 0.3}
    ends = {"bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=vocab_size, **options | ends | changes)).eval()
    model.save_pretrained(folder)
    return model


def bpe(special: tuple[str, ...] = (END_OF_TEXT,), size: int = 280, prefix: bool = False) -> Tokenizer:
    inner = Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=list(special), initial_alphabet=alphabet, show_progress=False
    )
    inner.train_from_iterator([TEXT * 20], trainer)
    return inner


def save_tokenizer(inner: Tokenizer, folder: Path, **config: Any) -> None:
    inner.save(str(folder / "tokenizer.json"))
    content = {"tokenizer_class": "PreTrainedTokenizerFast"} | config
    (folder / "tokenizer_config.json").write_text(json.dumps(content))


def edit_config(folder: Path, **changes: Any) -> None:
    path = folder / "config.json"
    config = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in config.items() if value is not ...}))


def converted(imported: ConvertedModel, folder: Path) -> GPT:
    write_weights(folder, imported.config, imported.tensors, imported.dtype)
    return GPT.from_pretrained(folder)


def assert_same_logits(ours: GPT, model: Any) -> None:
    with torch.no_grad():
        torch.testing.assert_close(ours(IDS)[0], model(IDS).logits, atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    "options",
    [
        {"reorder_and_upcast_attn": True},
        {"activation_function": "gelu_pytorch_tanh"},
        {"activation_function": "gelu_fast"},
        {"scale_attn_by_inverse_layer_idx": True},
        {"scale_attn_weights": False},
        {"scale_attn_by_inverse_layer_idx": True, "scale_attn_weights": False, "reorder_and_upcast_attn": True},
    ],
)
def test_options_are_folded(options: dict[str, Any], tmp_path: Path) -> None:
    model = theirs(tmp_path / "theirs", **options)
    assert_same_logits(converted(open_checkpoint(tmp_path / "theirs"), tmp_path / "ours"), model)


def test_head_that_differs_is_kept(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    theirs(folder, tie_word_embeddings=False)
    edit_config(folder, tie_word_embeddings=True)
    model = GPT2LMHeadModel.from_pretrained(folder).eval()
    assert_same_logits(converted(open_checkpoint(folder), tmp_path / "ours"), model)
    with pytest.raises(CheckpointError, match=r"lm_head.weight differs.*inkhorn import"):
        read_weights(folder, read_config(folder))


def test_repeated_head_is_accepted(tmp_path: Path) -> None:
    model = theirs(tmp_path)
    state = load_file(tmp_path / "model.safetensors")
    save_file(state | {"lm_head.weight": state["transformer.wte.weight"].clone()}, tmp_path / "model.safetensors")
    assert_same_logits(GPT.from_pretrained(tmp_path), model)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda x: (x * 20).to(torch.int8), "int8"),
        (lambda x: (x * 20).to(torch.int64), "int64"),
        (lambda x: x > 0, "bool"),
        (lambda x: x.to(torch.complex64), "complex64"),
        (lambda x: x.to(torch.float8_e4m3fn), "float8"),
        (lambda x: x.to_sparse(), "sparse"),
        (lambda x: x.to("meta"), "without values"),
        (lambda x: torch.quantize_per_tensor(x, 0.1, 0, torch.qint8), "qint8"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*quantize_per_tensor")
def test_pickled_tensors_of_other_types(change: Any, named: str, tmp_path: Path) -> None:
    folder, ours = tmp_path / "theirs", tmp_path / "ours"
    state = {name: value.clone() for name, value in theirs(folder).state_dict().items()}
    (folder / "model.safetensors").unlink()
    state[C_FC] = change(state[C_FC])
    torch.save(state, folder / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=f"(?s)mlp.c_fc.weight.*{named}|cannot read|would run code"):
        converted(open_checkpoint(folder), ours)


@pytest.mark.parametrize("kind", ["integer keys", "self", "vector"])
def test_pickles_of_other_structure(kind: str, tmp_path: Path) -> None:
    found: dict[Any, Any] = {"model": {0: torch.zeros(1)}}
    if kind == "self":
        found["model"] = found
    if kind == "vector":
        found = {"wte.weight": torch.zeros(3), "h.0.attn.c_attn.weight": torch.zeros(9, 3)}
    torch.save(found, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"a\.pt"):
        open_checkpoint(tmp_path / "a.pt")


@pytest.mark.parametrize("value", [b"Finf\n", b"\x8a\xff" + b"\xff" * 9])
def test_meta_with_invalid_numbers(value: bytes, tmp_path: Path) -> None:
    path = tmp_path / "meta.pkl"
    path.write_bytes(b"\x80\x02}X\x04\x00\x00\x00stoi}X\x01\x00\x00\x00a" + value + b"ss.")
    with pytest.raises(CheckpointError, match=r"meta\.pkl"):
        read_meta(path)


def test_state_dict_keeps_the_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    model = theirs(tmp_path / "theirs", layer_norm_epsilon=1e-2, activation_function="relu")
    save_tokenizer(bpe(), tmp_path / "theirs")
    assert main(["import", "theirs", "--out", "a"]) == 0
    assert main(["export", "a", "--state-dict", "a.pth"]) == 0
    assert main(["import", "a.pth", "--tokenizer", "a", "--out", "b"]) == 0
    assert_same_logits(GPT.from_pretrained(tmp_path / "b"), model)
    ours = GPT.from_pretrained(tmp_path / "a")
    ours.load_state_dict(torch.load("a.pth", weights_only=True))


def test_other_alphabet_of_the_same_size(tmp_path: Path) -> None:
    """A nanoGPT has no <|endoftext|>: an alphabet one character short is not its own."""
    model = theirs(tmp_path / "theirs", vocab_size=5, bos_token_id=None, eos_token_id=None)
    state = {
        name: (value.T if ".h." in name and value.dim() == 2 else value).contiguous()
        for name, value in model.state_dict().items()
    }
    arguments = {"n_layer": 3, "n_head": 3, "n_embd": 24, "block_size": 32, "bias": True, "vocab_size": 5}
    torch.save({"model": state, "model_args": arguments}, tmp_path / "ckpt.pt")
    (tmp_path / "short.txt").write_text("abcd")
    with pytest.raises(CheckpointError, match="not the alphabet"):
        choose(tmp_path, open_checkpoint(tmp_path / "ckpt.pt"), tmp_path / "short.txt", None)


def imported_ids(folder: Path, out: Path, text: str) -> list[int]:
    assert main(["import", str(folder), "--out", str(out)]) == 0
    ids: list[int] = load_tokenizer(out).encode(text).tolist()
    assert AutoTokenizer.from_pretrained(out)(text)["input_ids"] == ids
    return ids


@pytest.mark.parametrize("prefix", [False, True])
@pytest.mark.parametrize("files", ["added_tokens", "decoder", "none"])
def test_vocabulary_and_merges(files: str, prefix: bool, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    theirs(folder, vocab_size=282)
    bpe(("<s>", "</s>", "<unk>")).model.save(str(folder))
    named = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    config: dict[str, Any] = {"tokenizer_class": "GPT2Tokenizer", "add_prefix_space": prefix} | named
    if files == "added_tokens":
        (folder / "added_tokens.json").write_text(json.dumps({"<start>": 280, "<pad>": 281}))
        (folder / "special_tokens_map.json").write_text(json.dumps(named))
    if files == "decoder":
        token = {"content": "<start>", "lstrip": True, "rstrip": False, "single_word": False, "normalized": False}
        config["added_tokens_decoder"] = {"280": token | {"special": False}}
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    text = f"<s>Sing  <start>, goddess<pad>{END_OF_TEXT}</s>"
    expected = AutoTokenizer.from_pretrained(folder)(text)["input_ids"]
    assert imported_ids(folder, tmp_path / "ours", text) == expected


@pytest.mark.parametrize("kind", ["GPT2Tokenizer", "PreTrainedTokenizerFast"])
@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_prefix_space_in_two_files(kind: str, inside: bool, beside: bool, tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    theirs(folder)
    save_tokenizer(bpe(prefix=inside), folder, tokenizer_class=kind, add_prefix_space=beside)
    expected = AutoTokenizer.from_pretrained(folder)(TEXT)["input_ids"]
    assert imported_ids(folder, tmp_path / "ours", TEXT) == expected


def test_token_without_embedding_is_left_out(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    theirs(folder)
    inner = bpe()
    inner.add_special_tokens(["[PAD]"])
    save_tokenizer(inner, folder, pad_token="[PAD]")
    assert main(["import", str(folder), "--out", str(tmp_path / "ours")]) == 0
    ours = load_tokenizer(tmp_path / "ours")
    assert ours.vocab_size == 280
    assert ours.decode(ours.encode("a[PAD]")) == "a[PAD]"


@pytest.mark.parametrize("file", ["config.json", "generation_config.json"])
def test_several_tokens_end_a_text(file: str, tmp_path: Path) -> None:
    folder, out = tmp_path / "theirs", tmp_path / "ours"
    theirs(folder)
    save_tokenizer(bpe(), folder)
    ends = list(range(0, 280, 2))
    path = folder / file
    path.write_text(json.dumps(json.loads(path.read_text()) | {"eos_token_id": ends}))
    if file == "config.json":
        (folder / "generation_config.json").unlink()
    assert main(["import", str(folder), "--out", str(out)]) == 0
    with Engine.from_pretrained(out, backend="numpy") as engine:
        params = SamplingParams(max_tokens=20, temperature=1.0, seed=1)
        sampled = engine.submit("Sing", params).result()
        assert sampled.finish_reason == "stop"
        assert all(token % 2 for token in sampled.token_ids[:-1])  # the last one may be the end itself


@pytest.mark.parametrize("option", ["lstrip", "rstrip", "single_word"])
def test_gguf_refuses_tokens_that_depend_on_neighbors(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "ours"
    theirs(folder, vocab_size=281)
    inner = bpe()
    inner.add_tokens([AddedToken("<mask>", **{option: True})])
    save_tokenizer(inner, folder)
    assert main(["export", str(folder), "--gguf", str(tmp_path / "a.gguf")]) == 1
    assert option in capsys.readouterr().err


def test_token_without_embedding_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "theirs", tmp_path / "ours"
    theirs(folder)
    inner = bpe()
    inner.add_special_tokens(["[PAD]"])  # to the tokenizer alone
    save_tokenizer(inner, folder, pad_token="[PAD]", mask_token="[MASK]")
    assert main(["import", str(folder), "--out", str(out)]) == 0
    assert "[PAD], [MASK]: left out of the vocabulary" in capsys.readouterr().out


def test_hub_name_with_dot(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def download(*given: Any) -> Path:
        asked.append(given)
        return Path("none")

    monkeypatch.setattr("inkhorn.cli.import_.download_checkpoint", download)
    assert main(["import", "owner/Model-1.3B"]) == 1
    assert asked == [("owner/Model-1.3B", None)]


def test_user_files_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    theirs(tmp_path / "theirs")
    save_tokenizer(bpe(), tmp_path / "theirs")
    mine = [Path("models/theirs.tmp/a.txt"), Path("repo/README.md"), Path("repo2/tokenizer.json")]
    for path in mine:
        path.parent.mkdir(parents=True)
        path.write_text("mine")
    (tmp_path / "theirs" / "README.md").write_text("theirs")
    assert main(["import", "theirs"]) == 0
    assert main(["export", "models/theirs", "repo"]) == 1
    assert main(["export", "models/theirs", "repo2"]) == 1
    assert [path.read_text() for path in mine] == ["mine"] * 3


def test_weights_of_other_formats_name_the_way_out(tmp_path: Path) -> None:
    theirs(tmp_path)
    (tmp_path / "model.safetensors").rename(tmp_path / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match=r"pytorch_model.bin.*inkhorn import"):
        GPT.from_pretrained(tmp_path)


def test_loss_of_a_text_equals_transformers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = theirs(tmp_path / "ours")
    save_tokenizer(bpe(), tmp_path / "ours")
    text = TEXT[:24]
    (tmp_path / "a.txt").write_text(text)
    ids = AutoTokenizer.from_pretrained(tmp_path / "ours")(text, return_tensors="pt")["input_ids"]
    assert main(["eval", "--model", str(tmp_path / "ours"), "--text", str(tmp_path / "a.txt"), "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    start = model.config.eos_token_id if model.config.bos_token_id is None else model.config.bos_token_id
    assert result["tokens"] == ids.shape[1]
    ids = torch.cat((torch.tensor([[start]]), ids), 1)
    with torch.no_grad():
        expected = model(ids, labels=ids).loss.item()
    assert result["loss"] == pytest.approx(expected, abs=1e-4)
