"""The configuration of a training run: frozen, keyword-only, validated on construction."""

from dataclasses import dataclass
from typing import Annotated, Literal

from inkhorn.config.bounds import Range, validate
from inkhorn.config.tensors import LINEAR_LAYERS
from inkhorn.errors import require

Optimizer = Literal["muon", "adamw"]
Schedule = Literal["linear", "cosine"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "bfloat16"]
Switch = Literal["auto", "on", "off"]
Parallel = Literal["auto", "ddp", "fsdp"]

LORA_TARGETS = LINEAR_LAYERS
"""The linear layers of a block by the last part of their names; c_proj is attention's and the MLP's."""

Count = Annotated[int, Range(ge=1)]
CountOrZero = Annotated[int, Range(ge=0)]
LearningRate = Annotated[float, Range(gt=0, lt=10)]
Probability = Annotated[float, Range(ge=0, lt=1)]
Fraction = Annotated[float, Range(ge=0, le=1)]


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Hyperparameters of training and its settings.

    A step is one update of the weights, from batch_size * grad_accum rows of block_size tokens.
    """

    steps: Count = 2000
    """number of optimizer steps"""
    batch_size: Count = 32
    """rows per forward and backward pass (micro-batch)"""
    grad_accum: Count = 1
    """gradient accumulation: micro-batches per step, over all processes"""
    optimizer: Optimizer = "muon"
    """muon (Muon for the blocks' matrices, AdamW for the rest) or adamw"""
    lr: LearningRate = 0.006
    """peak learning rate of AdamW"""
    muon_lr: LearningRate = 0.025
    """peak learning rate of Muon"""
    schedule: Schedule = "linear"
    """learning rate after warmup: linear (constant, then a linear cooldown) or cosine"""
    warmup_steps: CountOrZero = 20
    """steps of linear warmup"""
    cooldown_frac: Fraction = 1.0
    """fraction of the steps over which the linear schedule decays"""
    final_lr_frac: Fraction = 0.0
    """final learning rate as a fraction of the peak"""
    weight_decay: Annotated[float, Range(ge=0)] = 0.0
    """decoupled weight decay of matrices and embeddings"""
    beta1: Probability = 0.9
    """AdamW beta1"""
    beta2: Probability = 0.95
    """AdamW beta2"""
    momentum: Probability = 0.95
    """Muon momentum after its warmup from 0.85"""
    momentum_warmup: CountOrZero = 100
    """steps of Muon's momentum warmup"""
    grad_clip: Annotated[float, Range(ge=0)] = 1.0
    """maximum gradient norm (0: no clipping)"""
    dropout: Probability = 0.0
    """dropout of embeddings and sublayer outputs"""
    attn_dropout: Probability = 0.0
    """dropout of attention weights"""
    dropout_start: Fraction = 0.0
    """fraction of the steps after which dropout starts"""
    weight_decay_start: Fraction = 0.0
    """fraction of the steps after which weight decay starts"""
    mix_start: Fraction = 0.4
    """with a pretraining text: fraction of the steps after which rows of the text itself are mixed in"""
    mix_end: Fraction = 0.6
    """with a pretraining text: fraction of the steps after which rows of the text itself are alone"""
    teachers: tuple[str, ...] = ()
    """distillation: checkpoint or run folders of teachers, whose averaged probabilities are learnt from"""
    distill_weight: Fraction = 0.5
    """share of the teachers in the loss; the rest is the cross-entropy with the text"""
    zero_init: bool = True
    """initialize the output projections to zero, so that each block starts as the identity"""
    ema_decay: Probability = 0.0
    """EMA decay of the weights; evaluation and checkpoints use the average (0: off)"""
    lora_rank: CountOrZero = 0
    """train LoRA adapters of this rank with AdamW instead of the weights; needs --init-from (0: off)"""
    lora_alpha: float = 16.0
    """LoRA scaling: adapters are multiplied by lora_alpha / lora_rank"""
    lora_targets: tuple[str, ...] = LORA_TARGETS
    """layers that get LoRA adapters"""
    patience: CountOrZero = 0
    """stop after this many evaluations without a lower validation loss (0: never)"""
    eval_every: Count = 200
    """steps between evaluations on the full validation split"""
    save_every: Count = 200
    """steps between checkpoints"""
    sample_tokens: CountOrZero = 300
    """length in tokens of the sample generated at each evaluation (0: no sample)"""
    eval_at_loss: tuple[Annotated[float, Range(gt=0)], ...] = (3.3, 2.5, 2.0)
    """also evaluate the first time the training loss reaches each of these values"""
    snapshots: CountOrZero = 12
    """copies of the weights in eight bits that are kept over the run, for the slider of the report (0: none)"""
    max_snapshot_mb: Count = 200
    """keep no snapshots if they would take more than so many MB together"""
    log_every: Count = 10
    """steps between lines of metrics.jsonl"""
    seed: Annotated[int, Range(ge=0, lt=2**63)] = 1337
    """seed of initial weights, data order and dropout"""
    device: Device = "auto"
    """device to train on"""
    dtype: Precision = "auto"
    """autocast precision of matrix products; weights and optimizer state are float32"""
    compile: Switch = "auto"
    """torch.compile (auto: on CUDA only)"""
    pad_vocab_to: CountOrZero = 0
    """round the vocabulary up to a multiple of this while training, for speed on GPUs (0: off)"""
    parallel: Parallel = "auto"
    """with torchrun: ddp (replicate the model), fsdp (shard it) or auto (ddp if the model fits)"""

    def __post_init__(self) -> None:
        for name in ("eval_at_loss", "lora_targets", "teachers"):  # lists if they were read from JSON
            object.__setattr__(self, name, tuple(getattr(self, name)))
        validate(self)
        targets = ", ".join(LORA_TARGETS)
        require(bool(self.lora_targets), f"lora_targets must name at least one of {targets}")
        unknown = [target for target in self.lora_targets if target not in LORA_TARGETS]
        require(not unknown, f"lora_targets must be among {targets}, not {', '.join(unknown)}")
        require(
            self.mix_start <= self.mix_end,
            f"mix_start ({self.mix_start:g}) must not be above mix_end ({self.mix_end:g})",
        )
        sharded_adapters = self.parallel == "fsdp" and self.lora_rank > 0
        require(not sharded_adapters, "--parallel fsdp has no use with --lora-rank: use ddp")
