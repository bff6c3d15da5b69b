# %% [markdown]
# # 10. Generating fast
#
# **Why is the second token so much cheaper than the first?**
#
# So far, `generate` has run the whole context through the model for every new token. Almost all of that work
# is repeated. The keys and values of earlier tokens do not depend on later ones, because of the causal mask. So we keep
# them: this is the *KV cache*. A new token then computes only its own query, key and value, and reads
# the rest from the cache.
#
# To see it at work we load a model that Inkhorn ships into our own code. New letter: S counts all tokens so far; T
# now counts only the new ones.

# %%
import math
import time

import torch
from torch import nn

import inkhorn
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.tokenizer.load import load_tokenizer

# %% [markdown]
# ## Attention with a cache
#
# Two things change. There are more keys than queries, so the mask has T rows and S columns: new token number t is token
# number S - T + t of all. And each layer joins the cached keys and values with the new ones.


# %%
def attention_weights(q, k):
    """Queries (..., T, hs) of the last T of S tokens and keys (..., S, hs) to weights (..., T, S)."""
    T, S, hs = q.shape[-2], k.shape[-2], q.shape[-1]
    scores = q @ k.mT / math.sqrt(hs)  # (..., T, S): how well each query matches each key
    future = torch.ones(T, S, dtype=torch.bool).triu(S - T + 1)  # (T, S): True for keys after the query's token
    return scores.masked_fill(future, -math.inf).softmax(dim=-1)  # (..., T, S): exp(-inf) is 0


def split_heads(x, n_head):
    """(B, T, C) to (B, nh, T, hs): cut the C numbers of each token into nh parts of hs numbers."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)  # (B, T, nh, hs), then (B, nh, T, hs)


class CausalSelfAttention(nn.Module):
    """(B, T, C) to (B, T, C): each new token gathers values from itself and all tokens before it."""

    def __init__(self, config):
        super().__init__()
        self.n_head = config.n_head
        self.c_attn = nn.Linear(config.n_embd, 3 * config.n_embd)  # query, key and value of all heads
        self.c_proj = nn.Linear(config.n_embd, config.n_embd)  # mixes what the heads have found

    def forward(self, x, cache):
        """`cache` is empty at first, then holds the keys and values of all tokens so far, (B, nh, S, hs) each."""
        qkv = self.c_attn(x).chunk(3, dim=2)  # (B, T, 3C), then three of (B, T, C)
        q, k, v = (split_heads(part, self.n_head) for part in qkv)  # (B, nh, T, hs) each
        # EXERCISE: put cache["k"] and cache["v"], if they are there, before k and v, then store k and v in the cache
        if cache:
            k = torch.cat([cache["k"], k], dim=2)  # (B, nh, S, hs)
            v = torch.cat([cache["v"], v], dim=2)  # (B, nh, S, hs)
        cache["k"], cache["v"] = k, v
        # END
        y = attention_weights(q, k) @ v  # (B, nh, T, S) @ (B, nh, S, hs), so (B, nh, T, hs)
        return self.c_proj(y.transpose(1, 2).flatten(2))  # (B, T, nh, hs), then (B, T, C)


# %% [markdown]
# ## The rest of the model: that of chapter 8, with a cache for each block
#
# Positions go on counting where the cache ends.


# %%
class MLP(nn.Module):
    """(B, T, C) to (B, T, C), each token on its own: widen to 4C numbers, apply GELU, return to C."""

    def __init__(self, config):
        super().__init__()
        self.c_fc = nn.Linear(config.n_embd, 4 * config.n_embd)
        self.act = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * config.n_embd, config.n_embd)

    def forward(self, x):
        return self.c_proj(self.act(self.c_fc(x)))  # (B, T, 4C) between the two, then (B, T, C)


class Block(nn.Module):
    """(B, T, C) to (B, T, C): attention, then MLP, each normalized before and added to the residual stream."""

    def __init__(self, config):
        super().__init__()
        self.ln_1 = nn.LayerNorm(config.n_embd)
        self.attn = CausalSelfAttention(config)
        self.ln_2 = nn.LayerNorm(config.n_embd)
        self.mlp = MLP(config)

    def forward(self, x, cache):
        x = x + self.attn(self.ln_1(x), cache)
        return x + self.mlp(self.ln_2(x))


class GPT(nn.Module):
    """Predicts each next token from those so far, processing each token once."""

    def __init__(self, config):
        super().__init__()
        self.wte = nn.Embedding(config.vocab_size, config.n_embd)  # token embeddings: (V, C)
        self.wpe = nn.Embedding(config.block_size, config.n_embd)  # position embeddings: (block_size, C)
        self.h = nn.ModuleList([Block(config) for _ in range(config.n_layer)])
        self.ln_f = nn.LayerNorm(config.n_embd)
        self.lm_head = nn.Linear(config.n_embd, config.vocab_size, bias=False)  # language-model head: (V, C)
        self.lm_head.weight = self.wte.weight  # tied, as in chapter 9

    def forward(self, idx, caches):
        """New token ids (B, T) to logits (B, T, V); `caches` is a list with one cache, at first {}, for each block."""
        T = idx.shape[1]
        start = caches[0]["k"].shape[2] if caches[0] else 0  # S - T: how many tokens were there before
        x = self.wte(idx) + self.wpe(torch.arange(start, start + T))  # (B, T, C) + (T, C), so (B, T, C)
        for block, cache in zip(self.h, caches, strict=True):
            x = block(x, cache)  # (B, T, C)
        return self.lm_head(self.ln_f(x))  # (B, T, V)


# %% [markdown]
# ## Writing with and without the cache
#
# Both functions take the most probable token each time (*greedy decoding*), so that their texts can be compared.


# %%
@torch.no_grad()
def generate_slowly(model, idx, n):
    """Continue idx, (B, T), by n tokens, with the whole context anew for each: (B, T + n)."""
    for _ in range(n):
        logits = model(idx, [{} for _ in model.h])[:, -1]  # (B, T, V), then (B, V): after the last token
        idx = torch.cat([idx, logits.argmax(dim=-1, keepdim=True)], dim=1)  # (B, T + 1)
    return idx


@torch.no_grad()
def generate(model, idx, n):
    """The same tokens, but each passes through the model once."""
    caches, new = [{} for _ in model.h], idx
    for _ in range(n):
        logits = model(new, caches)[:, -1]  # (B, T, V), then (B, V): after the last token
        new = logits.argmax(dim=-1, keepdim=True)  # (B, 1): from the second time on, T is 1
        idx = torch.cat([idx, new], dim=1)  # (B, T + 1)
    return idx


# %%
if __name__ == "__main__":
    folder = resolve_checkpoint("shakespeare-char")
    reference, tokenizer = inkhorn.GPT.from_pretrained(folder), load_tokenizer(folder)
    model = GPT(reference.config)
    model.load_state_dict(reference.state_dict())  # the names are the same
    idx = torch.tensor([tokenizer.encode("ROMEO:\n").tolist()])  # (1, T)
    with torch.no_grad():
        same = torch.allclose(model(idx, [{} for _ in model.h]), reference(idx)[0], atol=1e-5)
    print(f"logits equal to those of model.py within 1e-5, which adds in another order: {same}")

    n, texts = 150, []
    for name, function in (("without cache", generate_slowly), ("with cache", generate)):
        began = time.perf_counter()
        texts.append(function(model, idx, n))
        print(f"{name}: {n / (time.perf_counter() - began):.0f} tokens/s")
    print(f"the same text: {torch.equal(*texts)}")
    with inkhorn.load("shakespeare-char") as engine:
        began = time.perf_counter()
        engine.generate("ROMEO:\n", max_tokens=n, temperature=0.0)
        print(f"Inkhorn's engine: {n / (time.perf_counter() - began):.0f} tokens/s")
    print(tokenizer.decode(texts[1][0].tolist()))

# %% [markdown]
# ## What you have built
#
# A GPT that computes the logits of Inkhorn's model, trained as such models are trained, and generating as engines
# do. What an engine adds: a kernel in C++, weights rounded to 8 bits so that less memory is read for each token, and
# many texts that share each read. [performance.md](../performance.md) has the details.
#
# | chapter | validation loss |
# | --- | --- |
# | every character equally probable | 4.17 |
# | 1. bigram | 2.48 |
# | 2. softmax regression | 2.49 |
# | 3. attention by averaging | 3.09 |
# | 4. attention by queries and keys | 2.46 |
# | 5. heads | 2.32 |
# | 6. MLP and residuals | 2.17 |
# | 7. layer norm | 2.18 |
# | 8. the block | 2.15 |
# | 9. training well | 2.05 |
#
# **Exercise.** `inkhorn learn 10` leaves a hole in `CausalSelfAttention.forward`. To think about: what happens when the
# text becomes longer than `block_size`? Why can the cache not simply drop its first token?
#
# **Where to go from here.** The [code tour](../code-tour.md) leads through Inkhorn's own code in the same order.
# `inkhorn serve` shows the attention of every head while the model writes. 3Blue1Brown's
# [chapters 5 to 7](https://www.3blue1brown.com/topics/neural-networks) are worth a second look now.
