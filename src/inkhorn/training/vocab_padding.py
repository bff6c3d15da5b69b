"""Padding of the vocabulary during training, for speed on GPUs.

The product with the output head is a third of a small model's work. Tensor cores compute it in tiles, and faster if its
size is a multiple of the tile's: GPT-2's 50,257 tokens are padded to 50,304. The padding rows belong to no token. Their
probabilities soon become negligible, and checkpoints never contain them.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from inkhorn.config.model import ModelConfig
from inkhorn.config.tensors import VOCAB_TENSORS
from inkhorn.model import GPT
from inkhorn.training.parallel import full_tensor


def pad_vocab(config: ModelConfig, multiple: int) -> ModelConfig:
    """The config with its vocabulary size rounded up to a multiple of `multiple`; 0: unchanged."""
    return replace(config, vocab_size=-(-config.vocab_size // multiple) * multiple) if multiple else config


@torch.no_grad()
def load_into_padded(model: GPT, weights: GPT) -> None:
    """Load weights into a model whose vocabulary may be larger.

    Each padding row is the mean of the others: its logit is the mean logit, and by Jensen's inequality the padding gets
    no more probability than its share of the vocabulary. Rows of zeros could get nearly all of it.
    """
    state = weights.state_dict()
    for name in VOCAB_TENSORS:
        table: Tensor = state[name]
        missing = model.config.vocab_size - len(table)
        if missing:
            state[name] = torch.cat([table, table.mean(dim=0).expand(missing, -1)])  # (V, C) -> (padded V, C)
    model.load_state_dict(state)


@torch.no_grad()
def unpad_and_gather(model: GPT, config: ModelConfig) -> GPT:
    """The full model with the vocabulary of `config`, gathered in every process.

    Returns the model itself if it is neither padded nor sharded. If it is sharded, all processes must call this. Draws
    no random numbers.
    """
    parameters = dict(model.named_parameters())
    if model.config == config and not any(hasattr(p, "full_tensor") for p in parameters.values()):
        return model
    with torch.device("meta"):
        result = GPT(config)
    for name, parameter in parameters.items():
        tensor = full_tensor(parameter.detach())
        if name in VOCAB_TENSORS:
            tensor = tensor[: config.vocab_size]  # (V, C)
        owner, _, kind = name.rpartition(".")
        setattr(result.get_submodule(owner), kind, nn.Parameter(tensor))
    if config.tie_word_embeddings:
        result.lm_head.weight = result.wte.weight
    return result.train(model.training)
