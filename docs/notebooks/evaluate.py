# %% [markdown]
# # Evaluate
#
# How good is a model? Its loss on text that it has not seen, in bits per character: comparable between models with
# different tokens.

# %%
import json
import random
from pathlib import Path

tempest = """PROSPERO:
You do look, my son, in a moved sort,
As if you were dismay'd: be cheerful, sir.
Our revels now are ended. These our actors,
As I foretold you, were all spirits and
Are melted into air, into thin air.
"""
letters = list(tempest)
random.Random(0).shuffle(letters)
modern = "The train was late again, and the people on the platform looked at their telephones. It began to rain.\n"
texts = {"tempest": tempest, "modern": modern, "shuffled": "".join(letters)}
for name, text in texts.items():
    Path(f"{name}.txt").write_text(text, encoding="utf-8")

# %% [markdown]
# ## Bits per character
#
# The Tempest is held out of the model's training. Modern prose surprises it more, shuffled letters most.

# %%
# !inkhorn eval --text tempest.txt

# %%
import subprocess

for name in texts:
    command = ["inkhorn", "eval", "--text", f"{name}.txt", "--json"]
    result = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    print(f"{name:10} {result['bits_per_character']:.2f} bits per character")

# %% [markdown]
# ## Token by token

# %%
import inkhorn

with inkhorn.load("shakespeare") as model:
    score = model.score(tempest)
score

# %% [markdown]
# ## Tasks
#
# `inkhorn eval --tasks hellaswag` runs tasks of EleutherAI's lm-eval harness (`pip install "inkhorn[eval]"`). A model of
# this size scores near chance on them; they are for larger models, such as `inkhorn import gpt2`.
