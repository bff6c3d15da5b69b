"""Recipes: which model, on which text, trained how. Each is a function; a variant is `dataclasses.replace`.

`docs/log.md` has the runs behind the Shakespeares and `small`; GPT-1's numbers are its paper's, GPT-2's a beginning.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields, replace
from typing import Literal, get_args

from inkhorn.config import Activation, ModelConfig, ModelType, require

Optimizer = Literal["muon", "adamw"]
Schedule = Literal["linear", "cosine"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]
Switch = Literal["auto", "on", "off"]
Parallel = Literal["auto", "ddp", "fsdp"]
LORA_TARGETS = ("c_attn", "c_proj", "c_fc")
"""the matrices of a block by the ends of their names; c_proj is attention's and the MLP's"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The model's shape; the vocabulary comes with the text."""

    n_layer: int = 8
    """number of blocks"""
    n_head: int = 5
    """attention heads per block"""
    n_embd: int = 320
    """width of the residual stream"""
    block_size: int = 256
    """longest context in tokens"""
    model_type: ModelType = "gpt2"
    """gpt2: pre-norm and ln_f; openai-gpt (GPT-1): post-norm, no ln_f"""
    activation_function: Activation = "gelu_new"
    """gelu_new: tanh form, OpenAI's; gelu: erf form; relu"""
    tie_word_embeddings: bool = True
    """the head shares wte's matrix"""

    @classmethod
    def of(cls, config: ModelConfig) -> "Shape":
        """The shape of a model that exists; UsageError if it has something that a Shape cannot say."""
        shape = cls(**{f.name: getattr(config, f.name) for f in fields(cls)})
        made = shape.config(config.vocab_size)
        usual = made.inner == config.inner and made.layer_norm_epsilon == config.layer_norm_epsilon
        require(usual, "only a model with n_inner = 4 n_embd and layer_norm_epsilon 1e-5 can be trained")
        return shape

    def config(
        self,
        vocab_size: int,
        *,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        start: int | None = None,
        end: int | None = None,
    ) -> ModelConfig:
        """The full config for a vocabulary whose texts begin with token `start` and end with `end`."""
        shape = {f.name: getattr(self, f.name) for f in fields(self)}
        return ModelConfig(
            vocab_size=vocab_size,
            embd_pdrop=dropout,
            resid_pdrop=dropout,
            attn_pdrop=attn_dropout,
            bos_token_id=start,
            eos_token_id=end,
            **shape,
        )


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """How to train. A step is one update of the weights, from batch_size * grad_accum rows of block_size tokens."""

    steps: int = 2000
    """updates to make"""
    batch_size: int = 32
    """rows of one forward and backward pass, at most"""
    grad_accum: int = 1
    """passes whose gradients are summed into one step; torchrun's processes share its batch_size * grad_accum rows"""
    optimizer: Optimizer = "muon"
    """muon: Muon on the blocks' matrices, AdamW on the rest; adamw: on everything"""
    lr: float = 0.006
    """AdamW's learning rate"""
    muon_lr: float = 0.025
    """Muon's learning rate"""
    schedule: Schedule = "linear"
    """after the warm-up: flat, then linear to min_lr_ratio over the last decay_fraction; or cosine all the way"""
    warmup_steps: int = 20
    """steps over which the rates rise from zero"""
    decay_fraction: float = 1.0
    """share of the steps over which the linear schedule falls"""
    min_lr_ratio: float = 0.0
    """last rate, as a share of the highest"""
    weight_decay: float = 0.0
    """pull of the matrices to zero, times the rate, at each step"""
    beta1: float = 0.9
    """AdamW: memory of the gradient"""
    beta2: float = 0.95
    """AdamW: memory of its square"""
    momentum: float = 0.95
    """Muon: memory of the gradient, reached from 0.85 over momentum_warmup steps"""
    momentum_warmup: int = 100
    """steps over which Muon's momentum rises"""
    grad_clip: float = 1.0
    """longest gradient, as a norm over all parameters; 0 is off"""
    dropout: float = 0.0
    """share of embeddings and sub-layer outputs dropped in training"""
    attn_dropout: float = 0.0
    """share of attention weights dropped in training"""
    dropout_from: float = 0.0
    """share of the steps after which dropout begins: a text not yet seen twice cannot be learnt by heart"""
    zero_init: bool = True
    """start each block as the identity: its two output projections are zero"""
    ema_decay: float = 0.0
    """keep a running average of the weights, with this memory per step, and evaluate and ship that; 0 is off"""
    lora_rank: int = 0
    """with --from: leave the weights and learn a change of their matrices, of this rank; 0 trains all; AdamW only"""
    lora_alpha: float = 16.0
    """the change is multiplied by this over the rank"""
    lora_targets: tuple[str, ...] = LORA_TARGETS
    """which matrices are changed, by the ends of their names"""
    patience: int = 0
    """stop after so many evaluations that brought no lower validation loss; 0 goes on to the end"""
    eval_every: int = 200
    """steps between losses over the whole validation split"""
    save_every: int = 200
    """steps between checkpoints"""
    sample_chars: int = 300
    """tokens written at each evaluation, to read along; 0 is none"""
    milestones: tuple[float, ...] = (3.3, 2.5, 2.0)
    """training losses at which, the first time a step is as low, there is an evaluation too: early on much changes"""
    log_every: int = 10
    """steps between lines of metrics.jsonl"""
    seed: int = 1337
    """of the weights, the order of the data and dropout"""
    device: Device = "auto"
    """where to train"""
    dtype: Precision = "auto"
    """of the matrix products; weights and optimizer stay float32"""
    compile: Switch = "auto"
    """torch.compile"""
    pad_vocab: int = 0
    """in training the vocabulary is rounded up to a multiple of this, which a GPU multiplies faster; 0 is off"""
    parallel: Parallel = "auto"
    """with torchrun. ddp: each process has the whole model; fsdp: its share of it; auto: ddp if that fits"""

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "grad_accum", "eval_every", "save_every", "log_every"):
            require(getattr(self, name) >= 1, f"{name} must be at least 1, not {getattr(self, name)}")
        choices = {
            "optimizer": Optimizer,
            "schedule": Schedule,
            "device": Device,
            "dtype": Precision,
            "compile": Switch,
            "parallel": Parallel,
        }
        for name, kind in choices.items():
            value, valid = getattr(self, name), get_args(kind)
            require(value in valid, f"{name} must be one of {', '.join(valid)}, not {value!r}")
        for name in ("lr", "muon_lr"):
            require(0 < getattr(self, name) < 10, f"{name} must be above 0 and below 10, not {getattr(self, name)}")
        for name in ("dropout", "attn_dropout", "beta1", "beta2", "momentum", "ema_decay"):
            require(0 <= getattr(self, name) < 1, f"{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("decay_fraction", "min_lr_ratio", "dropout_from"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be in [0, 1], not {getattr(self, name)}")
        object.__setattr__(self, "milestones", tuple(self.milestones))  # a list where it was read from JSON
        require(all(0 < m < math.inf for m in self.milestones), f"milestones must be above 0, not {self.milestones}")
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        for name in ("lora_rank", "patience", "pad_vocab"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")
        require(math.isfinite(self.lora_alpha), f"lora_alpha must be a number, not {self.lora_alpha}")
        wrong = [target for target in self.lora_targets if target not in LORA_TARGETS]
        require(not wrong, f"lora_targets: {', '.join(wrong)} is none of {', '.join(LORA_TARGETS)}")
        require(bool(self.lora_targets), f"lora_targets must name some of {', '.join(LORA_TARGETS)}")
        require(self.seed < 2**63, f"seed must be below 2**63, not {self.seed}")
        for name in ("warmup_steps", "momentum_warmup", "weight_decay", "grad_clip", "sample_chars", "seed"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")
        whole = self.parallel != "fsdp" or not self.lora_rank
        require(whole, "--parallel fsdp shares out what is trained, of which LoRA has next to nothing: use ddp")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """A model's shape, the corpus and the kind of tokens it is meant for, and its training."""

    about: str
    corpus: str = "shakespeare"
    tokenizer: str = "char"
    shape: Shape = field(default_factory=Shape)
    train: TrainConfig = field(default_factory=TrainConfig)


def shakespeare() -> Recipe:
    """A little under 10,000,000 parameters on the complete works: the shipped model's first hour.

    Its card has the command of the two that followed (`--from`).
    """
    train = TrainConfig(steps=2400, batch_size=16, lr=0.005, muon_lr=0.02, weight_decay=0.05, decay_fraction=0.9)
    return Recipe(about="10M parameters, the complete works of Shakespeare", train=train)


def tiny_shakespeare() -> Recipe:
    """Half the parameters on the text of the char-rnn and nanoGPT examples, a quarter of the works.

    Twice the steps in the same time, and less learnt by heart (docs/log.md).
    """
    shape = Shape(n_layer=6, n_head=4, n_embd=256)
    train = TrainConfig(steps=3000, batch_size=16, lr=0.006, muon_lr=0.03, weight_decay=0.1, decay_fraction=0.9)
    train = replace(train, dropout=0.15, dropout_from=0.2)
    return Recipe(about="5M parameters, tiny Shakespeare", corpus="tiny-shakespeare", shape=shape, train=train)


def small() -> Recipe:
    """0.8M parameters, the shape of nanoGPT's CPU recipe: half a minute on two cores."""
    shape = Shape(n_layer=4, n_head=4, n_embd=128, block_size=64)
    train = TrainConfig(
        steps=600, batch_size=16, lr=0.015, muon_lr=0.05, warmup_steps=2, momentum=0.9, momentum_warmup=0
    )
    return Recipe(
        about="0.8M parameters, tiny Shakespeare in half a minute", corpus="tiny-shakespeare", shape=shape, train=train
    )


def finetune() -> Recipe:
    """A model that is there goes on with a text of yours; it stops when that is learnt as well as it will be."""
    train = TrainConfig(steps=600, batch_size=16, lr=0.0015, muon_lr=0.006, weight_decay=0.1, decay_fraction=0.9)
    train = replace(train, dropout=0.1, dropout_from=0.1, eval_every=50, save_every=50, patience=6)
    return Recipe(about="go on from a model, on your own text: needs --from, usual with it", train=train)


def test() -> Recipe:
    """Some thousand parameters, for tests and for trying the commands."""
    shape = Shape(n_layer=2, n_head=2, n_embd=32, block_size=32)
    train = TrainConfig(steps=40, batch_size=8, eval_every=20, save_every=20, warmup_steps=4, sample_chars=60)
    return Recipe(
        about="a toy of 30,000 parameters, to try the commands", corpus="tiny-shakespeare", shape=shape, train=train
    )


def gpt1() -> Recipe:
    """Radford et al. 2018: 116,534,784 parameters with its vocabulary of 40,478 tokens."""
    shape = Shape(n_layer=12, n_head=12, n_embd=768, block_size=512, model_type="openai-gpt")
    train = TrainConfig(
        optimizer="adamw", lr=2.5e-4, batch_size=64, steps=100_000, warmup_steps=2000, schedule="cosine", dropout=0.1
    )
    return Recipe(about="GPT-1", tokenizer="openai-gpt", shape=shape, train=replace(train, zero_init=False))


def _gpt2(n_layer: int, n_head: int, n_embd: int, name: str) -> Recipe:
    shape = Shape(n_layer=n_layer, n_head=n_head, n_embd=n_embd, block_size=1024)
    train = TrainConfig(
        lr=0.003, muon_lr=0.02, batch_size=8, grad_accum=60, steps=5000, warmup_steps=100, decay_fraction=0.6
    )
    train = replace(train, weight_decay=0.05, pad_vocab=128)
    return Recipe(about=name, tokenizer="gpt2", shape=shape, train=train)


def gpt2() -> Recipe:
    """Radford et al. 2019: 124,439,808 parameters with its vocabulary of 50,257 tokens."""
    return _gpt2(12, 12, 768, "GPT-2 small")


def gpt2_medium() -> Recipe:
    """354,823,168 parameters."""
    return _gpt2(24, 16, 1024, "GPT-2 medium")


def gpt2_large() -> Recipe:
    """774,030,080 parameters."""
    return _gpt2(36, 20, 1280, "GPT-2 large")


def gpt2_xl() -> Recipe:
    """1,557,611,200 parameters."""
    return _gpt2(48, 25, 1600, "GPT-2 XL")


RECIPES: dict[str, Callable[[], Recipe]] = {
    "shakespeare": shakespeare,
    "tiny-shakespeare": tiny_shakespeare,
    "small": small,
    "finetune": finetune,
    "test": test,
    "gpt1": gpt1,
    "gpt2": gpt2,
    "gpt2-medium": gpt2_medium,
    "gpt2-large": gpt2_large,
    "gpt2-xl": gpt2_xl,
}
