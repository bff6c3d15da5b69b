"""The model card and generation defaults of a checkpoint folder."""

import math
from pathlib import Path

from inkhorn.checkpoint.card import CardFacts
from inkhorn.checkpoint.model_card import model_card
from inkhorn.checkpoint.resolve import display_name
from inkhorn.checkpoint.weights import write_generation_config
from inkhorn.config.model import ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.data.dataset import Dataset
from inkhorn.data.openings import describe
from inkhorn.utils.files import atomic_write


def write(
    folder: Path,
    config: ModelConfig,
    dataset: Dataset,
    train: TrainConfig,
    step: int,
    seconds: float,
    loss: float | None = None,
    init_from: str = "",
) -> None:
    """Write README.md and generation_config.json beside a model's weights.

    Args:
        folder: the checkpoint.
        step: the number of steps trained.
        seconds: the training time.
        loss: the validation loss in nats per token; None before the evaluation.
        init_from: the model that the run started from; empty for random weights.
    """
    write_generation_config(folder, config)
    batch = train.batch_size * train.grad_accum
    epochs = step * batch * config.block_size / len(dataset.train)
    rates = f"Muon {train.muon_lr:g}, AdamW {train.lr:g}" if train.optimizer == "muon" else f"AdamW {train.lr:g}"
    late = f" after {train.dropout_start:.0%} of the steps" if train.dropout and train.dropout_start else ""
    rows = {
        "data": f"{dataset.name}: {len(dataset.train):,} training tokens, {len(dataset.val):,} validation tokens",
        "training": f"{step:,} steps of {batch} x {config.block_size} tokens ({epochs:.2f} epochs)",
        "training time": f"{seconds / 60:.1f} minutes",
        "learning rates": f"{rates}; {train.schedule} schedule over {train.steps:,} steps",
        "regularization": f"dropout {train.dropout:g}{late}, weight decay {train.weight_decay:g}",
        "seed": f"{train.seed}",
    }
    if loss is not None:
        rows["validation loss"] = (
            f"{loss:.4f} nats per token, {loss / math.log(2):.4f} bits, in non-overlapping windows over the full split"
        )
    if init_from:
        rows["initial weights"] = display_name(init_from)
    layout, openings = describe(dataset)
    page = CardFacts(title=dataset.name, layout=layout, openings=openings)
    text = model_card(config, f"trained on {dataset.name}", rows, page)
    with atomic_write(folder / "README.md") as temporary:
        temporary.write_text(text, encoding="utf-8")
