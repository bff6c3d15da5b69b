"""Models and workloads of the generation benchmark. Weights are random: speed does not depend on their values."""

from dataclasses import dataclass
from pathlib import Path

import torch

from inkhorn.config.model import ModelConfig
from inkhorn.model import GPT

SHAPES = {
    "char": ModelConfig(vocab_size=65, block_size=256, n_layer=6, n_head=6, n_embd=384, bos_token_id=0, eos_token_id=0),
    "gpt2": ModelConfig(
        vocab_size=50257, block_size=1024, n_layer=12, n_head=12, n_embd=768, bos_token_id=0, eos_token_id=0
    ),
}
"""`char` is the model of nanoGPT's train_shakespeare_char (10.7M parameters), `gpt2` is GPT-2 124M."""


@dataclass(frozen=True)
class Workload:
    """One batch of requests.

    Attributes:
        shape: name of the model shape in SHAPES.
        batch: number of sequences.
        prompt: number of prompt tokens per sequence.
        new: number of tokens to generate per sequence.

    """

    shape: str
    batch: int
    prompt: int
    new: int

    def prompts(self, seed: int) -> list[list[int]]:
        """Arbitrary deterministic token ids that differ between seeds and sequences."""
        vocab, first = SHAPES[self.shape].vocab_size, seed * self.batch
        return [[(7919 * i + 104729 * j) % vocab for j in range(self.prompt)] for i in range(first, first + self.batch)]


def make_checkpoint(cache: Path, shape: str) -> Path:
    """Return the checkpoint folder of a shape, created if missing; its tokens are named t0, t1 and so on."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    folder = cache / shape
    if (folder / "tokenizer.json").exists():
        return folder
    torch.manual_seed(0)
    config = SHAPES[shape]
    GPT(config).save_pretrained(folder)
    tokenizer = Tokenizer(WordLevel({f"t{i}": i for i in range(config.vocab_size)}, unk_token="t0"))
    special_tokens = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "t0")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **special_tokens).save_pretrained(folder)
    return folder
