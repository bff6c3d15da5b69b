# %% [markdown]
# # 3. Attention by averaging
#
# **How can a token use all the tokens before it, and not only the last one?**
#
# So far each token works alone. In this chapter the tokens exchange information, in the simplest way there is: each
# token takes the average of itself and of all tokens before it. This is called *attention* with equal weights:
# every token pays the same attention to each one before it.
#
# The result will be worse than counting pairs! But it prepares the ground: the next chapter changes
# the weights, and nothing else.
#
# New letter: C is the number of *channels*, the numbers that describe one token (`n_embd` in the code).

# %%
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
# ## The average as a matrix product
#
# Token number t (counting from 0) averages the t + 1 tokens from 0 to t. It must not see later ones: they are what it
# has to predict. Write the shares as a matrix with one row for each token that reads and one column for each token that
# is read:
#
# ```text
# 1    0    0    0
# 1/2  1/2  0    0
# 1/3  1/3  1/3  0
# 1/4  1/4  1/4  1/4
# ```
#
# Multiply this matrix by the tokens' vectors, and each row of the result is the average it should be. The zeros
# above the diagonal are the *causal mask*.


# %%
def average_weights(T):
    """(T, T): row t has 1 / (t + 1) for tokens 0 to t, and 0 for later ones."""
    # EXERCISE: make a (T, T) matrix of ones on and below the diagonal, then divide each row by its sum
    allowed = torch.ones(T, T).tril()  # (T, T): 1 on and below the diagonal, 0 above
    return allowed / allowed.sum(dim=1, keepdim=True)  # (T, T) / (T, 1): row by row
    # END


# %% [markdown]
# ## The model
#
# An average of token *ids* means nothing: 7 is not between 5 and 9 in any useful sense. So each token first gets a
# vector of C numbers, its *embedding*, from a table of parameters. Training will give similar vectors to letters that
# behave alike. At the end the *language-model head* turns the C numbers of each token into V logits. It is a linear
# layer, `nn.Linear`: a multiplication by a matrix of parameters.


# %%
class LanguageModel(nn.Module):
    """Predicts each next token from the average of the tokens so far."""

    def __init__(self, vocab_size):
        super().__init__()
        self.wte = nn.Embedding(vocab_size, n_embd)  # token embeddings: (V, C)
        self.lm_head = nn.Linear(n_embd, vocab_size, bias=False)  # language-model head: (V, C)

    def forward(self, idx):
        """(B, T) token ids to (B, T, V) logits for the token after each of them."""
        T = idx.shape[1]
        x = self.wte(idx)  # (B, T, C)
        x = average_weights(T) @ x  # (T, T) @ (B, T, C), so (B, T, C)
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
#
# **What is missing.** The average is worse than the last letter alone, for two reasons. It forgets the order: `on` and
# `no` have the same average. And the more tokens there are, the less the last one counts, although it matters most. A
# token should *choose* which earlier tokens to look at. That needs other numbers in the matrix, and nothing else.
#
# **Exercise.** `inkhorn learn 3` leaves a hole in `average_weights`. To think about: which matrix in place of
# the average turns this model back into a bigram model?
#
# **Elsewhere.** Karpathy starts from the same average in
# [Let's build GPT](https://www.youtube.com/watch?v=kCc8FmEb1nY), from minute 42. 3Blue1Brown explains embeddings in
# [chapter 5](https://www.3blue1brown.com/lessons/gpt) of his series on neural networks.
