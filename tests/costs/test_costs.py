"""Costs compared with real models: parameters, FLOPs, training tensors, the kernel's bytes."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers.models import tiny_config, tiny_model, to_numpy_model
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import GROUP_SIZES, PRECISIONS, Precision
from inkhorn.config.recipes import RECIPES
from inkhorn.config.train import TrainConfig
from inkhorn.costs.model import (
    forward_flops,
    kv_cache_bytes,
    packed_bytes,
    parts,
    serving_memory,
    training_flops,
    training_memory,
)
from inkhorn.hardware.device import Hardware
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.packed_weights import pack, shape_of
from inkhorn.model import GPT, uses_explicit_attention
from inkhorn.training.state import new_state
from inkhorn.training.step import train_step

CPU = torch.device("cpu")
needs_kernel = pytest.mark.skipif(native_bindings.unavailable_reason() is not None, reason="the kernel is not built")


def shapes() -> list[ModelConfig]:
    """GPT-1 and GPT-2, tied and untied, with another MLP width, and a recipe's shape."""
    small = tiny_config(vocab_size=19, block_size=24, n_layer=3, n_head=2, n_embd=32)
    untied = replace(small, tie_word_embeddings=False, n_inner=50)
    return [small, untied, replace(small, model_type="openai-gpt"), RECIPES["small"].architecture.to_model_config(66)]


# Parameters and FLOPs


@pytest.mark.parametrize("config", shapes())
def test_parameters_by_part(config: ModelConfig) -> None:
    model = GPT(config)
    counted = dict.fromkeys(("wte", "wpe", "attn", "mlp", "norms", "lm_head"), 0)
    for name, parameter in model.named_parameters():
        kind = next((key for key in counted if f".{key}." in f".{name}"), "norms")
        counted[kind] += parameter.numel()
    wte, wpe, attention, between, mlp, norms, head = (part.parameters for part in parts(config))
    assert between == 0
    assert [wte, wpe, attention, mlp, norms, head] == list(counted.values())
    assert sum(part.parameters for part in parts(config)) == config.num_parameters


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("gpt1", 116_534_784),
        ("gpt2", 124_439_808),
        ("gpt2-medium", 354_823_168),
        ("gpt2-large", 774_030_080),
        ("gpt2-xl", 1_557_611_200),
    ],
)
def test_published_parameter_counts_in_recipes(name: str, count: int) -> None:
    recipe = RECIPES[name]
    config = recipe.architecture.to_model_config({"gpt2": 50257, "openai-gpt": 40478}[recipe.tokenizer])
    assert sum(part.parameters for part in parts(config)) == count


@pytest.mark.parametrize("config", shapes())
def test_flops_match_torch_counter(config: ModelConfig) -> None:
    model, B, T = tiny_model(config), 2, config.block_size
    idx = torch.zeros(B, T, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        _, loss = model(idx, idx)
        forward = counter.get_total_flops()
        assert loss is not None
        loss.backward()
    assert forward == forward_flops(config) * B * T
    whole = counter.get_total_flops()
    assert whole == training_flops(config) * B * T


def test_flops_by_part_match_torch_counter() -> None:
    config = shapes()[1]
    model, T = tiny_model(config), config.block_size
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        model(torch.zeros(1, T, dtype=torch.long))

    def counted(ending: str) -> int:
        return sum(sum(ops.values()) for name, ops in counter.get_flop_counts().items() if name.endswith(ending))

    _, _, attention, between, mlp, _, head = (part.flops * T for part in parts(config))
    assert counted(".attn") == attention + between
    assert counted("attn.c_attn") + counted("attn.c_proj") == attention
    assert counted(".mlp") == mlp
    assert counted("lm_head") == head


def test_flops_counted_by_hand() -> None:
    # V = 17, T = 12, two blocks of C = 16. Head: 17 * 16 = 272. Per block: c_attn 16 * 48, c_proj 16 * 16, c_fc 16 * 64
    # and c_proj 64 * 16, together 3072.
    config = tiny_config(vocab_size=17, block_size=12, n_layer=2, n_head=2, n_embd=16)
    assert training_flops(config) == 6 * (272 + 2 * 3072) + 12 * 2 * 16 * 12
    assert training_flops(replace(config, model_type="openai-gpt")) == training_flops(config)
    assert training_flops(replace(config, tie_word_embeddings=False)) == training_flops(config)


# Training memory


def step_bytes(config: ModelConfig, train: TrainConfig, dtype: torch.dtype) -> dict[str, int]:
    """Bytes of the tensors of a real training step."""
    hardware = Hardware(CPU, dtype, False, ())
    state = new_state(replace(config, embd_pdrop=train.dropout, resid_pdrop=train.dropout), train, hardware)
    rows = torch.randint(config.vocab_size, (train.batch_size, config.block_size + 1))
    own = {p.untyped_storage().data_ptr() for p in state.model.parameters()}
    kept: dict[int, tuple[int, torch.Tensor]] = {}  # keeping the tensor keeps its address from being reused

    def note(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in own:
            kept[storage.data_ptr()] = (storage.nbytes(), tensor)
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        train_step(state, state.model, [rows], train, hardware)
    moments = [t for o in state.optimizers for s in o.state.values() for key, t in s.items() if key != "step"]
    averaged = state.ema.parameters() if state.ema is not None else []
    return {
        "weights": sum(p.nbytes for p in state.model.parameters()),
        "gradients": sum(p.grad.nbytes for p in state.model.parameters() if p.grad is not None),
        f"optimizer, {train.optimizer}": sum(t.nbytes for t in moments),
        "weight average": sum(p.nbytes for p in averaged),
        "kept": sum(size for size, _ in kept.values()),
    }


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(
    "changes",
    [{}, {"optimizer": "adamw"}, {"dropout": 0.1}, {"ema_decay": 0.9, "batch_size": 5}],
    ids=["muon", "adamw", "dropout", "average"],
)
def test_training_memory_matches_tensors(kind: Any, dtype: torch.dtype, changes: dict[str, Any]) -> None:
    """Weights, gradients and optimizer state to the byte; activations within 2 percent."""
    config = ModelConfig(vocab_size=100, block_size=96, n_layer=3, n_head=3, n_embd=96, model_type=kind)
    train = replace(TrainConfig(batch_size=3), **changes)
    stored, bf16 = uses_explicit_attention(CPU, dtype, config.block_size), dtype == torch.bfloat16
    estimated = dict(training_memory(config, train, bf16=bf16, stores_attention=stored))
    kept = estimated.pop("kept for the backward pass") + estimated.pop("matrices in bfloat16", 0)
    assert estimated.pop("logits and their gradient") == 8 * 100 * 96 * train.batch_size
    counted = step_bytes(config, train, dtype)
    assert kept == pytest.approx(counted.pop("kept"), rel=0.02)
    assert estimated.pop("weight average", 0) == counted.pop("weight average")
    assert estimated == counted


# Serving memory


@needs_kernel
@given(
    heads=st.integers(1, 5),
    size=st.integers(1, 70),
    inner=st.integers(1, 500),
    vocab=st.integers(1, 2000),
    block=st.integers(1, 300),
    layers=st.integers(1, 3),
    kind=st.sampled_from(["gpt2", "openai-gpt"]),
)
def test_kernel_sizes(heads: int, size: int, inner: int, vocab: int, block: int, layers: int, kind: Any) -> None:
    config = tiny_config(vocab_size=vocab, block_size=block, n_layer=layers, n_head=heads, n_embd=heads * size)
    config = replace(config, n_inner=inner, model_type=kind)
    for quantize in PRECISIONS:
        ink_config = shape_of(config, quantize, GROUP_SIZES.get(quantize, 0))
        assert packed_bytes(config, quantize) == native_bindings.library().ink_model_packed_size(ink_config)
        assert kv_cache_bytes(config, quantize) == native_bindings.library().ink_session_slot_size(ink_config)


@needs_kernel
@pytest.mark.parametrize("quantize", PRECISIONS)
def test_packed_size(quantize: Precision) -> None:
    config = tiny_config(n_layer=2)
    model = tiny_model(config)
    packed = pack(config, to_numpy_model(model).weights, quantize)
    assert packed.data.nbytes == packed_bytes(config, quantize)
    assert serving_memory(config, 3)[quantize] == (packed.data.nbytes, 3 * kv_cache_bytes(config, quantize))
