# %% [markdown]
# # Look inside
#
# What does each part of the model do? This notebook shows attention, follows a prediction through the layers, switches
# parts off, and changes activations by hand. No torch is needed.

# %%
import numpy as np

import inkhorn

model = inkhorn.load("shakespeare")
text = "ROMEO:\nBut soft, what light through yonder window breaks?\nIt is the east, and Juliet is the s"

# %% [markdown]
# ## Everything at a glance
#
# The text shaded by surprisal, the most likely next tokens, the attention of each head of a layer, and the *logit lens*:
# what the model would predict if it stopped after so many layers.

# %%
explanation = model.explain(text, layer=0)
explanation

# %% [markdown]
# ## Which head looks at the token before?
#
# `attention` is an array (n_head, T, T): row t has the weights of token t over the tokens up to t.

# %%
for layer in range(model.config.n_layer):
    attention = model.explain(text, layer=layer).attention
    previous = np.array([np.diagonal(head, offset=-1).mean() for head in attention])
    best = int(previous.argmax())
    print(f"layer {layer}: head {best} puts {previous[best]:.0%} of its weight on the token before")

# %% [markdown]
# ## Switch a part off
#
# With the same seed only the intervention differs.

# %%
off = inkhorn.Intervention(component="mlp", layer=0)
print(model.generate("ROMEO:", seed=7, max_words=20).text)
print("--- without the MLP of layer 0")
print(model.generate("ROMEO:", seed=7, max_words=20, interventions=[off]).text)

# %% [markdown]
# ## Read and change activations
#
# `run` is one forward pass. Activations have TransformerLens's names; a hook may return a replacement.

# %%
result = model.run("ROMEO:\nBut soft")
result

# %%


def only_the_last_token(pattern, point):
    """Every token may look at itself only. pattern: (n_head, T, T)."""
    return np.broadcast_to(np.eye(pattern.shape[-1], dtype=pattern.dtype), pattern.shape)


changed = model.run("ROMEO:\nBut soft", hooks=[("blocks.0.attn.hook_pattern", only_the_last_token)])
before, after = result.logits[-1].argmax(), changed.logits[-1].argmax()
print(
    "most likely next token:",
    repr(model.tokenizer.decode([int(before)])),
    "->",
    repr(model.tokenizer.decode([int(after)])),
)
print("largest change of a logit:", np.abs(result.logits - changed.logits).max())

# %% [markdown]
# ## How likely is a given text?

# %%
for line in ("To be, or not to be", "To be, or not two bees", "Te bo, ro ton to eb"):
    score = model.score(line)
    print(f"{score.total / (len(score.tokens) - 1):6.2f} nats per token: {line}")

# %%
model.score("To be, or not to be, that is the question: the train is late again.")
