"""Models to measure with: random weights, for speed does not depend on their values, in a folder for every engine."""

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
"""char: what nanoGPT's train_shakespeare_char makes, 10.7M parameters; gpt2: 124M."""


@dataclass(frozen=True)
class Work:
    """What is asked of an engine at once.

    Attributes:
        shape: of the model.
        texts: how many.
        prompt: tokens of each.
        new: tokens to write after each.

    """

    shape: str
    texts: int
    prompt: int
    new: int

    def prompts(self, number: int) -> list[list[int]]:
        """Tokens by a small congruence, no matter which, but others for each number and text."""
        vocab, first = SHAPES[self.shape].vocab_size, number * self.texts
        return [[(7919 * i + 104729 * j) % vocab for j in range(self.prompt)] for i in range(first, first + self.texts)]


def make_folder(work: Path, shape: str) -> Path:
    """The checkpoint folder of a shape, made if it is not there; its tokenizer has the words t0, t1 and so on."""
    from tokenizers import Tokenizer
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    folder = work / shape
    if (folder / "tokenizer.json").exists():
        return folder
    torch.manual_seed(0)
    config = SHAPES[shape]
    GPT(config).save_pretrained(folder)
    words = Tokenizer(WordLevel({f"t{i}": i for i in range(config.vocab_size)}, unk_token="t0"))
    ends = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "t0")
    PreTrainedTokenizerFast(tokenizer_object=words, **ends).save_pretrained(folder)
    return folder
