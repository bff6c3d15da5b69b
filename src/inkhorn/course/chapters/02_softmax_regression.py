# %% [markdown]
# # 2. Softmax regression: learning the table
#
# **Can the machine find the table of chapter 1 by itself, without counting?**
#
# Chapter 1 computed the best table in one go. For the models to come nobody knows such a formula. What always works is
# to start with random numbers, measure the loss, and change each number a little in the direction that
# lowers the loss. Repeated a thousand times, this is *training by gradient descent*. Here we train the same table, so
# that we know the right answer.
#
# New letters: B is the number of pieces of text in a *batch*, T the number of tokens in each piece.

# %%
import torch
from torch import nn

from inkhorn.course.text import read_text

block_size = 32  # T: tokens of a piece
batch_size = 32  # B: pieces of a batch
learning_rate = 0.03  # how far one step changes each number
steps = 1000


# %%
def encode(text, characters):
    """The token id of each character of a text."""
    id_of = {character: i for i, character in enumerate(characters)}
    return torch.tensor([id_of[character] for character in text])  # (number of characters,)


# %% [markdown]
# ## The model
#
# It has one row of V numbers for each token, as in chapter 1. The numbers are the *parameters*: what training may
# change. We cannot let training change probabilities directly, because they would no longer sum to 1. So the rows hold
# any numbers at all, called *logits*, and a function turns a row of logits into probabilities.
#
# `nn.Module` is torch's class for anything with parameters: it finds them by itself, and `model(idx)` calls
# `forward(idx)`. `nn.Embedding` is a table of parameters whose rows are looked up by number.


# %%
class LanguageModel(nn.Module):
    """Predicts each next token from the one before, by a table of logits."""

    def __init__(self, vocab_size):
        super().__init__()
        self.table = nn.Embedding(vocab_size, vocab_size)  # (V, V) parameters, random at first

    def forward(self, idx):
        """(B, T) token ids to (B, T, V) logits for the token after each of them."""
        return self.table(idx)  # (B, T, V): the rows of the tokens


# %% [markdown]
# ## Softmax and cross-entropy
#
# The function is *softmax*: p = exp(logit) / sum of exp(all logits of the row). It makes every number positive
# and the sum 1; the largest logit gets the largest probability. We need ln p, which is
# logit - ln(sum of exp(all logits)). Subtracting the largest logit first changes nothing, and exp never overflows.
#
# The loss is that of chapter 1, the mean of -ln p over the tokens that really came next, the *targets*. Its
# name is *cross-entropy*.


# %%
def cross_entropy(logits, targets):
    """Mean of -ln p(target): logits (B, T, V) and targets (B, T) to a single number ()."""
    # EXERCISE: compute ln p of all tokens from the logits, then return the mean of -ln p of the targets
    shifted = logits - logits.max(dim=-1, keepdim=True).values  # (B, T, V)
    log_p = shifted - shifted.exp().sum(dim=-1, keepdim=True).log()  # (B, T, V)
    return -log_p.gather(-1, targets.unsqueeze(-1)).mean()  # gather picks ln p of each target, (B, T, 1); then ()
    # END


# %% [markdown]
# ## Batches
#
# A step looks at B random pieces of the text. The targets are the same pieces moved by one: at every
# position the model predicts the next token, so a batch holds B * T examples.


# %%
def random_batch(ids):
    """Token ids (B, T), and the token that follows each of them (B, T)."""
    starts = torch.randint(len(ids) - block_size, (batch_size, 1))  # (B, 1): where each piece starts
    pieces = ids[starts + torch.arange(block_size + 1)]  # (B, 1) + (T + 1,), so (B, T + 1)
    return pieces[:, :-1], pieces[:, 1:]


# %% [markdown]
# ## Training
#
# `loss.backward()` computes the *gradient*: for every parameter, how fast the loss grows if that parameter grows.
# Torch does this for any formula, by the chain rule of calculus. The optimizer then moves each parameter a
# little against its gradient. Plain gradient descent would be `parameter -= learning_rate * parameter.grad`;
# AdamW also adapts the size of the step to each parameter, which is much faster.


# %%
def train(model, ids):
    """Change the model's parameters so that the loss on a text falls."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=learning_rate)
    losses = []
    for step in range(1, steps + 1):
        idx, targets = random_batch(ids)
        loss = cross_entropy(model(idx), targets)
        optimizer.zero_grad()  # forget the gradient of the last step
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step:4}: training loss {sum(losses[-100:]) / 100:.2f} (mean of the last 100)")


# %% [markdown]
# ## Measuring and writing
#
# The validation loss is measured on the whole validation text, in pieces of T tokens that do not overlap. To write,
# only the logits after the last token matter.


# %%
@torch.no_grad()  # no gradients are needed here
def evaluate(model, ids):
    """The loss on all pieces of a text."""
    n = (len(ids) - 1) // block_size
    idx = ids[: n * block_size].view(n, block_size)  # (n, T)
    targets = ids[1 : n * block_size + 1].view(n, block_size)  # (n, T)
    return cross_entropy(model(idx), targets).item()


@torch.no_grad()
def generate(model, idx, n):
    """Continue each row of idx, (B, T), by n tokens: (B, T + n)."""
    for _ in range(n):
        logits = model(idx[:, -block_size:])[:, -1]  # (B, T, V), then (B, V): after the last token
        following = torch.multinomial(logits.softmax(dim=-1), num_samples=1)  # (B, 1)
        idx = torch.cat([idx, following], dim=1)  # (B, T + 1)
    return idx


# %% [markdown]
# ## Try it

# %%
if __name__ == "__main__":
    torch.manual_seed(1337)  # the same random numbers in every run
    text = read_text()
    characters = sorted(set(text))
    ids = encode(text, characters)
    split = int(0.9 * len(ids))
    train_ids, val_ids = ids[:split], ids[split:]

    model = LanguageModel(len(characters))
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    print(f"validation loss before training {evaluate(model, val_ids):.2f}")
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
#
# Training has found the table: with more steps the loss comes as close to chapter 1's as you like. Nobody
# counted. The name of this model is *softmax regression*: looking up a row is the same as multiplying the table by a
# vector that is 1 at the token's place and 0 elsewhere.
#
# **What is missing.** The model still sees one character. But now we may change the model into anything that
# computes logits, and train it in the same way. From here on only the class `LanguageModel` changes.
#
# **Exercise.** `inkhorn learn 2` leaves a hole in `cross_entropy`. To think about: the loss before training is
# above 4.17, the loss of a model that knows nothing. How can a model be worse than that?
#
# **Elsewhere.** 3Blue1Brown shows [gradient descent](https://www.3blue1brown.com/lessons/gradient-descent) and
# [backpropagation](https://www.3blue1brown.com/lessons/backpropagation), as does Olah in
# [Calculus on Computational Graphs](https://colah.github.io/posts/2015-08-Backprop/). Karpathy does this
# chapter in the second half of [makemore, part 1](https://www.youtube.com/watch?v=PaCmpygFfXo).
