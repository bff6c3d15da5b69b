# %% [markdown]
# # Generate and sample
#
# The shipped model writes Shakespeare one token at a time: a word, or a part of one. This notebook generates text,
# streams it, and changes how the next token is chosen.

# %%
import inkhorn

model = inkhorn.load("shakespeare")
model

# %% [markdown]
# ## One text
#
# The same prompt and seed give the same text on the same kind of CPU.

# %%
print("ROMEO:" + model.generate("ROMEO:", max_words=60, seed=7).text)

# %% [markdown]
# ## As it is generated

# %%
for chunk in model.stream("JULIET:", max_tokens=200, seed=2):
    print(chunk.text, end="", flush=True)

# %% [markdown]
# ## How sure the model was
#
# With log-probabilities a notebook shades each token by its *surprisal*, -ln p: light tokens were likely, dark ones
# were not. Hold the pointer over a token to see its probability.

# %%
model.generate("HAMLET:", max_tokens=240, seed=3, logprobs=0)

# %% [markdown]
# ## Temperature
#
# Before a token is drawn, the scores of all tokens are divided by the *temperature*. Below 1 likely tokens become more
# likely: the text repeats itself. Above 1 unlikely ones get a chance: the sense breaks.

# %%
for temperature in (0.3, 0.8, 1.3):
    print(f"--- temperature {temperature}")
    print(model.generate("KING:", max_tokens=160, temperature=temperature, seed=5).text.strip())

# %% [markdown]
# ## Top-p
#
# `top_p=0.9` draws only from the most likely tokens that together have a probability of 90 %.

# %%
print(model.generate("KING:", max_tokens=160, temperature=1.3, top_p=0.9, seed=5).text.strip())

# %% [markdown]
# ## Many texts at once
#
# A list of prompts is computed in one batch. Each text is the one that it would be alone.

# %%
names = ["ROMEO:", "JULIET:", "FALSTAFF:", "LADY MACBETH:"]
for name, completion in zip(names, model.generate(names, max_words=15, seed=1), strict=True):
    print(name, " ".join(completion.text.split()))

assert model.generate("JULIET:", max_words=15, seed=1).text == model.generate(names, max_words=15, seed=1)[1].text
