# %% [markdown]
# # Export
#
# A checkpoint is a Hugging Face folder: transformers and vLLM read it as it is. Other programs get other formats.

# %% [markdown]
# ## transformers
#
# `inkhorn export` writes the folder, here with weights in bfloat16.

# %%
# !inkhorn export shakespeare exported --dtype bfloat16
# !ls exported

# %%
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

import inkhorn

theirs = AutoModelForCausalLM.from_pretrained("exported", dtype=torch.float32)
ids = AutoTokenizer.from_pretrained("exported")("ROMEO:\nBut soft", return_tensors="pt").input_ids
ours = inkhorn.GPT.from_pretrained("exported")
with torch.no_grad():
    difference = (ours(ids)[0] - theirs(ids).logits).abs().max().item()
print(f"largest difference between the logits: {difference:.1e}")
assert difference < 1e-4

# %% [markdown]
# ## llama.cpp
#
# One GGUF file with weights and tokenizer.

# %%
# !inkhorn export shakespeare --gguf shakespeare.gguf
# !ls -l shakespeare.gguf

# %% [markdown]
# ## A web page
#
# A folder of static files: the model runs in the reader's browser. Put it on any web server, or look at it with
# `python -m http.server --directory page`.

# %%
# !inkhorn export shakespeare --web page
# !ls page
