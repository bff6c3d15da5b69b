"""The GPT itself, in one file to be read from top to bottom: attention, MLP, block, model, loss, generation.

It is both of OpenAI's first two:
  GPT-2 (model_type "gpt2")       x = x + sublayer(norm(x)), and one more norm, ln_f, before the head
  GPT-1 (model_type "openai-gpt") x = norm(x + sublayer(x)), and no norm at the end
Both have learned positions, full causal attention, an MLP four times as wide as the residual stream, and a head that
shares the token embedding's matrix. Tensor names are OpenAI's. In the comments B is the batch, T the tokens of a row,
C = n_embd the width, nh = n_head the heads, hs = C / nh the size of one head, V the vocabulary.

Sources: Vaswani et al. 2017 (attention); Radford et al. 2018 and 2019 with OpenAI's code for both.
"""

import math
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from inkhorn.checkpoint.tensor_file import Array
from inkhorn.checkpoint.weights import read_config, read_weights, write_weights
from inkhorn.config.model import ModelConfig
from inkhorn.config.tensors import TensorSpec

ACTIVATIONS = {"gelu_new": nn.GELU(approximate="tanh"), "gelu": nn.GELU(), "relu": nn.ReLU()}


def uses_explicit_attention(device: torch.device, dtype: torch.dtype, T: int) -> bool:
    """Whether `attend` stores the (T, T) matrix (docs/log.md has the measurements)."""
    return device.type == "cpu" and dtype == torch.bfloat16 and T <= 512


def attend(q: Tensor, k: Tensor, v: Tensor, dropout: float = 0.0) -> Tensor:
    """softmax(q k^T / sqrt(hs)) v with the future masked: (B, nh, T, hs) three times to (B, nh, T, hs).

    Computed explicitly where that is faster, otherwise by torch's fused kernel, which never stores the (T, T) matrix.
    """
    T, hs = q.shape[-2:]
    if uses_explicit_attention(q.device, q.dtype, T):
        scores = (q / math.sqrt(hs)) @ k.mT  # (B, nh, T, T): how well each query matches each key
        future = torch.full((T, T), -math.inf, dtype=q.dtype).triu(1)  # (T, T): -inf above the diagonal, 0 elsewhere
        weights = (scores + future).softmax(dim=-1)  # (B, nh, T, T): each row sums to 1
        return F.dropout(weights, dropout) @ v
    return F.scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True)


class CausalSelfAttention(nn.Module):
    """Each token gathers values from itself and the tokens before it, in n_head independent ways."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)  # query, key and value of all heads in one product
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)
        self.attn_pdrop = config.attn_pdrop
        self.resid_dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        B, T, C = x.shape
        q, k, v = self.c_attn(x).split(C, dim=2)  # three of (B, T, C)
        q = q.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        k = k.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        v = v.view(B, T, self.n_head, C // self.n_head).transpose(1, 2)  # (B, nh, T, hs)
        y = attend(q, k, v, self.attn_pdrop if self.training else 0.0)  # (B, nh, T, hs)
        y = y.transpose(1, 2).reshape(B, T, C)  # (B, T, C), the heads side by side again
        return self.resid_dropout(self.c_proj(y))


class MLP(nn.Module):
    """Position-wise feed-forward: expand to 4 * n_embd, activation, project back."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, config.inner)
        self.act = ACTIVATIONS[config.activation_function]
        self.c_proj = nn.Linear(config.inner, config.n_embd)
        self.dropout = nn.Dropout(config.resid_pdrop)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        x = self.act(self.c_fc(x))  # (B, T, 4C)
        return self.dropout(self.c_proj(x))  # (B, T, C)


class Block(nn.Module):
    """Attention, then MLP, each added to the residual stream; the norms stand where the model's kind has them."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.pre_norm = config.pre_norm
        self.ln_1 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon)
        self.mlp = MLP(config)

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, C) to (B, T, C)."""
        if self.pre_norm:  # GPT-2
            x = x + self.attn(self.ln_1(x))
            x = x + self.mlp(self.ln_2(x))
        else:  # GPT-1
            x = self.ln_1(x + self.attn(x))
            x = self.ln_2(x + self.mlp(x))
        return x


class GPT(nn.Module):
    """A GPT-1 or GPT-2 language model, as its `ModelConfig` says."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)
        self.drop = nn.Dropout(config.embd_pdrop)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd, eps=config.layer_norm_epsilon) if config.pre_norm else nn.Identity()
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)
        if config.tie_word_embeddings:
            self.lm_head.weight = self.wte.weight
        self.init_weights()

    @torch.no_grad()
    def init_weights(self) -> None:
        """Start as OpenAI's did: normal with deviation 0.02, zero biases. In GPT-2 positions have 0.01, and projections
        into the residual stream are smaller by sqrt(2 n_layer), so that its variance does not grow with depth."""
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.zero_()
            elif parameter.dim() == 1:  # a LayerNorm's gain
                parameter.fill_(1.0)
            elif name == "wpe.weight" and self.config.pre_norm:
                parameter.normal_(std=0.01)
            elif name.endswith("c_proj.weight") and self.config.pre_norm:
                parameter.normal_(std=0.02 / math.sqrt(2 * self.config.n_layer))
            else:
                parameter.normal_(std=0.02)

    def forward(self, idx: Tensor, targets: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        """Logits for the token after each of `idx`, and the mean loss in nats per token if `targets` are given.

        Args:
            idx: (B, T) token ids, T at most block_size.
            targets: (B, T) the token that follows each of idx; -1 leaves a position out of the loss.

        Returns:
            logits (B, T, V), and the loss () or None.
        """
        T = idx.shape[1]
        if self.config.block_size < T:
            raise ValueError(f"{T} tokens do not fit into the block size of {self.config.block_size}")
        positions = torch.arange(T, device=idx.device)  # (T,)
        x = self.drop(self.wte(idx) + self.wpe(positions))  # (B, T, C) + (T, C) -> (B, T, C)
        for block in self.h:
            x = block(x)
        logits = self.lm_head(self.ln_f(x))  # (B, T, V)
        if targets is None:
            return logits, None
        flat = logits.float().view(-1, logits.shape[-1])  # (B * T, V); the softmax in float32 whatever the matrices use
        return logits, F.cross_entropy(flat, targets.reshape(-1), ignore_index=-1)

    @torch.no_grad()
    def generate(
        self,
        idx: Tensor,
        max_new_tokens: int,
        temperature: float = 1.0,
        top_k: int | None = None,
        generator: torch.Generator | None = None,
    ) -> Tensor:
        """Continue each row of `idx`, recomputing the whole context for every token: the reference for the engine.

        Args:
            idx: (B, T) token ids, T at least 1; only the last block_size are seen.
            max_new_tokens: how many tokens to add.
            temperature: 0 takes the most probable token, 1 samples from the model's distribution.
            top_k: sample from the k most probable tokens; None or 0 from all.
            generator: torch's source of random numbers.

        Returns:
            (B, T + max_new_tokens) token ids.
        """
        was_training = self.training
        self.eval()
        for _ in range(max_new_tokens):
            logits, _ = self(idx[:, -self.config.block_size :])  # (B, T, V)
            logits = logits[:, -1, :]  # (B, V): the next token
            if temperature == 0:
                following = logits.argmax(dim=-1, keepdim=True)  # (B, 1)
            else:
                logits = logits / temperature
                if top_k:
                    worst = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]  # (B, 1)
                    logits = logits.masked_fill(logits < worst, -math.inf)
                following = torch.multinomial(logits.softmax(dim=-1), 1, generator=generator)  # (B, 1)
            idx = torch.cat([idx, following], dim=1)  # (B, T + 1)
        self.train(was_training)
        return idx

    @classmethod
    def from_pretrained(cls, folder: str | Path) -> "GPT":
        """Load a checkpoint folder, saved by Inkhorn or transformers; CheckpointError if it is invalid."""
        config = read_config(Path(folder))
        model = cls(config)
        weights, parameters = read_weights(Path(folder), config), dict(model.named_parameters())
        with torch.no_grad():
            for spec in config.tensor_specs():
                weight = torch.from_numpy(weights[spec.name])
                parameters[spec.name].copy_(weight.T if spec.is_linear else weight)  # [in, out] on disk
        return model.eval()

    def save_pretrained(self, folder: str | Path, dtype: torch.dtype = torch.float32) -> None:
        """Write config.json and model.safetensors, which transformers loads as they are."""
        parameters = dict(self.named_parameters())

        def values(spec: TensorSpec) -> Array:
            stored = parameters[spec.name].detach().cpu().to(dtype).float()  # NumPy has no bfloat16
            return (stored.T if spec.is_linear else stored).numpy()  # [in, out] on disk

        tensors = {spec.name: partial(values, spec) for spec in self.config.tensor_specs()}
        write_weights(Path(folder), self.config, tensors, str(dtype).removeprefix("torch."))
