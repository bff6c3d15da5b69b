# %% [markdown]
# # Train on your own text
#
# A model learns a text from nothing. Put a file `my.txt` beside this notebook, or use the text below: Python's own
# language reference, which comes with Python.

# %%
from pathlib import Path

if not Path("my.txt").exists():
    from pydoc_data.topics import topics

    Path("my.txt").write_text("\n\n".join(topics[name] for name in sorted(topics)), encoding="utf-8")
print(f"{len(Path('my.txt').read_text(encoding='utf-8')):,} characters")

# %% [markdown]
# ## Train
#
# `small` is a recipe: a model size with tested settings. On two CPU cores 200 steps take a minute or two; more steps
# give a better model. `inkhorn train small --help` lists every setting, and a GPU is used if there is one.

# %%
# !inkhorn train small --text my.txt --out run --steps 200 --eval-every 50

# %% [markdown]
# ## Losses
#
# The validation loss is measured on a part of the text that is not trained on. It is the mean surprisal per token; the
# model guesses between about e^loss tokens.

# %%
import json

lines = [json.loads(line) for line in Path("run/metrics.jsonl").read_text().splitlines()]
for line in lines:
    if "val/loss" in line:
        print(f"step {line['step']:4}: validation loss {line['val/loss']:.2f}")

# %% [markdown]
# ## Use it
#
# The run folder is a model. `run/report.html` shows the loss curve and what the model wrote on the way.

# %%
import inkhorn

with inkhorn.load("run") as model:
    print("The " + model.generate("The ", max_tokens=300, temperature=0.7, seed=1).text)
