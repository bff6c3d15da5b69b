"""Minimal models with the tensor names and forward pass of nanoGPT, minGPT and "Let's build GPT", for import tests.

Weights are random with a deviation of 0.3, so that an error in any of them changes the logits.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def init_weights(model: nn.Module, seed: int = 0, scale: float = 0.3) -> Any:
    """Give every parameter random values: LayerNorm weights around 1, others around 0. Buffers are unchanged."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in model.modules():
            gain = 1.0 if isinstance(module, nn.LayerNorm | LayerNorm) else 0.0
            for name, parameter in module.named_parameters(recurse=False):
                base = gain if name == "weight" else 0.0
                parameter.copy_(base + scale * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def modules(parts: Any) -> list[Any]:
    """The modules of a container as `Any`, because type checkers do not know attributes set on a module."""
    return list(parts)


def attention(q: Tensor, k: Tensor, v: Tensor, scale: float) -> Tensor:
    """Causal attention; q, k, v and the result are (..., T, head_dim)."""
    scores = (q @ k.mT) * scale
    mask = torch.ones_like(scores, dtype=torch.bool).triu(1)
    return scores.masked_fill(mask, -math.inf).softmax(-1) @ v


class LayerNorm(nn.Module):
    """LayerNorm with an optional bias, as in nanoGPT."""

    def __init__(self, width: int, bias: bool) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))
        self.bias = nn.Parameter(torch.zeros(width)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, 1e-5)


class NanoGPTBlock(nn.Module):
    def __init__(self, width: int, n_head: int, block_size: int, bias: bool, act: nn.Module) -> None:
        super().__init__()
        self.n_head = n_head
        self.ln_1, self.ln_2 = LayerNorm(width, bias), LayerNorm(width, bias)
        self.attn = nn.ModuleDict(
            {"c_attn": nn.Linear(width, 3 * width, bias=bias), "c_proj": nn.Linear(width, width, bias=bias)}
        )
        self.attn.register_buffer("bias", torch.tril(torch.ones(1, 1, block_size, block_size)))
        self.mlp = nn.ModuleDict(
            {
                "c_fc": nn.Linear(width, 4 * width, bias=bias),
                "c_proj": nn.Linear(4 * width, width, bias=bias),
                "act": act,
            }
        )

    def forward(self, x: Tensor) -> Tensor:
        B, T, C = x.shape
        parts = self.attn["c_attn"](self.ln_1(x)).split(C, dim=-1)
        q, k, v = (part.view(B, T, self.n_head, -1).transpose(1, 2) for part in parts)
        y = attention(q, k, v, (C // self.n_head) ** -0.5).transpose(1, 2).reshape(B, T, C)
        x = x + self.attn["c_proj"](y)
        return x + self.mlp["c_proj"](self.mlp["act"](self.mlp["c_fc"](self.ln_2(x))))


class NanoGPT(nn.Module):
    """nanoGPT (tied, erf GELU, with or without biases) or minGPT (untied, tanh GELU)."""

    def __init__(
        self, V: int, C: int = 24, n_head: int = 3, n_layer: int = 2, T: int = 16, bias: bool = True, nano: bool = True
    ) -> None:
        super().__init__()
        act = nn.GELU() if nano else nn.GELU(approximate="tanh")
        table = nn.Embedding(V, C)
        parts: dict[str, nn.Module] = {
            "wte": table,
            "wpe": nn.Embedding(T, C),
            "h": nn.ModuleList([NanoGPTBlock(C, n_head, T, bias, act) for _ in range(n_layer)]),
            "ln_f": LayerNorm(C, bias),
        }
        self.transformer = nn.ModuleDict(parts)
        self.lm_head = nn.Linear(C, V, bias=False)
        if nano:
            self.lm_head.weight = table.weight
        self.model_args = {
            "n_layer": n_layer, "n_head": n_head, "n_embd": C, "block_size": T, "bias": bias, "vocab_size": V,
            "dropout": 0.2,
        }  # fmt: skip
        init_weights(self)

    def forward(self, idx: Tensor) -> Tensor:
        parts = self.transformer
        x = parts["wte"](idx) + parts["wpe"](torch.arange(idx.shape[1]))
        for block in modules(parts["h"]):
            x = block(x)
        logits: Tensor = self.lm_head(parts["ln_f"](x))
        return logits


class MinGPT2020(nn.Module):
    """minGPT of 2020: separate q, k and v, position embedding as a parameter, erf GELU."""

    def __init__(self, V: int, C: int = 24, n_head: int = 3, n_layer: int = 2, T: int = 16) -> None:
        super().__init__()
        self.n_head = n_head
        self.tok_emb, self.pos_emb = nn.Embedding(V, C), nn.Parameter(torch.zeros(1, T, C))
        blocks = []
        for _ in range(n_layer):
            block: Any = nn.Module()
            block.ln1, block.ln2, block.attn = nn.LayerNorm(C), nn.LayerNorm(C), nn.Module()
            for name in ("key", "query", "value", "proj"):
                setattr(block.attn, name, nn.Linear(C, C))
            block.attn.register_buffer("mask", torch.tril(torch.ones(1, 1, T, T)))
            block.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C), nn.Dropout(0.1))
            blocks.append(block)
        self.blocks, self.ln_f = nn.Sequential(*blocks), nn.LayerNorm(C)
        self.head = nn.Linear(C, V, bias=False)
        init_weights(self)

    def forward(self, idx: Tensor) -> Tensor:
        x: Any = self.tok_emb(idx) + self.pos_emb[:, : idx.shape[1]]
        B, T, C = x.shape
        for block in modules(self.blocks):
            attn = block.attn
            y = block.ln1(x)
            q, k, v = (f(y).view(B, T, self.n_head, -1).transpose(1, 2) for f in (attn.query, attn.key, attn.value))
            x = x + attn.proj(attention(q, k, v, (C // self.n_head) ** -0.5).transpose(1, 2).reshape(B, T, C))
            x = x + block.mlp(block.ln2(x))
        logits: Tensor = self.head(self.ln_f(x))
        return logits


class LetsBuildGPT(nn.Module):
    """Karpathy's "Let's build GPT"; attention is scaled by `scale`: "width" as in the
    video, or "head" as in the code published later.
    """

    def __init__(
        self, V: int, C: int = 24, n_head: int = 3, n_layer: int = 2, T: int = 16, scale: str = "width"
    ) -> None:
        super().__init__()
        size = C // n_head
        self.scale = (C if scale == "width" else size) ** -0.5
        self.token_embedding_table, self.position_embedding_table = nn.Embedding(V, C), nn.Embedding(T, C)
        blocks = []
        for _ in range(n_layer):
            block: Any = nn.Module()
            block.sa, block.ffwd = nn.Module(), nn.Module()
            heads = []
            for _ in range(n_head):
                head: Any = nn.Module()
                head.key, head.query, head.value = (nn.Linear(C, size, bias=False) for _ in range(3))
                head.register_buffer("tril", torch.tril(torch.ones(T, T)))
                heads.append(head)
            block.sa.heads, block.sa.proj = nn.ModuleList(heads), nn.Linear(size * n_head, C)
            block.ffwd.net = nn.Sequential(nn.Linear(C, 4 * C), nn.ReLU(), nn.Linear(4 * C, C), nn.Dropout(0.2))
            block.ln1, block.ln2 = nn.LayerNorm(C), nn.LayerNorm(C)
            blocks.append(block)
        self.blocks, self.ln_f, self.lm_head = nn.Sequential(*blocks), nn.LayerNorm(C), nn.Linear(C, V)
        init_weights(self)

    def forward(self, idx: Tensor) -> Tensor:
        x: Any = self.token_embedding_table(idx) + self.position_embedding_table(torch.arange(idx.shape[1]))
        for block in modules(self.blocks):
            y, sa, ffwd = block.ln1(x), block.sa, block.ffwd
            parts = [attention(head.query(y), head.key(y), head.value(y), self.scale) for head in sa.heads]
            x = x + sa.proj(torch.cat(parts, -1))
            x = x + ffwd.net(block.ln2(x))
        logits: Tensor = self.lm_head(self.ln_f(x))
        return logits
