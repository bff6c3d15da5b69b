"""nanoGPT's own `generate`: float32, without a KV cache."""

import time
from pathlib import Path

import torch
from common import load_module

from inkhorn.config.model import ModelConfig
from peers import Timing


class NanoGPT:
    """nanoGPT's model.py with random weights."""

    name = "nanoGPT"

    def __init__(self, checkout: Path, config: ModelConfig) -> None:
        module = load_module(checkout / "model.py", "nanogpt_model")
        shape = {k: getattr(config, k) for k in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd")}
        self.model = module.GPT(module.GPTConfig(**shape, dropout=0.0, bias=True)).eval()

    def generate(self, prompts: list[list[int]], new: int) -> Timing:
        ids = torch.tensor(prompts)
        start = time.perf_counter()
        with torch.no_grad():
            self.model.generate(ids, 1, temperature=0.8)
            first = time.perf_counter() - start
            if new > 1:
                self.model.generate(ids, new - 1, temperature=0.8)
        return Timing(first, time.perf_counter() - start - first)
