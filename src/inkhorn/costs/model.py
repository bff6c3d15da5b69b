"""Costs of a model, computed from its config: parameters and FLOPs by part, memory for training and for serving.

The tests compare the results with real models. In the comments C = n_embd, L = n_layer, T = block_size, V = vocab_size.
"""

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import get_args

from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import GROUP_SIZES, PRECISIONS
from inkhorn.config.tensors import Role
from inkhorn.config.train import TrainConfig

ASSUMED_MFU = 0.4
"""model FLOPs utilization, typical of published GPT-2 runs on one GPU; this project reaches 0.2 to 0.5 on a CPU"""

_FLOAT32, _BITS16 = 4, 2
_LANES, _LINE = 16, 64  # the kernel pads widths to full SIMD vectors and aligns tensors to cache lines
_HEADER = 64


@dataclass(frozen=True)
class Part:
    name: str  # its description
    parameters: int  # number of parameters
    flops: int  # FLOPs of its forward pass per token: 2 per multiplied weight


def parts(config: ModelConfig) -> tuple[Part, ...]:
    """The parameters and FLOPs of a model by part, in the order of the forward pass; a tied head has no parameters.

    FLOPs are those of matrix products: two per multiplied weight and token. Attention scores and weighted sums have no
    weights and are listed separately; they are counted for all T keys, as is usual, though a token attends to half of
    them on average. Biases, norms, activations and embedding lookups are left out, as in Kaplan et al. 2020, table 1.
    """
    counts = dict.fromkeys(get_args(Role), 0)
    products = dict(counts)
    for spec in config.tensor_specs():
        counts[spec.role] += spec.size
        products[spec.role] += 2 * spec.size * spec.is_linear
    between = config.n_layer * 4 * config.block_size * config.n_embd  # q k^T and weights v: 2 T C each
    head = 2 * config.vocab_size * config.n_embd
    return (
        Part("token embedding, wte", counts["token_embedding"], 0),
        Part("position embedding, wpe", counts["position_embedding"], 0),
        Part("attention, c_attn and c_proj", counts["attention"], products["attention"]),
        Part("attention between tokens", 0, between),
        Part("MLP, c_fc and c_proj", counts["mlp"], products["mlp"]),
        Part("norms", counts["norm"], 0),
        Part("head, tied to wte" if config.tie_word_embeddings else "head", counts["head"], head),
    )


def forward_flops(config: ModelConfig) -> int:
    """FLOPs of a forward pass per token at the full context length."""
    return sum(part.flops for part in parts(config))


def training_flops(config: ModelConfig) -> int:
    """FLOPs of a forward and backward pass per token: the backward pass has two products for each of the forward's."""
    return 3 * forward_flops(config)


def matrix_weights(config: ModelConfig) -> int:
    """Number of weights in the linear layers of the blocks, which Muon trains."""
    return sum(spec.size for spec in config.tensor_specs() if spec.is_linear)


def training_memory(
    config: ModelConfig, train: TrainConfig, *, bf16: bool, stores_attention: bool = False
) -> Mapping[str, int]:
    """Bytes of a training step by purpose; their sum is close to the peak.

    Compilation, which keeps less, dropout of attention weights and LoRA are not considered.

    Args:
        train: batch size, optimizer, dropout and weight averaging.
        bf16: matrix products are in bfloat16; weights, gradients and optimizer state are in float32 in any case.
        stores_attention: the (T, T) attention weights are kept (`model.uses_explicit_attention`).
    """
    c, inner, layers, vocab = config.n_embd, config.inner, config.n_layer, config.vocab_size
    matrices = matrix_weights(config)
    muon = matrices if train.optimizer == "muon" else 0
    size = _BITS16 if bf16 else _FLOAT32
    tokens = train.batch_size * config.block_size
    # Kept of each token in a block: the stream before both norms, in float32; then the inputs of c_attn and of both
    # c_proj, q, k and v, the input of c_fc, and the MLP before and after its activation.
    block = 2 * c * _FLOAT32 + (6 * c + 2 * inner) * size + 2 * 2 * _FLOAT32
    block += config.n_head * (config.block_size * size if stores_attention else _FLOAT32)
    block += 2 * c * size if train.dropout else 0  # the dropout masks
    # Once: the inputs of ln_f and of the head, the embeddings after dropout, and the log-probabilities.
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
        found["weight average"] = config.num_parameters * _FLOAT32
    return found


def _padded(n: int, unit: int = _LANES) -> int:
    return -(-n // unit) * unit


def packed_bytes(config: ModelConfig, quantize: str) -> int:
    """Bytes of the weights in the kernel's layout (`native/model.hpp`) as fp32, bf16, int8 or int4."""
    bits = {"fp32": 32, "bf16": 16, "int8": 8, "int4": 4}[quantize]
    element = _FLOAT32 if quantize == "fp32" else _BITS16

    def matrix(inputs: int, outputs: int, bits: int = bits) -> int:
        rows, columns = _padded(inputs), _padded(outputs)
        group = GROUP_SIZES.get(quantize, 0)
        groups = -(-rows // group) if 0 < group <= rows else 1
        scales = columns * groups * _BITS16 if bits <= 8 else 0
        return _padded(rows * columns * bits // 8, _LINE) + _padded(scales, _LINE) + columns * _FLOAT32

    norm = 2 * _padded(_padded(config.n_embd) * _FLOAT32, _LINE)
    total = _HEADER + (2 * config.n_layer + 1) * norm  # the last norm is unused in a GPT-1
    total += matrix(config.n_embd, config.vocab_size, max(bits, 8))  # the head stays at eight bits in int4
    for spec in config.tensor_specs():
        if spec.is_linear:
            inputs, outputs = spec.shape
            total += matrix(inputs, outputs)
        elif spec.role in ("token_embedding", "position_embedding"):
            total += _padded(spec.size * element, _LINE)
    return total


def kv_cache_bytes(config: ModelConfig, quantize: str) -> int:
    """Bytes of the KV cache of one sequence in the kernel, at the full context length."""
    element = _FLOAT32 if quantize == "fp32" else _BITS16
    return 2 * config.n_layer * config.n_head * _padded(config.block_size) * _padded(config.head_dim) * element


def serving_memory(config: ModelConfig, max_num_seqs: int) -> Mapping[str, tuple[int, int]]:
    """Bytes of the weights and of the KV cache of `max_num_seqs` sequences at full length, by precision."""
    return {name: (packed_bytes(config, name), max_num_seqs * kv_cache_bytes(config, name)) for name in PRECISIONS}


def shape_near(config: ModelConfig, parameters: float) -> ModelConfig:
    """The config closest to this number of parameters among those with GPT-2 small's proportions.

    It keeps the vocabulary and the context length, has as many heads as blocks, and heads of 64 units.
    """
    sizes = [replace(config, n_layer=n, n_head=n, n_embd=64 * n, n_inner=None) for n in range(1, 201)]
    at = bisect_left(sizes, parameters, key=lambda shape: shape.num_parameters)
    return min(sizes[max(0, at - 1) : at + 1], key=lambda shape: abs(math.log(shape.num_parameters / parameters)))
