"""Hugging Face transformers' `generate` with its KV cache; samples at temperature 0.8."""

import time
from pathlib import Path

import torch

from peers import Timing


class Transformers:
    """GPT2LMHeadModel in float32 or bfloat16."""

    def __init__(self, folder: Path, dtype: str) -> None:
        from transformers import AutoModelForCausalLM

        self.name = f"transformers {dtype}"
        self.model = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype)).eval()

    def generate(self, prompts: list[list[int]], new: int) -> Timing:
        ids = torch.tensor(prompts)
        options = {"do_sample": True, "temperature": 0.8, "top_k": 0, "pad_token_id": 0}
        seconds = []
        for count in (1, new) if new > 1 else (1,):  # the first token is timed in a separate run
            start = time.perf_counter()
            self.model.generate(
                ids, attention_mask=torch.ones_like(ids), max_new_tokens=count, min_new_tokens=count, **options
            )
            seconds.append(time.perf_counter() - start)
        return Timing(seconds[0], seconds[-1] - seconds[0])
