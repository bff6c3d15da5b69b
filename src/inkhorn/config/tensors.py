"""The tensors of a GPT: the one table of names, shapes and roles.

File names, parameter counts, FLOPs, optimizer groups, LoRA targets, vocabulary padding, the GGUF export, the web export
and the order in which the kernel takes the weights all derive from it. `ModelConfig.tensor_specs` fills in the sizes.
"""

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Role = Literal["token_embedding", "position_embedding", "norm", "attention", "mlp", "head"]


@dataclass(frozen=True)
class TensorSpec:
    name: str  # OpenAI's name, used in memory: `h.0.attn.c_attn.weight`
    shape: tuple[int, ...]  # as stored; matrices are [in, out], as OpenAI and Hugging Face ("Conv1D") keep them
    role: Role  # the part of the model
    hf_name: str  # its name in Hugging Face's `model.safetensors`
    gguf_name: str  # its name in a GGUF file of llama.cpp's "gpt2"
    fused_parts: int = 1  # how many matrices of equal size it holds side by side: 3 for c_attn (query, key and value)

    @property
    def size(self) -> int:
        return math.prod(self.shape)

    @property
    def is_linear(self) -> bool:
        """True for the weight matrices inside the blocks, which are [in, out] here and [out, in] in `nn.Linear`."""
        return self.role in ("attention", "mlp") and len(self.shape) == 2

    @property
    def layer(self) -> str:
        """The last part of its module's name: `c_attn`."""
        return self.name.rsplit(".", 2)[-2]


@dataclass(frozen=True)
class _Module:
    """A module with a weight and perhaps a bias; `dims` are the weight's, the bias has the last of them."""

    name: str
    dims: tuple[str, ...]
    role: Role
    gguf: str
    bias: bool = True
    fused_parts: int = 1


_EMBEDDINGS = (
    _Module("wte", ("vocab_size", "n_embd"), "token_embedding", "token_embd", bias=False),
    _Module("wpe", ("block_size", "n_embd"), "position_embedding", "position_embd", bias=False),
)
_BLOCK = (
    _Module("ln_1", ("n_embd",), "norm", "attn_norm"),
    _Module("attn.c_attn", ("n_embd", "3 * n_embd"), "attention", "attn_qkv", fused_parts=3),
    _Module("attn.c_proj", ("n_embd", "n_embd"), "attention", "attn_output"),
    _Module("ln_2", ("n_embd",), "norm", "ffn_norm"),
    _Module("mlp.c_fc", ("n_embd", "n_inner"), "mlp", "ffn_up"),
    _Module("mlp.c_proj", ("n_inner", "n_embd"), "mlp", "ffn_down"),
)
_FINAL_NORM = _Module("ln_f", ("n_embd",), "norm", "output_norm")  # GPT-2 only
_HEAD = _Module("lm_head", ("vocab_size", "n_embd"), "head", "output", bias=False)  # only if it is not tied to wte

_GPT1_NAMES = {"wte": "tokens_embed", "wpe": "positions_embed"}  # in Hugging Face's openai-gpt

LINEAR_LAYERS = tuple(dict.fromkeys(m.name.rpartition(".")[2] for m in _BLOCK if len(m.dims) == 2))
"""Names of the linear layers of a block: c_attn, c_proj (of attention and of the MLP) and c_fc"""

VOCAB_TENSORS = tuple(f"{m.name}.weight" for m in (*_EMBEDDINGS, _HEAD) if m.dims[0] == "vocab_size")
"""Tensors with one row per token"""


@lru_cache(maxsize=64)
def tensor_specs(
    *, vocab_size: int, block_size: int, n_layer: int, n_embd: int, n_inner: int, pre_norm: bool, tied: bool
) -> tuple[TensorSpec, ...]:
    """Every tensor of a model of these sizes, in the order of the forward pass.

    Args as in ModelConfig; `pre_norm`: GPT-2, which has a final LayerNorm; `tied`: the head has no tensor of its own.
    """
    sizes = {"vocab_size": vocab_size, "block_size": block_size}
    sizes |= {"n_embd": n_embd, "3 * n_embd": 3 * n_embd, "n_inner": n_inner}

    def specs(module: _Module, prefix: str = "", gguf_prefix: str = "") -> list[TensorSpec]:
        shape = tuple(sizes[dim] for dim in module.dims)
        name, gguf_name = prefix + module.name, gguf_prefix + module.gguf
        hf_name = name if pre_norm else _GPT1_NAMES.get(name, name)
        if module.role != "head":
            hf_name = f"transformer.{hf_name}"

        def spec(kind: str, shape: tuple[int, ...]) -> TensorSpec:
            names = f"{hf_name}.{kind}", f"{gguf_name}.{kind}"
            return TensorSpec(f"{name}.{kind}", shape, module.role, *names, module.fused_parts)

        return [spec("weight", shape), *([spec("bias", shape[-1:])] if module.bias else ())]

    found = [spec for module in _EMBEDDINGS for spec in specs(module)]
    for i in range(n_layer):
        found += [spec for module in _BLOCK for spec in specs(module, f"h.{i}.", f"blk.{i}.")]
    if pre_norm:
        found += specs(_FINAL_NORM)
    if not tied:
        found += specs(_HEAD)
    return tuple(found)
