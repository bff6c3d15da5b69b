"""The table of tensors against transformers' models."""

from typing import Any

import pytest
import torch
from helpers.models import tiny_config
from transformers import GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from inkhorn.config.tensors import LINEAR_LAYERS, VOCAB_TENSORS


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize(
    ("kind", "make"),
    [
        ("gpt2", lambda **sizes: GPT2LMHeadModel(GPT2Config(**sizes))),
        ("openai-gpt", lambda **sizes: OpenAIGPTLMHeadModel(OpenAIGPTConfig(**sizes))),
    ],
)
def test_names_and_shapes_match_transformers(kind: Any, make: Any, tied: bool) -> None:
    config = tiny_config(model_type=kind, tie_word_embeddings=tied)
    sizes = {"vocab_size": 17, "n_positions": 12, "n_embd": 16, "n_layer": 2, "n_head": 2, "tie_word_embeddings": tied}
    with torch.device("meta"):
        parameters = {name: tuple(p.shape) for name, p in make(**sizes).named_parameters()}
    assert {spec.hf_name: spec.shape for spec in config.tensor_specs()} == parameters


def test_derived_names() -> None:
    specs = tiny_config(tie_word_embeddings=False).tensor_specs()
    assert LINEAR_LAYERS == ("c_attn", "c_proj", "c_fc")
    assert {spec.layer for spec in specs if spec.is_linear} == set(LINEAR_LAYERS)
    assert {spec.name for spec in specs if spec.shape[0] == 17} == set(VOCAB_TENSORS)
    assert {spec.name for spec in specs if spec.fused_parts == 3} == {
        f"h.{i}.attn.c_attn.{kind}" for i in range(2) for kind in ("weight", "bias")
    }
