"""To transformers and back, with the same logits; and a file for llama.cpp.

python share.py [MODEL]
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
    print("the same token ids:", ids[0].tolist() == load_tokenizer(folder).encode(text).tolist())

    # The shipped weights lie in float16, in which transformers would compute: float32 is what we compute in.
    ours, theirs = (
        inkhorn.GPT.from_pretrained(folder),
        AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32),
    )
    print(f"largest difference of a logit: {(ours(ids)[0] - theirs(ids).logits).abs().max():.1e}")
    again = theirs.generate(ids, max_new_tokens=60, do_sample=False)[0]
    print(f"{type(theirs).__name__} writes: {tokenizer.decode(again)!r}\n")

    # The other way, with a GPT-2 of theirs that is new and random. Any from the hub: inkhorn import gpt2
    out, end = Path(tempfile.mkdtemp(prefix="inkhorn-")), tokenizer.eos_token_id
    config = GPT2Config(vocab_size=len(tokenizer), n_embd=48, n_layer=2, n_head=4, bos_token_id=end, eos_token_id=end)
    random = GPT2LMHeadModel(config).eval()
    for part in (random, tokenizer):
        part.save_pretrained(out / "theirs")
    command(["import", str(out / "theirs"), "--out", str(out / "read")])
    read = inkhorn.GPT.from_pretrained(out / "read")
    print(f"a GPT-2 of theirs in ours: {(read(ids)[0] - random(ids).logits).abs().max():.1e}\n")

    command(["export", model, "--gguf", str(out / "model.gguf")])
    command(["export", model, str(out / "bfloat16"), "--dtype", "bfloat16"])


if __name__ == "__main__":
    main(*sys.argv[1:])
