"""Recipes: a model, a corpus and training settings. Each is a function; `dataclasses.replace` makes a variant.

The settings of the Shakespeare recipes and `small` were tuned (docs/log.md); those of GPT-1 are its paper's; those of
GPT-2 are a starting point.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace

from inkhorn.config.model import Architecture
from inkhorn.config.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The defaults of `inkhorn train RECIPE`."""

    description: str
    corpus: str = "shakespeare"
    tokenizer: str = "char"
    architecture: Architecture = field(default_factory=Architecture)
    train: TrainConfig = field(default_factory=TrainConfig)


def shakespeare() -> Recipe:
    """The first run of the shipped model: just under 10M parameters, about an hour on one core.

    The model card has the command of the two runs that continued it (`--init-from`).
    """
    train = TrainConfig(steps=2400, batch_size=16, lr=0.005, muon_lr=0.02, weight_decay=0.05, cooldown_frac=0.9)
    return Recipe(description="10M parameters on the complete works of Shakespeare", train=train)


def _tiny(description: str, architecture: Architecture, train: TrainConfig) -> Recipe:
    return Recipe(description=description, corpus="tiny-shakespeare", architecture=architecture, train=train)


def tiny_shakespeare() -> Recipe:
    """5M parameters on the text of char-rnn and nanoGPT, a quarter of the works.

    A smaller model overfits this text less, and takes twice the steps in the same time (docs/log.md).
    """
    architecture = Architecture(n_layer=6, n_head=4, n_embd=256)
    train = TrainConfig(steps=3000, batch_size=16, lr=0.006, muon_lr=0.03, weight_decay=0.1, cooldown_frac=0.9)
    train = replace(train, dropout=0.15, dropout_start=0.2)
    return _tiny("5M parameters on tiny Shakespeare", architecture, train)


def small() -> Recipe:
    """0.8M parameters, the architecture of nanoGPT's CPU example: half a minute on two cores."""
    architecture = Architecture(n_layer=4, n_head=4, n_embd=128, block_size=64)
    train = TrainConfig(steps=600, batch_size=16, lr=0.015, muon_lr=0.05, warmup_steps=2, momentum=0.9)
    train = replace(train, momentum_warmup=0)
    return _tiny("0.8M parameters on tiny Shakespeare, half a minute", architecture, train)


def finetune() -> Recipe:
    """Train an existing model further on another text, with early stopping."""
    train = TrainConfig(steps=600, batch_size=16, lr=0.0015, muon_lr=0.006, weight_decay=0.1, cooldown_frac=0.9)
    train = replace(train, dropout=0.1, dropout_start=0.1, eval_every=50, save_every=50, patience=6)
    description = "fine-tune a model on your own text; needs --init-from, and is the default with it"
    return Recipe(description=description, train=train)


def test() -> Recipe:
    architecture = Architecture(n_layer=2, n_head=2, n_embd=32, block_size=32)
    train = TrainConfig(steps=40, batch_size=8, eval_every=20, save_every=20, warmup_steps=4, sample_tokens=60)
    return _tiny("30,000 parameters, to try the commands", architecture, train)


def gpt1() -> Recipe:
    """Radford et al. 2018: 116,534,784 parameters with the vocabulary of 40,478 tokens."""
    architecture = Architecture(n_layer=12, n_head=12, n_embd=768, block_size=512, model_type="openai-gpt")
    train = TrainConfig(optimizer="adamw", lr=2.5e-4, batch_size=64, steps=100_000, warmup_steps=2000)
    train = replace(train, schedule="cosine", dropout=0.1, zero_init=False)
    description = "GPT-1, 117M parameters"
    return Recipe(description=description, tokenizer="openai-gpt", architecture=architecture, train=train)


def _gpt2(n_layer: int, n_head: int, n_embd: int, description: str) -> Recipe:
    architecture = Architecture(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=1024)
    train = TrainConfig(lr=0.003, muon_lr=0.02, batch_size=8, grad_accum=60, steps=5000, warmup_steps=100)
    train = replace(train, cooldown_frac=0.6, weight_decay=0.05, pad_vocab_to=128)
    return Recipe(description=description, tokenizer="gpt2", architecture=architecture, train=train)


def gpt2() -> Recipe:
    """Radford et al. 2019: 124,439,808 parameters with the vocabulary of 50,257 tokens."""
    return _gpt2(12, 12, 768, "GPT-2 small, 124M parameters")


def gpt2_medium() -> Recipe:
    """354,823,168 parameters."""
    return _gpt2(24, 16, 1024, "GPT-2 medium, 355M parameters")


def gpt2_large() -> Recipe:
    """774,030,080 parameters."""
    return _gpt2(36, 20, 1280, "GPT-2 large, 774M parameters")


def gpt2_xl() -> Recipe:
    """1,557,611,200 parameters."""
    return _gpt2(48, 25, 1600, "GPT-2 XL, 1.56B parameters")


_ALL = (shakespeare, tiny_shakespeare, small, finetune, test, gpt1, gpt2, gpt2_medium, gpt2_large, gpt2_xl)

RECIPES: dict[str, Callable[[], Recipe]] = {make.__name__.replace("_", "-"): make for make in _ALL}
