"""The configuration of a training run: frozen, keyword-only, validated on construction."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

from inkhorn.config.tensors import LINEAR_LAYERS
from inkhorn.errors import require

Optimizer = Literal["muon", "adamw"]

Schedule = Literal["linear", "cosine"]

Device = Literal["auto", "cpu", "cuda", "mps"]

Precision = Literal["auto", "float32", "bfloat16"]

Switch = Literal["auto", "on", "off"]

Parallel = Literal["auto", "ddp", "fsdp"]

LORA_TARGETS = LINEAR_LAYERS
"""the linear layers of a block by the last part of their names; c_proj is attention's and the MLP's"""


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
    """after the warm-up: flat, then linear to final_lr_frac over the last cooldown_frac; or cosine all the way"""
    warmup_steps: int = 20
    """steps over which the rates rise from zero"""
    cooldown_frac: float = 1.0
    """share of the steps over which the linear schedule falls"""
    final_lr_frac: float = 0.0
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
    dropout_start: float = 0.0
    """share of the steps after which dropout begins: a text not yet seen twice cannot be learnt by heart"""
    zero_init: bool = True
    """start each block as the identity: its two output projections are zero"""
    ema_decay: float = 0.0
    """keep a running average of the weights, with this memory per step, and evaluate and ship that; 0 is off"""
    lora_rank: int = 0
    """rank of LoRA adapters, trained in place of the weights; needs --init-from and uses AdamW; 0: train all weights"""
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
    sample_tokens: int = 300
    """tokens written at each evaluation, to read along; 0 is none"""
    eval_at_loss: tuple[float, ...] = (3.3, 2.5, 2.0)
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
    pad_vocab_to: int = 0
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
        for name in ("cooldown_frac", "final_lr_frac", "dropout_start"):
            require(0 <= getattr(self, name) <= 1, f"{name} must be in [0, 1], not {getattr(self, name)}")
        object.__setattr__(self, "eval_at_loss", tuple(self.eval_at_loss))  # a list where it was read from JSON
        require(
            all(0 < m < math.inf for m in self.eval_at_loss), f"eval_at_loss must be above 0, not {self.eval_at_loss}"
        )
        object.__setattr__(self, "lora_targets", tuple(self.lora_targets))
        for name in ("lora_rank", "patience", "pad_vocab_to"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")
        require(math.isfinite(self.lora_alpha), f"lora_alpha must be a number, not {self.lora_alpha}")
        wrong = [target for target in self.lora_targets if target not in LORA_TARGETS]
        require(not wrong, f"lora_targets: {', '.join(wrong)} is none of {', '.join(LORA_TARGETS)}")
        require(bool(self.lora_targets), f"lora_targets must name some of {', '.join(LORA_TARGETS)}")
        require(self.seed < 2**63, f"seed must be below 2**63, not {self.seed}")
        for name in ("warmup_steps", "momentum_warmup", "weight_decay", "grad_clip", "sample_tokens", "seed"):
            require(getattr(self, name) >= 0, f"{name} must be 0 or more, not {getattr(self, name)}")
        whole = self.parallel != "fsdp" or not self.lora_rank
        require(whole, "--parallel fsdp shares out what is trained, of which LoRA has next to nothing: use ddp")
