# %% [markdown]
# # Fine-tune with LoRA
#
# A trained model learns another style. LoRA (Hu et al. 2021) keeps its weights and trains small matrices beside them:
# 4 % of the parameters, and an adapter of 0.8 MB.

# %%
from pathlib import Path

from pydoc_data.topics import topics

prose = "\n\n".join(topics[name] for name in sorted(topics))
lines = [line.strip() for line in prose.splitlines() if line.strip()[:1].isalpha()]
Path("style.txt").write_text("\n".join(lines)[:150_000], encoding="utf-8")

# %% [markdown]
# ## Before
#
# The shipped model knows Shakespeare, the King James Bible and some books with the language of their time.

# %%
import inkhorn

print("The function" + inkhorn.generate("The function", max_tokens=200, temperature=0.6, seed=3))

# %% [markdown]
# ## Train the adapter

# %%
# !inkhorn train --init-from shakespeare --text style.txt --lora-rank 8 --lr 0.003 --batch-size 4 --steps 60 --eval-every 20 --out lora

# %% [markdown]
# ## After

# %%
print("The function" + inkhorn.generate("The function", "lora", max_tokens=200, temperature=0.6, seed=3))

# %% [markdown]
# ## What was saved
#
# The best checkpoint has the merged model, which every command reads, and the adapter alone, in peft's format.

# %%
for path in sorted(Path("lora").rglob("adapter*")):
    if path.is_file():
        print(path, f"{path.stat().st_size / 1e3:,.0f} kB")
