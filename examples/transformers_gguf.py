"""Exchange models with transformers, with equal logits, and export for llama.cpp.

python transformers_gguf.py [MODEL]
"""

import sys
import tempfile
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

import inkhorn
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.cli.main import main as command
from inkhorn.tokenizer.load import load_tokenizer


@torch.no_grad()
def main(model: str = "shakespeare") -> None:
    logging.disable_progress_bar()
    folder, text = resolve_checkpoint(model), "ROMEO:\nWhat light"
    tokenizer = AutoTokenizer.from_pretrained(folder)
    ids = tokenizer(text, return_tensors="pt").input_ids  # (1, T)
    print("same token ids:", ids[0].tolist() == load_tokenizer(folder).encode(text).tolist())

    # The shipped weights are float16; transformers would compute in float16, inkhorn computes in float32.
    ours, theirs = (
        inkhorn.GPT.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    )
    print(f"largest difference between logits: {(ours(ids)[0] - theirs(ids).logits).abs().max():.1e}")
    again = theirs.generate(ids, max_new_tokens=60, do_sample=False)[0]
    print(f"{type(theirs).__name__} generates: {tokenizer.decode(again)!r}\n")

    # The other direction, with a randomly initialised GPT-2 of transformers. For one of the hub: inkhorn import gpt2
    out, end = Path(tempfile.mkdtemp(prefix="inkhorn-")), tokenizer.eos_token_id
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=48, n_layer=2, n_head=4, bos_token_id=end, eos_token_id=end)
    random = GPT2LMHeadModel(config).eval()
    for part in (random, tokenizer):
        part.save_pretrained(out / "transformers")
    command(["import", str(out / "transformers"), "--out", str(out / "imported")])
    imported = inkhorn.GPT.from_pretrained(out / "imported")
    difference = (imported(ids)[0] - random(ids).logits).abs().max()
    print(f"imported GPT-2, largest difference between logits: {difference:.1e}\n")

    command(["export", model, "--gguf", str(out / "model.gguf")])
    command(["export", model, str(out / "bfloat16"), "--dtype", "bfloat16"])


if __name__ == "__main__":
    main(*sys.argv[1:])
