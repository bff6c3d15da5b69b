"""Small training runs for tests."""

from pathlib import Path
from typing import Any

import torch

from inkhorn.config.model import Architecture, ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.data.dataset import Dataset
from inkhorn.hardware.device import Hardware
from inkhorn.training.callbacks import Callbacks
from inkhorn.training.state import TrainState
from inkhorn.training.trainer import Trainer

CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
ARCHITECTURE = Architecture(n_layer=2, n_head=2, n_embd=16, block_size=16)
BASE = TrainConfig(
    steps=12,
    batch_size=4,
    warmup_steps=2,
    momentum_warmup=5,
    eval_every=6,
    save_every=3,
    log_every=1,
    dropout=0.1,
    dropout_start=0.4,
    ema_decay=0.9,
    sample_tokens=20,
    snapshots=0,
    dtype="float32",
    eval_at_loss=(2.85, 2.6),
)


class RecordingCallbacks(Callbacks):
    """Callbacks that keep messages and samples."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.samples: list[str] = []

    def log(self, text: str) -> None:
        self.messages.append(text)

    def on_evaluate(self, metrics: dict[str, Any], sample: str) -> None:
        self.samples.append(sample)


def config_for(data: Dataset, train: TrainConfig) -> ModelConfig:
    end = data.tokenizer.eos_id
    return ARCHITECTURE.to_model_config(
        data.tokenizer.vocab_size, dropout=train.dropout, bos_token_id=data.bos_token_id, eos_token_id=end
    )


def trainer(
    data: Dataset, out: Path, train: TrainConfig = BASE, callbacks: RecordingCallbacks | None = None
) -> Trainer:
    return Trainer(config_for(data, train), train, data, out, CPU, 1e12, callbacks or RecordingCallbacks())


def same_weights(state: TrainState, other: TrainState) -> bool:
    pairs = zip(state.model.parameters(), other.model.parameters(), strict=True)
    exported = zip(state.export_model().parameters(), other.export_model().parameters(), strict=True)
    return all(torch.equal(a, b) for a, b in (*pairs, *exported))
