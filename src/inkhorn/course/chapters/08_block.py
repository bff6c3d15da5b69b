# %% [markdown]
# # 8. The block
#
# **How does one layer build on the results of another?**
#
# Attention, MLP and their norms together form a *block*. It reads the residual stream and adds to it, and its output
# has the shape of its input, so we can put any number of blocks one after the other. The first ones find simple
# things, such as which letter came before; later ones look up things with the help of what earlier ones have added.
#
# That is all. The result is a GPT: with 12 blocks, 12 heads, 768 channels and 50,257 tokens this very code is GPT-2.
# Its names are those of [model.py](../../src/inkhorn/model.py), which computes exactly the same logits from the same
# parameters.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from inkhorn.course.text import read_text

block_size = 32  # T: tokens of a piece
batch_size = 32  # B: pieces of a batch
n_embd = 64  # C: numbers per token
n_head = 4  # nh: heads of an attention layer
n_layer = 2  # blocks
learning_rate = 0.006  # how far one step changes each number
steps = 300


# %%
def attention_weights(q, k):
    """Queries and keys (..., T, hs) to weights (..., T, T): row t says how much token t takes from each token."""
    T, hs = q.shape[-2:]
    scores = q @ k.mT / math.sqrt(hs)  # (..., T, T): how well each query matches each key
    future = torch.ones(T, T, dtype=torch.bool).triu(1)  # (T, T): True above the diagonal
    return scores.masked_fill(future, -math.inf).softmax(dim=-1)  # (..., T, T): exp(-inf) is 0


def split_heads(x, n_head):
    """(B, T, C) to (B, nh, T, hs): cut the C numbers of each token into nh parts of hs numbers."""
    B, T, C = x.shape
    return x.view(B, T, n_head, C // n_head).transpose(1, 2)  # (B, T, nh, hs), then (B, nh, T, hs)


class CausalSelfAttention(nn.Module):
    """(B, T, C) to (B, T, C): each token gathers values from those before it, in n_head independent ways."""

    def __init__(self):
        super().__init__()
        self.c_attn = nn.Linear(n_embd, 3 * n_embd)  # query, key and value of all heads
        self.c_proj = nn.Linear(n_embd, n_embd)  # mixes what the heads have found

    def forward(self, x):
        qkv = self.c_attn(x).chunk(3, dim=2)  # (B, T, 3C), then three of (B, T, C)
        q, k, v = (split_heads(part, n_head) for part in qkv)  # (B, nh, T, hs) each
        y = attention_weights(q, k) @ v  # (B, nh, T, T) @ (B, nh, T, hs), so (B, nh, T, hs)
        return self.c_proj(y.transpose(1, 2).flatten(2))  # (B, T, nh, hs), then (B, T, C)


class MLP(nn.Module):
    """(B, T, C) to (B, T, C), each token on its own: widen to 4C numbers, apply GELU, return to C."""

    def __init__(self):
        super().__init__()
        self.c_fc = nn.Linear(n_embd, 4 * n_embd)
        self.act = nn.GELU(approximate="tanh")
        self.c_proj = nn.Linear(4 * n_embd, n_embd)

    def forward(self, x):
        return self.c_proj(self.act(self.c_fc(x)))  # (B, T, 4C) between the two, then (B, T, C)


# %%
class Block(nn.Module):
    """(B, T, C) to (B, T, C): attention, then MLP, each normalized before and added to the residual stream."""

    def __init__(self):
        super().__init__()
        self.ln_1 = nn.LayerNorm(n_embd)  # the layer norm of chapter 7
        self.attn = CausalSelfAttention()
        self.ln_2 = nn.LayerNorm(n_embd)
        self.mlp = MLP()

    def forward(self, x):
        x = x + self.attn(self.ln_1(x))
        return x + self.mlp(self.ln_2(x))


# %%
class GPT(nn.Module):
    """Predicts each next token from those so far."""

    def __init__(self, vocab_size):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)  # token embeddings: (V, C)
        self.wpe = nn.Embedding(block_size, n_embd)  # position embeddings: (block_size, C)
        self.h = nn.ModuleList([Block() for _ in range(n_layer)])
        self.ln_f = nn.LayerNorm(n_embd)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)  # language-model head: (V, C)

    def forward(self, idx):
        """(B, T) token ids to (B, T, V) logits for the token after each of them."""
        T = idx.shape[1]
        # EXERCISE: add both embeddings, pass the sum through every block of self.h, then through ln_f and lm_head
        x = self.wte(idx) + self.wpe(torch.arange(T))  # (B, T, C) + (T, C), so (B, T, C)
        for block in self.h:
            x = block(x)  # (B, T, C)
        return self.lm_head(self.ln_f(x))  # (B, T, V)
        # END


# %% [markdown]
# ## Training, measuring and writing, as in chapter 2 (`F.cross_entropy` is torch's own)


# %%
def random_batch(ids):
    """Token ids (B, T), and the token that follows each of them (B, T)."""
    starts = torch.randint(len(ids) - block_size, (batch_size, 1))  # (B, 1): where each piece starts
    pieces = ids[starts + torch.arange(block_size + 1)]  # (B, 1) + (T + 1,), so (B, T + 1)
    return pieces[:, :-1], pieces[:, 1:]


def train(model, ids):
    """Change the model's parameters so that the loss on a text falls."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for step in range(1, steps + 1):
        idx, targets = random_batch(ids)
        loss = F.cross_entropy(model(idx).flatten(0, 1), targets.flatten())  # of (B * T, V) and (B * T,): ()
        optimizer.zero_grad()  # forget the gradient of the last step
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step:4}: training loss {sum(losses[-100:]) / 100:.2f} (mean of the last 100)")


@torch.no_grad()  # no gradients are needed here
def evaluate(model, ids):
    """The loss on all pieces of a text."""
    n = (len(ids) - 1) // block_size
    idx = ids[: n * block_size].view(n, block_size)  # (n, T)
    targets = ids[1 : n * block_size + 1].view(n, block_size)  # (n, T)
    return F.cross_entropy(model(idx).flatten(0, 1), targets.flatten()).item()


@torch.no_grad()
def generate(model, idx, n):
    """Continue each row of idx, (B, T), by n tokens: (B, T + n)."""
    for _ in range(n):
        logits = model(idx[:, -block_size:])[:, -1]  # (B, T, V), then (B, V): after the last token
        following = torch.multinomial(logits.softmax(dim=-1), num_samples=1)  # (B, 1)
        idx = torch.cat([idx, following], dim=1)  # (B, T + 1)
    return idx


# %%
if __name__ == "__main__":
    torch.manual_seed(1337)  # the same random numbers in every run
    text = read_text()
    characters = sorted(set(text))
    ids = torch.tensor([characters.index(character) for character in text])  # (number of characters,)
    split = int(0.9 * len(ids))
    train_ids, val_ids = ids[:split], ids[split:]

    model = GPT(len(characters))
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    train(model, train_ids)
    print(f"validation loss {evaluate(model, val_ids):.2f}")
    print("".join(characters[i] for i in generate(model, torch.tensor([[characters.index("\n")]]), 200)[0]))

# %% [markdown]
# ## Losses so far
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
#
# **What is missing.** The model is complete; nothing will be added to it. But the way we train it is still that of
# chapter 2, made for a table of pairs.
#
# **Exercise.** `inkhorn learn 8` leaves a hole in `GPT.forward`. To think about: how many parameters does one block
# have, as a formula in C? Check it: `sum(p.numel() for p in Block().parameters())`.
#
# **Elsewhere.** Karpathy assembles the block in [Let's build GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY), in the
# last half hour. The [architecture figure](../architecture.svg) shows the whole model on one page.
