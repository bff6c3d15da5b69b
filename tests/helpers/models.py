"""Tiny models with random weights, for tests."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from inkhorn.checkpoint.weights import write_weights
from inkhorn.cli.main import main
from inkhorn.config.model import ModelConfig
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.model import GPT
from inkhorn.tokenizer.base import Tokenizer

torch.set_num_threads(1)  # a second thread only slows these small matrix products down

_TINY = ModelConfig(vocab_size=17, block_size=12, n_layer=2, n_head=2, n_embd=16)


def tiny_config(**changes: Any) -> ModelConfig:
    """A GPT-2 config of a few thousand parameters, with the given fields changed."""
    return replace(_TINY, **changes)


def tiny_model(config: ModelConfig, seed: int = 0, scale: float = 0.3) -> GPT:
    """A model in eval mode with random weights, including biases and LayerNorm weights.

    `scale` is the deviation of the weights. With GPT-2's 0.02 the blocks would hardly change the logits, and a test
    would pass without them.
    """
    model = GPT(config)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            mean = 1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0
            parameter.copy_(mean + scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def linear_names(config: ModelConfig) -> set[str]:
    """Names of the weight matrices inside the blocks."""
    return {spec.name for spec in config.tensor_specs() if spec.is_linear}


def write_arrays(folder: Path, config: ModelConfig, arrays: Mapping[str, Any], dtype: Any = "float32") -> None:
    """Write a checkpoint's weights from arrays in memory."""
    write_weights(folder, config, {name: partial(np.asarray, array) for name, array in arrays.items()}, dtype)


def save_checkpoint(folder: Path, model: GPT, tokenizer: Tokenizer) -> None:
    """Write a checkpoint folder as training does, without `trainer/` and the model card."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    tokenizer.save(folder, model.config.block_size)


def to_numpy_model(model: GPT) -> NumpyModel:
    """A NumPy model with the same weights; its matrices are [in, out]."""
    parameters = {name: parameter.detach().numpy() for name, parameter in model.named_parameters()}
    specs = model.config.tensor_specs()
    weights = {s.name: (parameters[s.name].T if s.is_linear else parameters[s.name]).copy() for s in specs}
    return NumpyModel(model.config, weights)


def run(*words: str) -> int:
    """Run a command in this process and return its exit code."""
    try:
        return main(words)
    except SystemExit as error:  # tyro exits on --help and usage errors
        return int(error.code or 0)
