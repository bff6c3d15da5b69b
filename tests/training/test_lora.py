"""LoRA: new adapters do not change the output, only adapters are trained, and peft can load them."""

import copy
from pathlib import Path

import pytest
import torch
from helpers.models import tiny_config, tiny_model

from inkhorn.config.train import LORA_TARGETS as TARGETS
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.model import GPT
from inkhorn.training.lora import add_adapters, load_adapter, lora_modules, merge_lora, save_adapter

IDS = torch.arange(10)[None] % 17


def changed(model: GPT, targets: tuple[str, ...] = TARGETS, rank: int = 3) -> GPT:
    """A model with random adapters."""
    generator = torch.Generator().manual_seed(1)
    add_adapters(model, rank, 6.0, targets)
    with torch.no_grad():
        for change in lora_modules(model).values():
            change.b.copy_(0.2 * torch.randn(change.b.shape, generator=generator))
    return model


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_new_adapters_keep_output(kind: str) -> None:
    model = tiny_model(tiny_config(model_type=kind))
    before = model(IDS)[0]
    torch.testing.assert_close(add_adapters(model, 4, 8.0)(IDS)[0], before, rtol=0, atol=0)


@pytest.mark.parametrize("targets", [TARGETS, ("c_attn",), ("c_proj", "c_fc")])
def test_only_adapters_are_trained(targets: tuple[str, ...]) -> None:
    model = add_adapters(tiny_model(tiny_config()), 2, 4.0, targets)
    before = {name: parameter.clone() for name, parameter in model.named_parameters()}
    each = {"c_attn": 1, "c_proj": 2, "c_fc": 1}
    assert len(lora_modules(model)) == model.config.n_layer * sum(each[target] for target in targets)
    model(IDS[:, :-1], IDS[:, 1:])[1].backward()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.grad is not None:
                parameter.sub_(0.1 * parameter.grad)
    moved = {name for name, parameter in model.named_parameters() if not torch.equal(parameter, before[name])}
    assert moved == {name for name in before if name.endswith(".b")}  # of a product with zeros, only those have a slope


def test_merge_lora_is_equivalent() -> None:
    model = changed(tiny_model(tiny_config()))
    merged = merge_lora(model)
    assert not lora_modules(merged)
    torch.testing.assert_close(merged(IDS)[0], model(IDS)[0], rtol=1e-5, atol=1e-5)
    untouched = tiny_model(tiny_config())
    assert merge_lora(untouched) is untouched


def test_save_and_load_adapter(tmp_path: Path) -> None:
    base = tiny_model(tiny_config())
    model = changed(copy.deepcopy(base))
    save_adapter(model, tmp_path, "base")
    assert (tmp_path / "adapter_model.safetensors").stat().st_size < 20_000
    torch.testing.assert_close(load_adapter(copy.deepcopy(base), tmp_path)(IDS)[0], model(IDS)[0], rtol=0, atol=0)


@pytest.mark.filterwarnings("ignore")  # peft's own
def test_peft_loads_adapter(tmp_path: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    base = tiny_model(tiny_config())
    base.save_pretrained(tmp_path / "base")
    model = changed(copy.deepcopy(base))
    save_adapter(model, tmp_path / "adapter", str(tmp_path / "base"))
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "base").eval()
    theirs = PeftModel.from_pretrained(theirs, str(tmp_path / "adapter"))
    with torch.no_grad():
        torch.testing.assert_close(theirs(IDS).logits, model(IDS)[0], rtol=1e-4, atol=1e-5)


def test_invalid_adapters(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least 1, not 0"):
        add_adapters(tiny_model(tiny_config()), 0, 1.0)
    with pytest.raises(UsageError, match="did you mean 'c_attn'"):
        add_adapters(tiny_model(tiny_config()), 2, 1.0, ["attn"])
    with pytest.raises(CheckpointError, match="cannot be used"):
        load_adapter(tiny_model(tiny_config()), tmp_path)
    save_adapter(changed(tiny_model(tiny_config())), tmp_path, "base")
    with pytest.raises(CheckpointError, match="needs"):
        load_adapter(tiny_model(tiny_config(n_embd=32)), tmp_path)
    with pytest.raises(CheckpointError, match="no layer for"):
        load_adapter(tiny_model(tiny_config(n_layer=1)), tmp_path)
    (tmp_path / "adapter_model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="cannot be used"):
        load_adapter(tiny_model(tiny_config()), tmp_path)
