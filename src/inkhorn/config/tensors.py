"""The tensors of a GPT: the one table of names, shapes and roles.

File names, parameter counts, FLOPs, optimizer groups, LoRA targets, vocabulary padding, the GGUF export, the web export
and the order in which the kernel takes the weights all derive from it. `ModelConfig.tensor_specs` fills in the sizes.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
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
class Module:
    """A module with a weight and perhaps a bias; `dims` are the weight's, the bias has the last of them."""

    name: str
    dims: tuple[str, ...]
    role: Role
    gguf: str
    bias: bool = True
    fused_parts: int = 1

    def specs(self, sizes: Mapping[str, int], pre_norm: bool, layer: int | None = None) -> list[TensorSpec]:
        """The weight and the bias, in block `layer` if it is given, of a GPT-2 (`pre_norm`) or GPT-1."""
        name, gguf_name = self.name, self.gguf
        if layer is not None:
            name, gguf_name = f"h.{layer}.{name}", f"blk.{layer}.{gguf_name}"
        hf_name = name if pre_norm else _GPT1_NAMES.get(name, name)
        if self.role != "head":
            hf_name = f"transformer.{hf_name}"
        shape = tuple(sizes[dim] for dim in self.dims)
        return [
            TensorSpec(f"{name}.{kind}", dims, self.role, f"{hf_name}.{kind}", f"{gguf_name}.{kind}", self.fused_parts)
            for kind, dims in (("weight", shape), ("bias", shape[-1:]))
            if kind == "weight" or self.bias
        ]


EMBEDDINGS = (
    Module("wte", ("vocab_size", "n_embd"), "token_embedding", "token_embd", bias=False),
    Module("wpe", ("block_size", "n_embd"), "position_embedding", "position_embd", bias=False),
)
BLOCK = (
    Module("ln_1", ("n_embd",), "norm", "attn_norm"),
    Module("attn.c_attn", ("n_embd", "3 * n_embd"), "attention", "attn_qkv", fused_parts=3),
    Module("attn.c_proj", ("n_embd", "n_embd"), "attention", "attn_output"),
    Module("ln_2", ("n_embd",), "norm", "ffn_norm"),
    Module("mlp.c_fc", ("n_embd", "n_inner"), "mlp", "ffn_up"),
    Module("mlp.c_proj", ("n_inner", "n_embd"), "mlp", "ffn_down"),
)
FINAL_NORM = Module("ln_f", ("n_embd",), "norm", "output_norm")  # GPT-2 only
HEAD = Module("lm_head", ("vocab_size", "n_embd"), "head", "output", bias=False)  # only if it is not tied to wte

_GPT1_NAMES = {"wte": "tokens_embed", "wpe": "positions_embed"}  # in Hugging Face's openai-gpt

LINEAR_LAYERS = tuple(dict.fromkeys(m.name.rpartition(".")[2] for m in BLOCK if len(m.dims) == 2))
"""Names of the linear layers of a block: c_attn, c_proj (of attention and of the MLP) and c_fc"""

VOCAB_TENSORS = tuple(f"{m.name}.weight" for m in (*EMBEDDINGS, HEAD) if m.dims[0] == "vocab_size")
"""Tensors with one row per token"""
