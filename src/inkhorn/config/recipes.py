"""Recipes: a model, a corpus and training settings; `dataclasses.replace` makes a variant.

The settings of the Shakespeare recipes and `small` were tuned (docs/log.md); those of GPT-1 are its paper's (Radford et
al. 2018); those of GPT-2 are a starting point.
"""

from dataclasses import dataclass, field, replace

from inkhorn.config.model import Architecture
from inkhorn.config.train import TrainConfig


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The defaults of `inkhorn train RECIPE`."""

    description: str
    corpus: str = "shakespeare"
    tokenizer: str = "char"
    vocab_size: int = 4096  # of the tokenizer bpe
    architecture: Architecture = field(default_factory=Architecture)
    train: TrainConfig = field(default_factory=TrainConfig)


_TUNED = TrainConfig(batch_size=16, weight_decay=0.1, cooldown_frac=0.9)
_EARLY_STOPPING = replace(_TUNED, eval_every=50, save_every=50, patience=6)
_ADAMW = TrainConfig(optimizer="adamw", schedule="cosine", zero_init=False)
_GPT2 = TrainConfig(steps=5000, batch_size=8, grad_accum=60, lr=0.003, muon_lr=0.02, weight_decay=0.05)


def _tiny_shakespeare(description: str, architecture: Architecture, train: TrainConfig) -> Recipe:
    return Recipe(description=description, corpus="tiny-shakespeare", architecture=architecture, train=train)


def _gpt2(description: str, n_layer: int, n_head: int, n_embd: int) -> Recipe:
    return Recipe(
        description=description,
        tokenizer="gpt2",
        architecture=Architecture(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=1024),
        train=replace(_GPT2, warmup_steps=100, cooldown_frac=0.6, pad_vocab_to=128),
    )


RECIPES = {
    # The run of the shipped model: period text once, then the works about four times. Dropout and weight decay start
    # when the works repeat. Learning rates and dropout are those of tiny-shakespeare, not tuned again (docs/log.md).
    "shakespeare": Recipe(
        description="5.4M parameters: text of the period, then Shakespeare",
        corpus="period-shakespeare",
        tokenizer="bpe",
        vocab_size=2048,
        architecture=Architecture(n_layer=6, n_head=4, n_embd=256, block_size=512),
        train=replace(
            _TUNED,
            steps=4500,
            batch_size=8,
            lr=0.006,
            muon_lr=0.025,
            warmup_steps=100,
            cooldown_frac=0.5,
            dropout=0.1,
            dropout_start=0.55,
            weight_decay_start=0.55,
            eval_every=500,
        ),
    ),
    # The first run of the model `shakespeare-char`: just under 10M parameters, an hour on one core. Its model card
    # has the command of the run that continued it (`--init-from`).
    "shakespeare-char": Recipe(
        description="10M parameters on Shakespeare's works, by characters",
        train=replace(_TUNED, steps=2400, lr=0.005, muon_lr=0.02, weight_decay=0.05),
    ),
    # A smaller model overfits a quarter of the works less, and takes twice the steps in the same time (docs/log.md).
    "tiny-shakespeare": _tiny_shakespeare(
        "5M parameters on tiny Shakespeare",
        Architecture(n_layer=6, n_head=4, n_embd=256),
        replace(_TUNED, steps=3000, lr=0.006, muon_lr=0.03, dropout=0.15, dropout_start=0.2),
    ),
    "small": _tiny_shakespeare(  # the architecture of nanoGPT's CPU example
        "0.8M parameters on tiny Shakespeare, half a minute",
        Architecture(n_layer=4, n_head=4, n_embd=128, block_size=64),
        TrainConfig(steps=600, batch_size=16, lr=0.015, muon_lr=0.05, warmup_steps=2, momentum=0.9, momentum_warmup=0),
    ),
    "finetune": Recipe(
        description="fine-tune on your own text, from the weights of --init-from",
        train=replace(_EARLY_STOPPING, steps=600, lr=0.0015, muon_lr=0.006, dropout=0.1, dropout_start=0.1),
    ),
    "test": _tiny_shakespeare(
        "30,000 parameters, to try the commands",
        Architecture(n_layer=2, n_head=2, n_embd=32, block_size=32),
        TrainConfig(steps=40, batch_size=8, eval_every=20, save_every=20, warmup_steps=4, sample_tokens=60),
    ),
    "gpt1": Recipe(
        description="GPT-1, 117M parameters",
        tokenizer="openai-gpt",
        architecture=Architecture(n_layer=12, n_head=12, n_embd=768, block_size=512, model_type="openai-gpt"),
        train=replace(_ADAMW, steps=100_000, batch_size=64, lr=2.5e-4, warmup_steps=2000, dropout=0.1),
    ),
    "gpt2": _gpt2("GPT-2 small, 124M parameters", 12, 12, 768),
    "gpt2-medium": _gpt2("GPT-2 medium, 355M parameters", 24, 16, 1024),
    "gpt2-large": _gpt2("GPT-2 large, 774M parameters", 36, 20, 1280),
    "gpt2-xl": _gpt2("GPT-2 XL, 1.56B parameters", 48, 25, 1600),
}
