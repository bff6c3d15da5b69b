# %% [markdown]
# # 4. Attention by queries and keys
#
# **How can a token choose which earlier tokens to look at?**
#
# In chapter 3 the matrix of weights was the same for every text. Now each token computes its own row. It
# asks a question, the *query*; every token offers a description of itself, the *key*; the better a key matches the
# query, the more weight its token gets. What a token then hands over is a third vector, its *value*. All three are
# computed from the token's own vector by a matrix of parameters, so training decides what is asked and what is offered.
#
# To ask for "the letter just before me", a token must know where it stands. So we add a second embedding, of
# the *position*, to that of the token.

# %%
import math

import torch
import torch.nn.functional as F
from torch import nn

from inkhorn.course.text import read_text

block_size = 32  # T: tokens of a piece
batch_size = 32  # B: pieces of a batch
n_embd = 64  # C: numbers per token
learning_rate = 0.006  # how far one step changes each number
steps = 300

# %% [markdown]
# ## From queries and keys to weights
#
# The match of a query and a key, the *score*, is their dot product: multiply them number by number and add up. It is
# large if they point in the same direction. The rest is familiar. As in chapter 3, tokens must not see later ones:
# their scores become minus infinity. As in chapter 2, softmax turns a row of numbers into shares that sum to 1.
#
# hs is the number of numbers in a query, here C. A dot product of more numbers is larger, so we divide by the square
# root of hs. Otherwise a single token could get all the weight before training has begun.


# %%
def attention_weights(q, k):
    """Queries and keys (..., T, hs) to weights (..., T, T): row t says how much token t takes from each token."""
    T, hs = q.shape[-2:]
    # EXERCISE: divide the dot products of queries and keys by sqrt(hs), mask the future with -inf, apply softmax
    scores = q @ k.mT / math.sqrt(hs)  # (..., T, T): how well each query matches each key
    future = torch.ones(T, T, dtype=torch.bool).triu(1)  # (T, T): True above the diagonal
    return scores.masked_fill(future, -math.inf).softmax(dim=-1)  # (..., T, T): exp(-inf) is 0
    # END


# %% [markdown]
# ## The attention layer
#
# With all queries zero, all scores are equal and the result is exactly the average of chapter 3.


# %%
class CausalSelfAttention(nn.Module):
    """(B, T, C) to (B, T, C): each token gathers values from itself and the tokens before it."""

    def __init__(self):
        super().__init__()
        self.query = nn.Linear(n_embd, n_embd)
        self.key = nn.Linear(n_embd, n_embd)
        self.value = nn.Linear(n_embd, n_embd)

    def forward(self, x):
        q, k, v = self.query(x), self.key(x), self.value(x)  # (B, T, C) each; here hs = C
        return attention_weights(q, k) @ v  # (B, T, T) @ (B, T, C), so (B, T, C)


# %%
class LanguageModel(nn.Module):
    """Predicts each next token from those so far, by one attention layer."""

    def __init__(self, vocab_size):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)  # token embeddings: (V, C)
        self.wpe = nn.Embedding(block_size, n_embd)  # position embeddings: (block_size, C)
        self.attn = CausalSelfAttention()
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)  # language-model head: (V, C)

    def forward(self, idx):
        """(B, T) token ids to (B, T, V) logits for the token after each of them."""
        T = idx.shape[1]
        x = self.wte(idx) + self.wpe(torch.arange(T))  # (B, T, C) + (T, C), so (B, T, C)
        x = self.attn(x)  # (B, T, C)
        return self.lm_head(x)  # (B, T, V)


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

    model = LanguageModel(len(characters))
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
#
# For the first time more context beats counting pairs.
#
# **What is missing.** Each token can ask one question only. It would help to know the last letter *and* the start of
# the word *and* who is speaking. One set of weights cannot fetch all of these at once without mixing them up.
#
# **Exercise.** `inkhorn learn 4` leaves a hole in `attention_weights`. To think about: what can this model do without
# position embeddings, and what not?
#
# **Elsewhere.** 3Blue1Brown's [chapter 6](https://www.3blue1brown.com/lessons/attention) is about queries, keys and
# values. Karpathy gets here in [Let's build GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY), after one hour. Olah and
# Carter show where attention came from in [Augmented Recurrent Neural Networks](https://distill.pub/2016/augmented-rnns/).
