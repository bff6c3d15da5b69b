# %% [markdown]
# # 9. Training well
#
# **How much better does the same model become if only its training is better?**
#
# The model of chapter 8 is that of [model.py](../../src/inkhorn/model.py), so from here on we import it. The number of
# steps and the size of the batches stay the same. What changes is how the steps are taken. There is little theory
# behind it; these are the measures that people found to work.

# %%
import math

import torch
from torch import nn

from inkhorn.config.model import ModelConfig
from inkhorn.course.text import read_text
from inkhorn.model import GPT
from inkhorn.training.optim import Muon

block_size = 32  # T: tokens of a piece
batch_size = 32  # B: pieces of a batch
adamw_learning_rate = 0.01  # the peak; higher than in chapter 8, which the measures below make possible
muon_learning_rate = 0.02  # the peak
warmup_steps = 30
steps = 300

# %% [markdown]
# ## 1. A better start
#
# Two measures are in model.py itself. *Initial weights*: all matrices start small (normal distribution, standard
# deviation 0.02), so that the first logits are close to zero and the first loss is close to ln 65 = 4.17. Those that
# write into the residual stream start smaller still, so that it does not grow with the number of layers.
#
# *Weight tying*: the head uses the embedding table as its matrix. Letters that have similar embeddings are then
# also predicted in similar places, and the model has V * C parameters less. GPT-1 and GPT-2 do both.
#
# ## 2. A learning rate that rises, then falls
#
# At the start the gradients are large and change direction from step to step. So the learning rate rises from near 0 to
# its peak in a *warmup*. At the end large steps only jump back and forth around the best place, so it falls back to 0
# along half a cosine wave.


# %%
def rate(step):
    """The learning rate of step 1 to `steps`, as a share of the peak."""
    # EXERCISE: rise in a straight line to 1 at warmup_steps, then fall to 0 at `steps` along half a cosine
    if step <= warmup_steps:
        return step / warmup_steps
    progress = (step - warmup_steps) / (steps - warmup_steps)  # 0 at the peak, 1 at the end
    return 0.5 * (1 + math.cos(math.pi * progress))
    # END


# %% [markdown]
# ## 3. Muon for the matrices
#
# AdamW treats a matrix as a list of single numbers. But a matrix acts on whole vectors, and its gradient is usually
# large in a few directions and small in all others. *Muon* replaces the update of a matrix by the nearest one that
# changes all directions equally (its singular values are all 1). It serves the matrices of the blocks; embeddings,
# biases and layer norms stay with AdamW.
#
# *Weight decay* also makes each number of a matrix a little smaller in every step, so that only what the gradient keeps
# asking for stays large. *Clipping* shortens the gradient if it is longer than 1, so that one strange batch cannot do
# much damage.


# %%
def random_batch(ids):
    """Token ids (B, T), and the token that follows each of them (B, T)."""
    starts = torch.randint(len(ids) - block_size, (batch_size, 1))  # (B, 1): where each piece starts
    pieces = ids[starts + torch.arange(block_size + 1)]  # (B, 1) + (T + 1,), so (B, T + 1)
    return pieces[:, :-1], pieces[:, 1:]


def train(model, ids):
    """Change the model's parameters so that the loss on a text falls."""
    inside = {name: parameter for name, parameter in model.h.named_parameters() if parameter.dim() == 2}
    qkv = [parameter for name, parameter in inside.items() if "c_attn" in name]  # three matrices each: q, k and v
    single = [parameter for name, parameter in inside.items() if "c_attn" not in name]
    of_muon = {id(parameter) for parameter in inside.values()}
    others = [parameter for parameter in model.parameters() if id(parameter) not in of_muon]
    muon_groups = [{"params": qkv, "parts": 3}, {"params": single, "parts": 1}]
    muon = Muon(muon_groups, lr=muon_learning_rate, weight_decay=0.1, dtype=torch.float32)
    adamw = torch.optim.AdamW(others, lr=adamw_learning_rate, betas=(0.9, 0.99), weight_decay=0.0)
    schedule = [(group, group["lr"]) for group in muon.param_groups + adamw.param_groups]
    losses = []
    for step in range(1, steps + 1):
        for group, peak in schedule:
            group["lr"] = peak * rate(step)
        idx, targets = random_batch(ids)
        _, loss = model(idx, targets)
        model.zero_grad()  # forget the gradient of the last step
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), max_norm=1.0)
        muon.step()
        adamw.step()
        losses.append(loss.item())
        if step % 100 == 0:
            print(f"step {step:4}: training loss {sum(losses[-100:]) / 100:.2f} (mean of the last 100)")


@torch.no_grad()  # no gradients are needed here
def evaluate(model, ids):
    """The loss on all pieces of a text."""
    n = (len(ids) - 1) // block_size
    idx = ids[: n * block_size].view(n, block_size)  # (n, T)
    targets = ids[1 : n * block_size + 1].view(n, block_size)  # (n, T)
    return model(idx, targets)[1].item()


# %% [markdown]
# The model itself has a function to write, `GPT.generate`.

# %%
if __name__ == "__main__":
    torch.manual_seed(1337)  # the same random numbers in every run
    text = read_text()
    characters = sorted(set(text))
    ids = torch.tensor([characters.index(character) for character in text])  # (number of characters,)
    split = int(0.9 * len(ids))
    train_ids, val_ids = ids[:split], ids[split:]

    model = GPT(ModelConfig(vocab_size=len(characters), block_size=block_size, n_layer=2, n_head=4, n_embd=64))
    print(f"{sum(parameter.numel() for parameter in model.parameters()):,} parameters")
    print(f"validation loss before training {evaluate(model, val_ids):.2f}")
    train(model, train_ids)
    print(f"validation loss {evaluate(model, val_ids):.2f}")
    print("".join(characters[i] for i in model.generate(torch.tensor([[characters.index("\n")]]), 200)[0]))

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
# | 9. training well | 2.05 |
#
# The same model and the same number of steps, and a lower loss.
#
# **What is missing.** Size and time. Inkhorn's `shakespeare-char` has 8 blocks, 320 channels and a context of 256
# characters, and was trained for three hours. Its loss is measured on other text, so it is not in this table.
# `inkhorn train small` trains a model between the two in about a minute, and [training.md](../training.md) tells the
# whole story.
#
# **Exercise.** `inkhorn learn 9` leaves a hole in `rate`. To think about: let `rate` return 1 for every step, and
# compare the losses at every hundredth step. When does the decay pay?
#
# **Elsewhere.** Karpathy trains GPT-2 with these measures in
# [Let's reproduce GPT-2](https://www.youtube.com/watch?v=l8pRSuU81PU). Muon is Keller Jordan's:
# [its description](https://kellerjordan.github.io/posts/muon/). Inkhorn's own version of this chapter is
# [training/](../../src/inkhorn/training/).
