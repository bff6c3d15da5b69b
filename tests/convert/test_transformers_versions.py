"""The shipped models in the oldest and the newest transformers, each in an environment of its own.

pip installs them into a folder, which needs the package index; without it these tests are skipped.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.inference.api import load

TEXT = "ROMEO:\nBut soft, what light through yonder window breaks?"
PROGRAM = f"""
import json, sys, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
model, tokenizer = (c.from_pretrained(sys.argv[1]) for c in (AutoModelForCausalLM, AutoTokenizer))
model, text = model.float(), {TEXT!r}
inputs = tokenizer(text, return_tensors="pt")
with torch.no_grad():
    loss = float(model(**inputs, labels=inputs.input_ids).loss)
length = inputs.input_ids.shape[1]
limited = [
    model.generate(**inputs, do_sample=False, **limit).shape[1] - length
    for limit in ({{"max_length": length + 5}}, {{"max_new_tokens": 5}})
]
long = tokenizer("a" * 999, truncation=True).input_ids
padded = tokenizer(["a", "abc"], padding=True)
print(json.dumps([loss, limited, len(long), padded["attention_mask"]]))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(SHIPPED))
@pytest.mark.parametrize("requirement", ["transformers==4.36.0", "transformers==4.57.6", "transformers>=5"])
def test_shipped_model(requirement: str, name: str, tmp_path: Path) -> None:
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(tmp_path), requirement]
    done = subprocess.run(install, capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"pip cannot install {requirement}: {done.stderr[-200:]}")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    program = [sys.executable, "-W", "ignore", "-c", PROGRAM, str(SHIPPED[name])]
    shown = subprocess.run(program, env=environment, capture_output=True, text=True, check=True).stdout
    loss, limited, longest, masks = json.loads(shown.splitlines()[-1])
    with load(name, precision="fp32") as model:
        scored = model.score(TEXT)
        block_size = model.config.block_size
        lengths = [len(model.tokenizer.encode(text)) for text in ("a", "abc")]
    ours = [logprob for logprob in scored.logprobs if logprob is not None]
    assert loss == pytest.approx(-sum(ours) / len(ours), abs=1e-3)
    assert limited == [5, 5]
    assert longest == block_size
    assert list(map(sum, masks)) == lengths
