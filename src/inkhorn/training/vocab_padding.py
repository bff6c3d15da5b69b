"""A vocabulary rounded up while a model is trained, and cut to its size wherever the model is used.

GPT-2's 50,257 tokens are no multiple of anything, and the product with the head is a third of a small model's work: a
GPU's tensor cores take it in tiles, and are faster where the tiles come out even, as 50,304 rows do. The rows beyond
belong to no token. Their odds are soon learnt away, and no folder ever has them.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn

from inkhorn.config.model import ModelConfig
from inkhorn.config.tensors import VOCAB_TENSORS
from inkhorn.model import GPT
from inkhorn.training.parallel import full_tensor


def pad_vocab(config: ModelConfig, multiple: int) -> ModelConfig:
    """The config with its vocabulary rounded up to a multiple; 0 leaves it."""
    return replace(config, vocab_size=-(-config.vocab_size // multiple) * multiple) if multiple else config


@torch.no_grad()
def load_into_padded(model: GPT, weights: GPT) -> None:
    """Give a model the weights of one whose vocabulary may be smaller.

    Each row beyond is the mean of the others: so its logit is the mean logit, and by Jensen's inequality all such rows
    together take no more of the odds than their share of the vocabulary. A row of zeros could take nearly all.
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
    """A trained model as others know it: with the vocabulary of `config`, and whole in every process.

    The model itself if it is that already. Where it is sharded all processes must call this. Draws no random numbers.
    """
    parameters = dict(model.named_parameters())
    if model.config == config and not any(hasattr(p, "full_tensor") for p in parameters.values()):
        return model
    with torch.device("meta"):
        bare = GPT(config)
    for name, parameter in parameters.items():
        tensor = full_tensor(parameter.detach())
        if name in VOCAB_TENSORS:
            tensor = tensor[: config.vocab_size]  # (V, C)
        owner, _, kind = name.rpartition(".")
        setattr(bare.get_submodule(owner), kind, nn.Parameter(tensor))
    if config.tie_word_embeddings:
        bare.lm_head.weight = bare.wte.weight
    return bare.train(model.training)
