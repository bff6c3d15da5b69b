"""Everything that a training step changes, and its way to disk and back."""

import copy
import math
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from inkhorn import card
from inkhorn.checkpoint import resolve_checkpoint
from inkhorn.config import ModelConfig
from inkhorn.dataset import Dataset
from inkhorn.errors import CheckpointError
from inkhorn.hardware import Hardware
from inkhorn.lora import add_adapters, merged, save_adapter
from inkhorn.model import GPT
from inkhorn.optim import make_optimizers
from inkhorn.recipes import TrainConfig
from inkhorn.weights import read_json, write_json

_FACTS = (
    "step",
    "evaluated",
    "seconds",
    "best_loss",
    "lr_scale",
    "rollbacks",
    "smoothed",
    "lowest",
    "milestone",
    "stale",
    "begin_from",
)


@dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        model: the weights being trained.
        average: the running average of them, when there is one.
        optimizers: AdamW, and Muon if the recipe has it.
        step: updates made.
        evaluated: the last step at which the validation loss was taken.
        seconds: spent training, evaluation and saving left out.
        best_loss: lowest validation loss so far.
        lr_scale: on all rates; halved at each roll-back.
        rollbacks: how many there were.
        smoothed: running mean of the training loss, to know an explosion by.
        lowest: lowest training loss of a single step.
        milestone: the last step at which that passed one of the recipe's milestones.
        stale: how many evaluations ago the validation loss was lowest.
        begin_from: the model whose weights training began with; empty if they were random.

    """

    model: GPT
    average: GPT | None
    optimizers: list[torch.optim.Optimizer]
    step: int = 0
    evaluated: int = 0
    seconds: float = 0.0
    best_loss: float = math.inf
    lr_scale: float = 1.0
    rollbacks: int = 0
    smoothed: float = math.inf
    lowest: float = math.inf
    milestone: int = 0
    stale: int = 0
    begin_from: str = ""

    def is_finite(self) -> bool:
        """Whether every weight is a number."""
        models = (self.model,) if self.average is None else (self.model, self.average)
        return all(bool(p.isfinite().all()) for model in models for p in model.parameters())

    @property
    def shipped(self) -> GPT:
        """The model that is evaluated, saved and used: the average if there is one, with what adapters change."""
        return merged(self.average or self.model)


def new_state(config: ModelConfig, train: TrainConfig, hardware: Hardware, begin_from: str = "") -> TrainState:
    """Fresh weights from the seed, or those of the model `begin_from`."""
    torch.manual_seed(train.seed)
    model = GPT(config)
    if begin_from:
        model.load_state_dict(GPT.from_pretrained(resolve_checkpoint(begin_from)).state_dict())
    elif train.zero_init:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("c_proj.weight"):
                    parameter.zero_()
    if train.lora_rank:
        add_adapters(model, train.lora_rank, train.lora_alpha, train.lora_targets)
    state = _assemble(model.to(hardware.device).train(), train, hardware)
    state.begin_from = begin_from
    return state


def _assemble(model: GPT, train: TrainConfig, hardware: Hardware) -> TrainState:
    average = copy.deepcopy(model).eval() if train.ema_decay else None
    return TrainState(model, average, make_optimizers(model, train, hardware.dtype))


def save_state(state: TrainState, folder: Path, dataset: Dataset, train: TrainConfig) -> None:
    """Write a checkpoint: the model's folder, and `trainer/` with what training needs to go on."""
    state.shipped.save_pretrained(folder)
    dataset.tokenizer.save(folder)
    card.write(folder, state.shipped.config, dataset, train, state.step, state.seconds, begin_from=state.begin_from)
    trainer = folder / "trainer"
    trainer.mkdir()
    write_json(trainer / "state.json", _facts(state) | {"sha256": dataset.sha256, "train": asdict(train)})
    tensors = {
        "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
        "rng": torch.get_rng_state(),
        "cuda_rng": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
        "weights": state.model.state_dict() if state.average or train.lora_rank else None,
        "average": state.average.state_dict() if state.average and train.lora_rank else None,
    }
    torch.save(tensors, trainer / "state.pt")
    if train.lora_rank:
        save_adapter(state.average or state.model, folder / "adapter", state.begin_from)


def note_evaluation(state: TrainState, folder: Path, dataset: Dataset, train: TrainConfig, loss: float) -> None:
    """Keep the loss of a checkpoint that was saved before it was evaluated."""
    path = folder / "trainer" / "state.json"
    write_json(path, read_json(path) | _facts(state))
    card.write(folder, state.shipped.config, dataset, train, state.step, state.seconds, loss, state.begin_from)


def _facts(state: TrainState) -> dict[str, float | str]:
    return {name: getattr(state, name) for name in _FACTS}


def load_state(
    folder: Path, config: ModelConfig, dataset: Dataset, train: TrainConfig, hardware: Hardware
) -> TrainState:
    """Take a run up where a checkpoint left it. CheckpointError if it is another model, on another text, or damaged."""
    saved = read_json(folder / "trainer" / "state.json")
    try:
        sha256, saved_optimizer = saved["sha256"], saved["train"]["optimizer"]
        facts = {name: saved[name] for name in _FACTS}
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'trainer' / 'state.json'} is not of this version: {error}") from None
    if sha256 != dataset.sha256:
        raise CheckpointError(f"{folder} was trained on another text or split: give the same one, or another --out")
    if saved_optimizer != train.optimizer:
        raise CheckpointError(
            f"{folder} was trained with {saved_optimizer}, not {train.optimizer}: keep it, or use another --out"
        )
    shipped = GPT.from_pretrained(folder)
    if shipped.config != config:
        raise CheckpointError(
            f"{folder} holds a model of another shape or dropout: keep those flags, or use another --out"
        )
    try:
        tensors = torch.load(folder / "trainer" / "state.pt", map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"cannot read {folder / 'trainer' / 'state.pt'}: {error}") from None
    model = shipped.to(hardware.device).train()
    if tensors["weights"] is not None:
        model = GPT(config)
        if train.lora_rank:
            add_adapters(model, train.lora_rank, train.lora_alpha, train.lora_targets)
        model.load_state_dict(tensors["weights"])
        model = model.to(hardware.device).train()
    state = _assemble(model, train, hardware)
    if state.average is not None and tensors["average"] is not None:
        state.average.load_state_dict(tensors["average"])
    elif state.average is not None:
        state.average.load_state_dict(shipped.state_dict())
    for optimizer, kept in zip(state.optimizers, tensors["optimizers"], strict=True):
        # Rates and decays come from today's flags, so that they may be changed between runs; the moments are the run's.
        for group, fresh in zip(kept["param_groups"], optimizer.state_dict()["param_groups"], strict=True):
            group.update({key: value for key, value in fresh.items() if key != "params"})
        optimizer.load_state_dict(kept)
    torch.set_rng_state(tensors["rng"])
    if torch.cuda.is_available() and tensors["cuda_rng"]:
        torch.cuda.set_rng_state_all(tensors["cuda_rng"])
    for name, value in facts.items():
        setattr(state, name, value)
    return state
