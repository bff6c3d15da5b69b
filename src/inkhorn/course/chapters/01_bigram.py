# %% [markdown]
# # 1. Bigram: counting letter pairs
#
# **How well can we guess the next letter of a text from the letter before it?**
#
# A *language model* does one thing: for a piece of text it gives every possible next piece a probability.
# Here the pieces, called *tokens*, are single characters. After `q` a good model says that `u` is almost certain;
# after a space it gives some probability to many letters.
#
# The simplest such model looks at one character and predicts the next from how often each pair of characters,
# a *bigram*, occurs in a text. There is nothing to train: we only count. All later chapters replace parts of this
# one, and we judge each by the same measure, the *loss*, which we define below.
#
# You need to know Python. `torch` serves here for tables of numbers, called *tensors*. A comment such as `# (V, V)`
# gives the shape of a tensor. V is the size of the *vocabulary*: the number of different characters.

# %%
from collections import Counter
from itertools import pairwise

import torch

from inkhorn.course.text import read_text

# %% [markdown]
# ## From text to numbers
#
# A model computes with numbers, so each character gets one: its place in the sorted list of all characters.
# These numbers are the token ids.


# %%
def encode(text, characters):
    """The token id of each character of a text."""
    id_of = {character: i for i, character in enumerate(characters)}
    return torch.tensor([id_of[character] for character in text])  # (number of characters,)


# %% [markdown]
# ## Counting
#
# `counts[a, b]` says how often token b follows token a. Each row belongs to one first character.


# %%
def count_pairs(ids, V):
    """How often each token follows each other one."""
    tokens = ids.tolist()
    counts = torch.zeros(V, V)  # (V, V)
    for (first, second), n in Counter(pairwise(tokens)).items():
        counts[first, second] = n
    return counts


# %% [markdown]
# ## From counts to probabilities
#
# If `u` follows `q` 900 times out of 1,000, its probability after `q` is 0.9. So we divide every row by its sum.
# Before that we add 1 to every count. Otherwise a pair that never occurred would have probability 0, and a single such
# pair in a new text would make the whole text impossible.


# %%
def probabilities_of(counts):
    """The probability of each token after each other one: every row of the result sums to 1."""
    # EXERCISE: add 1 to every count, then divide each row by its sum
    smoothed = counts + 1  # (V, V)
    return smoothed / smoothed.sum(dim=1, keepdim=True)  # (V, V) / (V, 1): row by row
    # END


# %% [markdown]
# ## The loss: how surprised is the model?
#
# Take a text that the model has not seen, and look up the probability p that it gave to each character that really came
# next. The *surprisal* of that character is -ln p, with the natural logarithm: 0 if the model was certain (p = 1), 0.69
# for p = 1/2, 2.3 for p = 1/10. The loss is the mean surprisal. Lower is better.
#
# If all 65 characters were equally probable, the loss would be ln 65 = 4.17. That is the worst reasonable value.


# %%
def loss_of(probabilities, ids):
    """Mean of -ln p over all tokens but the first."""
    p = probabilities[ids[:-1], ids[1:]]  # (number of tokens - 1,): of each token, given the one before
    return -p.log().mean()


# %% [markdown]
# ## Writing text
#
# To write, draw the next character with the probabilities of the row of the last one, append it, and repeat.


# %%
def generate(probabilities, first, n):
    """A list of n + 1 token ids that starts with `first`."""
    ids = [first]
    for _ in range(n):
        ids.append(torch.multinomial(probabilities[ids[-1]], num_samples=1).item())
    return ids


# %% [markdown]
# ## Try it
#
# The first nine tenths of the text are for counting, the *training* text. The rest is the *validation* text: we measure
# the loss there, because a model that only memorized its training text would look good on that text and nowhere else.

# %%
if __name__ == "__main__":
    torch.manual_seed(1337)  # the same random numbers in every run
    text = read_text()
    characters = sorted(set(text))
    V = len(characters)
    ids = encode(text, characters)
    split = int(0.9 * len(ids))
    train_ids, val_ids = ids[:split], ids[split:]
    print(f"{len(ids):,} characters, {V} different ones")

    counts = count_pairs(train_ids, V)
    probabilities = probabilities_of(counts)
    for character in ("q", "t"):
        row = probabilities[characters.index(character)]
        best = row.argmax().item()
        print(f"most probable after {character!r}: {characters[best]!r} with probability {row[best]:.2f}")

    print(f"training loss {loss_of(probabilities, train_ids):.2f}")
    print(f"validation loss {loss_of(probabilities, val_ids):.2f}")
    print("".join(characters[i] for i in generate(probabilities, characters.index("\n"), 200)))

# %% [markdown]
# ## Losses so far
#
# | chapter | validation loss |
# | --- | --- |
# | every character equally probable | 4.17 |
# | 1. bigram | 2.48 |
#
# **What is missing.** Counting works for pairs. But there are 65 to the power of ten possible contexts of ten
# characters, and hardly any occurs twice in our text, so a table of counts is useless. We need a model that finds out
# by itself what matters in a long context. The next chapter takes the first step: it finds the same table without
# counting.
#
# **Exercise.** `inkhorn learn 1` writes this file with a hole: `probabilities_of`. Fill it, then run
# `inkhorn learn 1 --check`. To think about: what is the loss on the training text if you do not add 1, and
# what is it on the validation text?
#
# **Elsewhere.** Karpathy builds this model in the first half of
# [makemore, part 1](https://www.youtube.com/watch?v=PaCmpygFfXo). Olah's
# [Visual Information Theory](https://colah.github.io/posts/2015-09-Visual-Information/) explains -ln p with pictures.
