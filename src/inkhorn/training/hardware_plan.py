"""What this machine can do: where to train, in which precision, how fast at best, and what would fit into memory."""

from dataclasses import replace

from inkhorn.config.model import ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.hardware.device import Hardware
from inkhorn.training.memory import free_here, memory_needed


def choose_parallel(config: ModelConfig, train: TrainConfig, hardware: Hardware) -> Hardware:
    """How several processes share a run: the hardware with that choice, and the reasons of it.

    UsageError if they cannot share out the rows of a step.
    """
    ranks = hardware.ranks
    if ranks.count == 1:
        said = ("parallel off: fsdp was asked for, but there is one process",) if train.parallel == "fsdp" else ()
        return replace(hardware, reasons=hardware.reasons + said)
    rows, passes = ranks.share(train.batch_size, train.grad_accum)
    shares = f"processes {ranks.count}: each takes {rows * passes} rows of a step, {rows} at a time"
    kind, why = train.parallel, "as asked"
    if kind == "auto":
        fits = sum(memory_needed(config, rows, hardware, train).values()) < 0.8 * free_here(hardware)
        kind = "fsdp" if ranks.any(not fits) and not train.lora_rank else "ddp"
        why = "a whole model would hardly fit into the memory of each" if kind == "fsdp" else "it fits"
    what = "each keeps its share of the model" if kind == "fsdp" else "each has the whole model"
    reasons = (*hardware.reasons, shares, f"parallel {kind} ({what}): {why}")
    return replace(hardware, sharded=kind == "fsdp", reasons=reasons)


def training_flops_per_token(config: ModelConfig) -> float:
    """FLOPs of a forward and backward pass per token (Chowdhery et al. 2022, appendix B): 6 per weight, plus attention.

    The position table is looked up, not multiplied, so it does not count; the head does, tied or not.
    """
    weights = config.num_parameters - config.block_size * config.n_embd
    if not config.tie_word_embeddings:
        weights -= config.vocab_size * config.n_embd
    return 6.0 * weights + 12.0 * config.n_layer * config.n_embd * config.block_size
