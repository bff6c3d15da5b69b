"""What a model costs, from its shape alone: parameters and FLOPs by part, memory to train it and to serve it.

No torch and no weights: arithmetic, which tests/test_estimate.py checks against what real models are counted to have.
In the comments C = n_embd, L = n_layer, T = block_size, V = vocab_size.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import GROUPS, PRECISIONS
from inkhorn.config.train import TrainConfig

_FLOAT32, _BITS16 = 4, 2
_LANES, _LINE = 16, 64  # the kernel pads widths to whole vectors and begins every tensor on a cache line
_HEADER = 64


@dataclass(frozen=True)
class Part:
    """A part of a model.

    Attributes:
        name: for people.
        parameters: how many it has.
        flops: of its forward pass, per token: 2 for each weight that is multiplied.

    """

    name: str
    parameters: int
    flops: int


def parts(config: ModelConfig) -> tuple[Part, ...]:
    """A model by its parts, in reading order; a tied head has no parameters of its own.

    What attention does between tokens stands apart: it has no weights, and alone grows with the context. It is
    counted for all T keys, as is usual, though a token sees half of them on average. Adding up, normalising, bending
    and looking rows up are left out, as in Kaplan et al. 2020, table 1: they are small beside the rest.
    """
    c, inner, layers = config.n_embd, config.inner, config.n_layer
    attention, mlp, head = 4 * c * c, 2 * c * inner, config.vocab_size * c  # weights
    norms = 2 * c * (2 * layers + config.pre_norm)
    tied = config.tie_word_embeddings
    return (
        Part("token embedding, wte", config.vocab_size * c, 0),
        Part("position embedding, wpe", config.block_size * c, 0),
        Part("attention, c_attn and c_proj", layers * (attention + 4 * c), 2 * layers * attention),
        Part("attention between tokens", 0, layers * 4 * config.block_size * c),  # q k^T and weights v: 2 T C each
        Part("MLP, c_fc and c_proj", layers * (mlp + inner + c), 2 * layers * mlp),
        Part("norms", norms, 0),
        Part("head, which is wte" if tied else "head", 0 if tied else head, 2 * head),
    )


def forward_flops(config: ModelConfig) -> int:
    """FLOPs of a forward pass per token, in contexts of the whole block."""
    return sum(part.flops for part in parts(config))


def training_flops(config: ModelConfig) -> int:
    """FLOPs of a forward and backward pass per token: for each product of the one the other has two."""
    return 3 * forward_flops(config)


def matrix_weights(config: ModelConfig) -> int:
    """Weights of the matrices inside the blocks, which Muon trains."""
    c = config.n_embd
    return config.n_layer * (4 * c * c + 2 * c * config.inner)


def training_memory(
    config: ModelConfig, train: TrainConfig, *, bf16: bool, stores_attention: bool = False
) -> Mapping[str, int]:
    """Bytes that a training step takes, by what they are for; their sum is the most that is there at once, or near it.

    Args:
        config: the shape.
        train: batch_size rows of block_size tokens go through at once; the optimizer, dropout and averaging.
        bf16: whether products are in bfloat16; weights, gradients and optimizer are in float32 in any case.
        stores_attention: whether the (T, T) weights of attention are kept (`model.writes_out_attention`).

    Without compilation, which keeps less, without dropout of attention weights, and without adapters.

    """
    c, inner, layers, vocab = config.n_embd, config.inner, config.n_layer, config.vocab_size
    matrices = matrix_weights(config)
    muon = matrices if train.optimizer == "muon" else 0
    size = _BITS16 if bf16 else _FLOAT32
    tokens = train.batch_size * config.block_size
    # Kept of each token in a block: the stream before both norms, in float32; then the inputs of c_attn and of both
    # c_proj, q, k and v, the input of c_fc, and the MLP before and after its bend.
    block = 2 * c * _FLOAT32 + (6 * c + 2 * inner) * size + 2 * 2 * _FLOAT32
    block += config.n_head * (config.block_size * size if stores_attention else _FLOAT32)
    block += 2 * c * size if train.dropout else 0  # which units were dropped
    # Once: the inputs of ln_f and of the head, what dropout left of the embeddings, and every token's odds.
    rest = c * (size + (_FLOAT32 if config.pre_norm else 0) + (_FLOAT32 if train.dropout else 0)) + vocab * _FLOAT32
    found = {
        "weights": config.num_parameters * _FLOAT32,
        "gradients": config.num_parameters * _FLOAT32,
        f"optimizer, {train.optimizer}": (2 * config.num_parameters - muon) * _FLOAT32,
        "kept for the backward pass": tokens * (layers * block + rest),
        "logits and their gradient": tokens * vocab * 8,
    }
    if bf16:
        found["matrices in bfloat16"] = (matrices + vocab * c) * _BITS16
    if train.ema_decay:
        found["running average"] = config.num_parameters * _FLOAT32
    return found


def _padded(n: int, unit: int = _LANES) -> int:
    return -(-n // unit) * unit


def packed_bytes(config: ModelConfig, quantize: str) -> int:
    """Bytes of the weights in the kernel's layout (`native/model.hpp`), as fp32, bf16, int8 or int4."""
    c, inner, bits = config.n_embd, config.inner, {"fp32": 32, "bf16": 16, "int8": 8, "int4": 4}[quantize]
    element = _FLOAT32 if quantize == "fp32" else _BITS16

    def matrix(inputs: int, outputs: int, bits: int = bits) -> int:
        rows, columns = _padded(inputs), _padded(outputs)
        group = GROUPS.get(quantize, 0)
        groups = -(-rows // group) if 0 < group <= rows else 1
        scales = columns * groups * _BITS16 if bits <= 8 else 0
        return _padded(rows * columns * bits // 8, _LINE) + _padded(scales, _LINE) + columns * _FLOAT32

    norm = 2 * _padded(_padded(c) * _FLOAT32, _LINE)
    tables = _padded(config.vocab_size * c * element, _LINE) + _padded(config.block_size * c * element, _LINE)
    block = 2 * norm + matrix(c, 3 * c) + matrix(c, c) + matrix(c, inner) + matrix(inner, c)
    head = matrix(c, config.vocab_size, max(bits, 8))  # in int4 it stays at eight bits
    return _HEADER + tables + config.n_layer * block + norm + head


def slot_bytes(config: ModelConfig, quantize: str) -> int:
    """Bytes of the keys and values of one text in the kernel, once the block is full."""
    element = _FLOAT32 if quantize == "fp32" else _BITS16
    return 2 * config.n_layer * config.n_head * _padded(config.block_size) * _padded(config.head_dim) * element


def serving_memory(config: ModelConfig, slots: int) -> Mapping[str, tuple[int, int]]:
    """By precision: bytes of the weights, and of the caches of `slots` texts at once, whose blocks are full."""
    return {name: (packed_bytes(config, name), slots * slot_bytes(config, name)) for name in PRECISIONS}


def shape_near(config: ModelConfig, parameters: float) -> ModelConfig:
    """The shape of about so many parameters, with this vocabulary and block: as GPT-2 small, in heads of 64 units, as
    many as blocks."""
    sizes = (replace(config, n_layer=n, n_head=n, n_embd=64 * n, n_inner=None) for n in range(1, 201))
    return min(sizes, key=lambda shape: abs(math.log(shape.num_parameters / parameters)))
