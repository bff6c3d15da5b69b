"""Imported checkpoints compute the same logits as the originals."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.checkpoints import LetsBuildGPT, MinGPT2020, NanoGPT
from helpers.models import tiny_config, tiny_model
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from inkhorn.checkpoint.weights import read_weights, write_weights
from inkhorn.convert.converted import UNUSED_LOGIT, ConvertedModel, fold_head, with_char_vocabulary
from inkhorn.convert.formats import ImportOptions, open_checkpoint
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.model import GPT

IDX = torch.randint(17, (3, 12), generator=torch.Generator().manual_seed(1))
HF: dict[str, Any] = {"vocab_size": 17, "n_positions": 12, "n_embd": 24, "n_layer": 2, "n_head": 3}


def converted(imported: ConvertedModel, folder: Path) -> GPT:
    """The model that generate, train and eval load."""
    write_weights(folder, imported.config, imported.tensors, imported.dtype)
    return GPT.from_pretrained(folder)


def logits(model: Any, idx: Tensor = IDX) -> Tensor:
    with torch.no_grad():
        found = model(idx)
    return found[0] if isinstance(found, tuple) else getattr(found, "logits", found)


def assert_close(imported: ConvertedModel, model: nn.Module, folder: Path) -> None:
    expected = logits(model)
    assert expected.std() > 0.1  # or any logits would do
    torch.testing.assert_close(logits(converted(imported, folder)), expected, atol=1e-5, rtol=0)


def transformers_model(kind: str, **changes: Any) -> Any:
    torch.manual_seed(0)
    if kind == "gpt2":
        return GPT2LMHeadModel(GPT2Config(**HF | {"initializer_range": 0.2} | changes)).eval()
    return OpenAIGPTLMHeadModel(OpenAIGPTConfig(**HF | {"initializer_range": 0.2} | changes)).eval()


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_transformers_bit_exact(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    model = transformers_model(kind).to(dtype)
    model.save_pretrained(tmp_path / "theirs")
    imported = open_checkpoint(tmp_path / "theirs")
    write_weights(tmp_path / "ours", imported.config, imported.tensors, imported.dtype)
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
def test_config_options(changes: dict[str, Any], tmp_path: Path) -> None:
    model = transformers_model("gpt2", **changes)
    model.save_pretrained(tmp_path / "theirs")
    assert_close(open_checkpoint(tmp_path / "theirs"), model, tmp_path / "ours")


@pytest.mark.parametrize("prefix", ["", "transformer."])
@pytest.mark.parametrize("file", ["model.safetensors", "pytorch_model.bin", "shards.safetensors", "shards.bin"])
def test_mask_buffers_unprefixed_names_and_shards(prefix: str, file: str, tmp_path: Path) -> None:
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
    write_weights(tmp_path / "ours", imported.config, imported.tensors, imported.dtype)
    for name, array in read_weights(tmp_path / "ours", imported.config).items():
        assert np.array_equal(array, state[prefix + name].numpy()), name
    assert_close(imported, model, tmp_path / "ours")


def test_legacy_torch_format(tmp_path: Path) -> None:
    model = transformers_model("gpt2")
    model.save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    torch.save(model.state_dict(), tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    assert_close(open_checkpoint(tmp_path), model, tmp_path / "ours")


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("compiled", ["", "_orig_mod."])
def test_nanogpt(bias: bool, compiled: str, tmp_path: Path) -> None:
    model = NanoGPT(17, bias=bias)
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
        assert imported.source == "nanoGPT"
        assert imported.config.activation_function == "gelu"
        assert imported.config.tie_word_embeddings
        assert imported.config.resid_pdrop == 0.2
        assert_close(imported, model, tmp_path / "ours")
    with pytest.raises(UsageError, match="3 heads, not --n-head 4"):
        open_checkpoint(tmp_path, ImportOptions(n_head=4))


def test_state_dict_requires_n_head(tmp_path: Path) -> None:
    model = NanoGPT(17)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    with pytest.raises(UsageError, match="give --n-head"):
        open_checkpoint(tmp_path / "model.pt")
    assert_close(open_checkpoint(tmp_path / "model.pt", ImportOptions(n_head=3)), model, tmp_path / "ours")


def test_activation_option(tmp_path: Path) -> None:
    """nanoGPT's first versions used the tanh approximation, which is not in its checkpoints."""
    torch.save({"model": NanoGPT(17).state_dict(), "model_args": NanoGPT(17).model_args}, tmp_path / "ckpt.pt")
    assert open_checkpoint(tmp_path, ImportOptions(activation="gelu_new")).config.activation_function == "gelu_new"


def test_mingpt(tmp_path: Path) -> None:
    model = NanoGPT(17, nano=False)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    imported = open_checkpoint(tmp_path / "model.pt", ImportOptions(n_head=3))
    assert (imported.source, imported.config.activation_function) == ("minGPT", "gelu_new")
    assert not imported.config.tie_word_embeddings
    assert_close(imported, model, tmp_path / "ours")


def test_early_mingpt(tmp_path: Path) -> None:
    model = MinGPT2020(17)
    torch.save(model.state_dict(), tmp_path / "model.pt")
    assert_close(open_checkpoint(tmp_path / "model.pt", ImportOptions(n_head=3)), model, tmp_path / "ours")


@pytest.mark.parametrize("scale", ["width", "head"])
@pytest.mark.parametrize("vocab_size", [17, 65])  # below and above the width
def test_lets_build_gpt(scale: Any, vocab_size: int, tmp_path: Path) -> None:
    model = LetsBuildGPT(vocab_size, scale=scale)
    torch.save(model.state_dict(), tmp_path / "nanoGPT.pth")
    imported = open_checkpoint(tmp_path / "nanoGPT.pth", ImportOptions(attn_scale=scale))
    assert imported.config.activation_function == "relu"
    assert_close(imported, model, tmp_path / "ours")
    if scale == "width":  # the default
        assert_close(open_checkpoint(tmp_path / "nanoGPT.pth"), model, tmp_path / "ours")
    other = open_checkpoint(tmp_path / "nanoGPT.pth", ImportOptions(attn_scale="head" if scale == "width" else "width"))
    assert (logits(converted(other, tmp_path / "other")) - logits(model)).abs().max() > 1e-3


def test_lets_build_gpt_at_its_real_size(tmp_path: Path) -> None:
    """10.8 million parameters, as at the end of the video."""
    model = LetsBuildGPT(65, C=384, n_head=6, n_layer=6, T=256).to(torch.float32)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.mul_(0.2 if "ln" not in name else 1.0)
    torch.save(model.state_dict(), tmp_path / "nanoGPT.pth")
    assert_close(open_checkpoint(tmp_path / "nanoGPT.pth"), model, tmp_path / "ours")


def test_fold_head_is_exact() -> None:
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
def test_inkhorn_state_dict_bit_exact(kind: Any, tied: bool, tmp_path: Path) -> None:
    model = tiny_model(tiny_config(model_type=kind, tie_word_embeddings=tied))
    torch.save(model.state_dict(), tmp_path / "mine.pth")
    again = converted(open_checkpoint(tmp_path / "mine.pth", ImportOptions(n_head=2)), tmp_path / "ours")
    assert again.config == model.config
    for (name, mine), (_, theirs) in zip(again.state_dict().items(), model.state_dict().items(), strict=True):
        assert torch.equal(mine, theirs), name


# Character vocabularies


@pytest.mark.parametrize("alphabet", ["\n abcdefghijklmn!", "ponmlkjihgfedcb\né"])
def test_char_vocabulary_keeps_logits(alphabet: str, tmp_path: Path) -> None:
    model = NanoGPT(17)
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, tmp_path / "ckpt.pt")
    made, tokenizer = with_char_vocabulary(open_checkpoint(tmp_path), list(alphabet))
    assert made.config.vocab_size == tokenizer.vocab_size
    assert made.config.eos_token_id == tokenizer.eos_id
    text = "".join(alphabet[i] for i in IDX[0].tolist())
    ids = torch.from_numpy(tokenizer.encode(text).astype(np.int64))[None]
    mine, theirs = logits(converted(made, tmp_path / "ours"), ids), logits(model, IDX[:1])
    columns = tokenizer.encode(alphabet).astype(np.int64)
    torch.testing.assert_close(mine[..., columns], theirs, atol=1e-5, rtol=0)
    added = np.delete(np.arange(tokenizer.vocab_size), columns)
    below = theirs.mean(-1, keepdim=True) - mine[..., added]
    torch.testing.assert_close(below, torch.full_like(below, UNUSED_LOGIT), atol=1e-3, rtol=0)


def test_end_of_text_acts_like_newline(tmp_path: Path) -> None:
    model = NanoGPT(5)
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, tmp_path / "ckpt.pt")
    made, tokenizer = with_char_vocabulary(open_checkpoint(tmp_path), list("ab\ncd"))
    mine = converted(made, tmp_path / "ours")
    assert tokenizer.eos_id is not None
    torch.testing.assert_close(
        logits(mine, torch.tensor([[tokenizer.eos_id]])), logits(mine, torch.from_numpy(tokenizer.encode("\n")[None]))
    )


def test_wrong_characters_are_rejected(tmp_path: Path) -> None:
    model = NanoGPT(17)
    torch.save({"model": model.state_dict(), "model_args": model.model_args}, tmp_path / "ckpt.pt")
    with pytest.raises(CheckpointError, match="17 tokens, but the text has 3 different characters"):
        with_char_vocabulary(open_checkpoint(tmp_path), ["a", "b", "c"])


# Errors


def refused(path: Path, *, options: ImportOptions = ImportOptions()) -> str:  # noqa: B008
    with pytest.raises((CheckpointError, UsageError)) as caught:
        open_checkpoint(path, options)
    return str(caught.value)


def test_other_architectures_are_rejected(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    assert "model_type is 'llama'" in refused(tmp_path)
    (tmp_path / "config.json").write_text(
        json.dumps(GPT2Config(**HF, add_cross_attention=True).to_dict() | {"model_type": "gpt2"})
    )
    assert "add_cross_attention = True is not supported" in refused(tmp_path)
    save_file({"fc1.weight": torch.zeros(2, 2)}, tmp_path / "net.safetensors")
    (tmp_path / "config.json").unlink()
    assert "unknown format" in refused(tmp_path / "net.safetensors")


class Unexpected:
    def __reduce__(self) -> Any:
        return print, ("this must not be written",)


def test_pickle_with_code_is_rejected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.save({"model": NanoGPT(17).state_dict(), "config": Unexpected()}, tmp_path / "ckpt.pt")
    assert "would run code" in refused(tmp_path)
    torch.save(NanoGPT(17), tmp_path / "whole.pt")  # the module, not its state dict
    assert "would run code when it is loaded (helpers.checkpoints.NanoGPT)" in refused(tmp_path / "whole.pt")
    assert capsys.readouterr().out == ""


def test_damaged_files(tmp_path: Path) -> None:
    assert "does not exist" in refused(tmp_path / "nowhere.pt")
    assert "contains no weights" in refused(tmp_path)
    for name in ("a.safetensors", "a.pt"):
        (tmp_path / name).write_bytes(b"nonsense" * 9)
        assert name in refused(tmp_path / name)
    torch.save(LetsBuildGPT(17).state_dict(), tmp_path / "cut.pt")
    whole = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    assert "cut.pt" in refused(tmp_path / "cut.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    assert "no state dict" in refused(tmp_path / "list.pt")


def test_missing_shards(tmp_path: Path) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text('{"weight_map": {"wte.weight": "model-1-of-2.safetensors"}}')
    assert "model-1-of-2.safetensors" in refused(tmp_path)
    index.write_text('{"weight_map": {"wte.weight": "../../secret.safetensors"}}')
    assert "files in its folder" in refused(tmp_path)
    index.write_text('{"weight_map": {"wte.weight": "one.safetensors"}}')
    save_file({"wpe.weight": torch.zeros(2, 2)}, tmp_path / "one.safetensors")
    assert "has no wte.weight" in refused(tmp_path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("transformer.h.1.ln_1.weight"), "has no h.1.ln_1.weight"),
        (lambda s: s.update({"transformer.h.0.moe.weight": torch.zeros(2)}), "h.0.moe.weight"),
        (lambda s: s.update({"transformer.ln_f.weight": torch.ones(5)}), "ln_f.weight has shape [5], not [24]"),
    ],
)
def test_mismatched_state_dicts(change: Any, message: str, tmp_path: Path) -> None:
    state = NanoGPT(17).state_dict()
    change(state)
    torch.save({"model": state, "model_args": NanoGPT(17).model_args}, tmp_path / "ckpt.pt")
    assert message in refused(tmp_path)


def test_head_size_mismatch(tmp_path: Path) -> None:
    torch.save(LetsBuildGPT(17, C=25, n_head=3).state_dict(), tmp_path / "odd.pth")
    assert "3 heads of size 8 do not add up to the width 25" in refused(tmp_path / "odd.pth")


def test_nonfinite_weights_are_not_written(tmp_path: Path) -> None:
    state = NanoGPT(17).state_dict()
    state["transformer.wpe.weight"][0, 0] = float("nan")
    torch.save({"model": state, "model_args": NanoGPT(17).model_args}, tmp_path / "ckpt.pt")
    imported = open_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match=r"wpe\.weight holds values that are not finite"):
        write_weights(tmp_path / "ours", imported.config, imported.tensors, imported.dtype)
    assert not (tmp_path / "ours").exists()
