"""Checkpoints of others become ours, and their logits stay what they were."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import EarlyMinGPT, Lecture, NamedGPT
from helpers.models import tiny_config, tiny_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from inkhorn.checkpoint.tensorfile import stream_weights
from inkhorn.checkpoint.weights import read_weights
from inkhorn.convert.alphabet import BELOW, with_alphabet
from inkhorn.convert.converted import Imported, fold_head
from inkhorn.convert.formats import Hints, open_checkpoint
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.model import GPT

IDX = torch.randint(17, (3, 12), generator=torch.Generator().manual_seed(1))
HF: dict[str, Any] = {"vocab_size": 17, "n_positions": 12, "n_embd": 24, "n_layer": 2, "n_head": 3}


def ours(imported: Imported, folder: Path) -> GPT:
    """What generate, train and eval would load."""
    stream_weights(folder, imported.config, imported.tensors, imported.dtype)
    return GPT.from_pretrained(folder)


def logits(model: Any, idx: Tensor = IDX) -> Tensor:
    with torch.no_grad():
        found = model(idx)
    return found[0] if isinstance(found, tuple) else getattr(found, "logits", found)


def assert_close(imported: Imported, model: nn.Module, folder: Path) -> None:
    expected = logits(model)
    assert expected.std() > 0.1  # or any logits would do
    torch.testing.assert_close(logits(ours(imported, folder)), expected, atol=1e-5, rtol=0)


def transformers_model(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**HF | {"initializer_range": 0.2} | changes)).eval()
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**HF | {"initializer_range": 0.2} | changes)).eval()


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_transformers_folders_keep_every_bit(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = transformers_model(kind).to(dtype)
    model.save_pretrained(tmp_path / "theirs")
    imported = open_checkpoint(tmp_path / "theirs")
    stream_weights(tmp_path / "ours", imported.config, imported.tensors, imported.dtype)
    again = type(model).from_pretrained(tmp_path / "ours")
    assert again.dtype == dtype
    for (name, mine), (_, theirs) in zip(again.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name
    if dtype == torch.float32:
        assert_close(imported, model, tmp_path / "again")


@pytest.mark.parametrize(
    "changes",
    [
        {"tie_word_embeddings": False},
        {"activation_function": "gelu"},
        {"activation_function": "relu", "n_inner": 40, "layer_norm_epsilon": 1e-3},
    ],
)
def test_what_the_config_says_is_honoured(changes: dict[str, Any], tmp_path: Path) -> None:
    model = transformers_model("gpt2", **changes)
    model.save_pretrained(tmp_path / "theirs")
    assert_close(open_checkpoint(tmp_path / "theirs"), model, tmp_path / "ours")


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "shards.safetensors", "shards.bin"])
def test_old_files_with_mask_buffers_bare_names_and_shards(prefix: str, file: str, tmp_path: Path) -> None:
    """The files of OpenAI's models on the hub: bare names and `attn.bias`; large models come in shards."""
    model = transformers_model("gpt2")
    state = {
        n.replace("transformer.", prefix): t.clone() for n, t in model.state_dict().items() if n != "lm_head.weight"
    }
    state |= {f"{prefix}h.{i}.attn.bias": torch.ones(1, 1, 12, 12).tril() for i in range(2)}
    (tmp_path / "config.json").write_text(json.dumps(model.config.to_dict()))
    save, stem = (save_file, "model.safetensors") if "safetensors" in file else (torch.save, "pytorch_model.bin")
    if file.startswith("shards"):
        names = sorted(state)
        base, _, ending = stem.partition(".")
        shards = {f"{base}-0000{i + 1}-of-00003.{ending}": names[i::3] for i in range(3)}
        for shard, its in shards.items():
            save({name: state[name] for name in its}, tmp_path / shard)
        where = {name: shard for shard, its in shards.items() for name in its}
        (tmp_path / f"{stem}.index.json").write_text(json.dumps({"metadata": {}, "weight_map": where}))
    else:
        save(state, tmp_path / stem)
    imported = open_checkpoint(tmp_path)
    stream_weights(tmp_path / "ours", imported.config, imported.tensors, imported.dtype)
    for name, array in read_weights(tmp_path / "ours", imported.config).items():
        assert np.array_equal(array, state[prefix + name].numpy()), name
    assert_close(imported, model, tmp_path / "ours")


def test_torchs_oldest_file_format(tmp_path: Path) -> None:
    model = transformers_model("gpt2")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_close(open_checkpoint(tmp_path), model, tmp_path / "ours")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("compiled", ["", "_orig_mod."])
def test_nanogpt(bias: bool, compiled: str, tmp_path: Path) -> None:
    model = NamedGPT(17, bias=bias)
    checkpoint = {
        "model": {compiled + name: tensor for name, tensor in model.state_dict().items()},
        "model_args": model.model_args,
        "optimizer": torch.optim.AdamW(model.parameters()).state_dict(),
        "iter_num": 7,
        "best_val_loss": torch.tensor(1.5),
        "config": {"dataset": "shakespeare_char"},
    }
    torch.save(checkpoint, tmp_path / "ckpt.pt")
    for path in (tmp_path, tmp_path / "ckpt.pt"):  # its folder does, too
        imported = open_checkpoint(path)
        assert imported.form == "nanoGPT"
        assert imported.config.activation_function == "gelu"
        assert imported.config.tie_word_embeddings
        assert imported.config.resid_pdrop == 0.2
        assert_close(imported, model, tmp_path / "ours")
    with pytest.raises(UsageError, match="3 heads, not --n-head 4"):
        open_checkpoint(tmp_path, Hints(n_head=4))


def test_a_bare_state_dict_needs_its_heads(tmp_path: Path) -> None:
    model = NamedGPT(17)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    with pytest.raises(UsageError, match="give --n-head"):
        open_checkpoint(tmp_path / "model.pt")
    assert_close(open_checkpoint(tmp_path / "model.pt", Hints(n_head=3)), model, tmp_path / "ours")


def test_the_activation_may_be_named(tmp_path: Path) -> None:
    """nanoGPT's first versions bent by the tanh form, which its checkpoints do not say."""
    torch.save({"model": NamedGPT(17).state_dict(), "model_args": NamedGPT(17).model_args}, tmp_path / "ckpt.pt")
    assert open_checkpoint(tmp_path, Hints(activation="gelu_new")).config.activation_function == "gelu_new"


def test_mingpt(tmp_path: Path) -> None:
    model = NamedGPT(17, nano=False)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    imported = open_checkpoint(tmp_path / "model.pt", Hints(n_head=3))
    assert (imported.form, imported.config.activation_function) == ("minGPT", "gelu_new")
    assert not imported.config.tie_word_embeddings
    assert_close(imported, model, tmp_path / "ours")


def test_mingpt_of_2020(tmp_path: Path) -> None:
    model = EarlyMinGPT(17)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    assert_close(open_checkpoint(tmp_path / "model.pt", Hints(n_head=3)), model, tmp_path / "ours")


@pytest.mark.parametrize("scale", ["width", "head"])
@pytest.mark.parametrize("vocab_size", [17, 65])  # below and above the width
def test_the_lecture(scale: Any, vocab_size: int, tmp_path: Path) -> None:
    model = Lecture(vocab_size, scale=scale)
    torch.save(model.state_dict(), tmp_path / "nanoGPT.pth")
    imported = open_checkpoint(tmp_path / "nanoGPT.pth", Hints(score_scale=scale))
    assert imported.config.activation_function == "relu"
    assert_close(imported, model, tmp_path / "ours")
    if scale == "width":  # the default
        assert_close(open_checkpoint(tmp_path / "nanoGPT.pth"), model, tmp_path / "ours")
    other = open_checkpoint(tmp_path / "nanoGPT.pth", Hints(score_scale="head" if scale == "width" else "width"))
    assert (logits(ours(other, tmp_path / "other")) - logits(model)).abs().max() > 1e-3


def test_the_lectures_own_size(tmp_path: Path) -> None:
    """10.8 million parameters, as the lecture ends."""
    model = Lecture(65, C=384, n_head=6, n_layer=6, T=256).to(torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(0.2 if "ln" not in name else 1.0)
    torch.save(model.state_dict(), tmp_path / "nanoGPT.pth")
    assert_close(open_checkpoint(tmp_path / "nanoGPT.pth"), model, tmp_path / "ours")


def test_a_head_with_a_bias_folds_exactly() -> None:
    random = np.random.default_rng(0)
    V, C = 50, 16
    gain, bias, head, constant = (random.standard_normal(s).astype(np.float32) for s in ((C,), (C,), (V, C), (V,)))
    gain[3] = 0.0  # a unit that the norm silences
    x = random.standard_normal((9, C))
    x = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True)
    rows, level = fold_head(gain, bias, head, constant)
    expected = (x * gain + bias) @ head.T + constant
    np.testing.assert_allclose((x + level) @ rows.T, expected, atol=2e-6)


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("tied", [True, False])
def test_our_own_state_dict_comes_back_bit_for_bit(kind: Any, tied: bool, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(model_type=kind, tie_word_embeddings=tied))
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    again = ours(open_checkpoint(tmp_path / "mine.pth", Hints(n_head=2)), tmp_path / "ours")
    assert again.config == model.config
    for (name, mine), (_, theirs) in zip(again.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name


# Characters of others, in our vocabulary


@pytest.mark.parametrize("alphabet", ["\n abcdefghijklmn!", "ponmlkjihgfedcb\né"])
def test_a_model_of_characters_gets_our_vocabulary(alphabet: str, tmp_path: Path) -> None:
    model = NamedGPT(17)
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, tmp_path / "ckpt.pt")
    made, tokenizer = with_alphabet(open_checkpoint(tmp_path), list(alphabet))
    assert made.config.vocab_size == tokenizer.vocab_size
    assert made.config.eos_token_id == tokenizer.eos_id
    text = "".join(alphabet[i] for i in IDX[0].tolist())
    ids = torch.from_numpy(tokenizer.encode(text).astype(np.int64))[None]
    mine, theirs = logits(ours(made, tmp_path / "ours"), ids), logits(model, IDX[:1])
    columns = tokenizer.encode(alphabet).astype(np.int64)
    torch.testing.assert_close(mine[..., columns], theirs, atol=1e-5, rtol=0)
    added = np.delete(np.arange(tokenizer.vocab_size), columns)
    below = theirs.mean(-1, keepdim=True) - mine[..., added]
    torch.testing.assert_close(below, torch.full_like(below, BELOW), atol=1e-3, rtol=0)


def test_an_empty_text_begins_as_after_a_line_break(tmp_path: Path) -> None:
    model = NamedGPT(5)
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, tmp_path / "ckpt.pt")
    made, tokenizer = with_alphabet(open_checkpoint(tmp_path), list("ab\ncd"))
    mine = ours(made, tmp_path / "ours")
    assert tokenizer.eos_id is not None
    torch.testing.assert_close(
        logits(mine, torch.tensor([[tokenizer.eos_id]])), logits(mine, torch.from_numpy(tokenizer.encode("\n")[None]))
    )


def test_the_wrong_alphabet(tmp_path: Path) -> None:
    model = NamedGPT(17)
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="17 tokens, the alphabet 3 characters"):
        with_alphabet(open_checkpoint(tmp_path), ["a", "b", "c"])


# What is refused


def refused(path: Path, *, hints: Hints = Hints()) -> str:  # noqa: B008
    with pytest.raises((CheckpointError, UsageError)) as caught:
        open_checkpoint(path, hints)
    return str(caught.value)


def test_other_models_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert "model_type is 'llama'" in refused(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps(GPT2Config(**HF, scale_attn_by_inverse_layer_idx=True).to_dict() | {"model_type": "gpt2"})
    )
    assert "scale_attn_by_inverse_layer_idx = True is not supported" in refused(tmp_path)
    save_file({"fc1.weight": torch.zeros(2, 2)}, tmp_path / "net.safetensors")
    (tmp_path / "config.json").unlink()
    assert "no form that is known here" in refused(tmp_path / "net.safetensors")


class Surprise:
    def __reduce__(self) -> Any:
        return print, ("this must not be written",)


def test_a_pickle_that_runs_code_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": NamedGPT(17).state_dict(), "config": Surprise()}, tmp_path / "ckpt.pt")
    assert "would run code" in refused(tmp_path)
    torch.save(NamedGPT(17), tmp_path / "whole.pt")  # the module, not its state dict
    assert "would run code when it is loaded (helpers.checkpoints.NamedGPT)" in refused(tmp_path / "whole.pt")
    assert capsys.readouterr().out == ""


def test_damaged_files_are_named(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere.pt")
    assert "holds no weights" in refused(tmp_path)
    for name in ("a.safetensors", "a.pt"):
        (tmp_path / name).write_bytes(b"nonsense" * 9)
        assert name in refused(tmp_path / name)
    torch.save(Lecture(17).state_dict(), tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    assert "cut.pt" in refused(tmp_path / "cut.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no state dict" in refused(tmp_path / "list.pt")


def test_shards_that_are_missing_or_elsewhere(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"wte.weight": "model-1-of-2.safetensors"}}')
    assert "model-1-of-2.safetensors" in refused(tmp_path)
    index.write_text('{"weight_map": {"wte.weight": "../../secret.safetensors"}}')
    assert "files beside it" in refused(tmp_path)
    index.write_text('{"weight_map": {"wte.weight": "one.safetensors"}}')
    save_file({"wpe.weight": torch.zeros(2, 2)}, tmp_path / "one.safetensors")
    assert "lacks wte.weight" in refused(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("transformer.h.1.ln_1.weight"), "has no h.1.ln_1.weight"),
        (lambda s: s.update({"transformer.h.0.moe.weight": torch.zeros(2)}), "h.0.moe.weight"),
        (lambda s: s.update({"transformer.ln_f.weight": torch.ones(5)}), "ln_f.weight has shape [5], not [24]"),
    ],
)
def test_state_dicts_that_do_not_fit(change: Any, message: str, tmp_path: Path) -> None:
    state = NamedGPT(17).state_dict()
    change(state)
    torch.save({"model": state, "model_args": NamedGPT(17).model_args}, tmp_path / "ckpt.pt")
    assert message in refused(tmp_path)


def test_heads_that_do_not_make_the_width(tmp_path: Path) -> None:
    torch.save(Lecture(17, C=25, n_head=3).state_dict(), tmp_path / "odd.pth")
    assert "3 heads of 8 units are not the width of 25" in refused(tmp_path / "odd.pth")


def test_weights_that_are_not_finite_are_not_written(tmp_path: Path) -> None:
    state = NamedGPT(17).state_dict()
    state["transformer.wpe.weight"][0, 0] = float("nan")
    torch.save({"model": state, "model_args": NamedGPT(17).model_args}, tmp_path / "ckpt.pt")
    imported = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"wpe\.weight holds values that are not finite"):
        stream_weights(tmp_path / "ours", imported.config, imported.tensors, imported.dtype)
    assert list((tmp_path / "ours").iterdir()) == []
