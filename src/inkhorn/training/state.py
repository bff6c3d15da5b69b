"""The training state: everything that a step changes, and its checkpoints."""

import copy
import math
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.model import ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.data.dataset import Dataset
from inkhorn.errors import CheckpointError
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT
from inkhorn.training import model_card
from inkhorn.training.lora import add_adapters, merge_lora, save_adapter
from inkhorn.training.optim import make_optimizers, optimizer_tensors
from inkhorn.training.parallel import distribute_like, load_shards, save_shards, shard_or_move, to_local
from inkhorn.training.vocab_padding import load_into_padded, pad_vocab, unpad_and_gather
from inkhorn.utils.files import read_json, write_json


@dataclass
class TrainState:
    """Everything that a training step changes."""

    model: GPT  # the model being trained; its vocabulary may be padded, and its tensors sharded
    ema: GPT | None  # the exponential moving average of the weights; None if it is off
    optimizers: list[torch.optim.Optimizer]  # AdamW, and Muon if the recipe uses it
    config: ModelConfig  # the config of the exported model
    step: int = 0  # the number of updates made
    last_eval_step: int = 0  # the step of the last evaluation
    seconds: float = 0.0  # training time, without evaluation and saving
    best_loss: float = math.inf  # the lowest validation loss
    lr_scale: float = 1.0  # a factor on all learning rates; halved at each rollback
    rollbacks: int = 0  # the number of rollbacks
    ema_loss: float = math.inf  # the moving average of the training loss, by which a loss explosion is detected
    min_train_loss: float = math.inf  # the lowest training loss of a step
    last_loss_eval_step: int = 0  # the last step whose training loss reached a value of `eval_at_loss`
    evals_since_best: int = 0  # the number of evaluations since the lowest validation loss
    init_from: str = ""  # the model that training started from; empty for random weights

    def saved_fields(self) -> dict[str, float | str]:
        return {name: getattr(self, name) for name in _SAVED_FIELDS}

    def is_finite(self) -> bool:
        """Whether all weights of this process are finite."""
        models = (self.model,) if self.ema is None else (self.model, self.ema)
        return all(bool(to_local(p.detach()).isfinite().all()) for model in models for p in model.parameters())

    def export_model(self, *, averaged: bool = True) -> GPT:
        """The model that is evaluated and saved: the EMA if there is one, merged, gathered and without padding.

        If the model is sharded, all processes must call this. Without `averaged` the weights of the last step.
        """
        with torch.random.fork_rng(devices=[]):  # creating a model must not change the random numbers of dropout
            return unpad_and_gather(merge_lora((self.ema if averaged else None) or self.model), self.config)

    def tensors(self) -> dict[str, Tensor]:
        """All tensors that are sharded, by name: weights, their EMA, optimizer state."""
        models = {"weights": self.model} | ({"ema": self.ema} if self.ema is not None else {})
        found = {f"{kind}.{n}": p.detach() for kind, model in models.items() for n, p in model.named_parameters()}
        kept = optimizer_tensors(self.model, self.optimizers, self.step)
        return found | {f"optimizer.{name}": tensor for name, tensor in kept.items()}


_SAVED_FIELDS = [each.name for each in fields(TrainState) if each.default is not MISSING]


def new_state(config: ModelConfig, train: TrainConfig, hardware: Hardware, init_from: str = "") -> TrainState:
    """A state with random weights, or those of the model `init_from`."""
    torch.manual_seed(train.seed)
    model = GPT(pad_vocab(config, train.pad_vocab_to))
    if init_from:
        load_into_padded(model, GPT.from_pretrained(resolve_checkpoint(init_from)))
    elif train.zero_init:
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                if name.endswith("c_proj.weight"):
                    parameter.zero_()
    if train.lora_rank:
        add_adapters(model, train.lora_rank, train.lora_alpha, train.lora_targets)
    ema = copy.deepcopy(model) if train.ema_decay else None
    state = _assemble(model, ema, config, train, hardware)
    state.init_from = init_from
    return state


def _assemble(model: GPT, ema: GPT | None, config: ModelConfig, train: TrainConfig, hardware: Hardware) -> TrainState:
    ema = shard_or_move(ema.eval(), hardware) if ema is not None else None
    model = shard_or_move(model.train(), hardware)
    return TrainState(model, ema, make_optimizers(model, train, hardware.dtype), config)


def save_state(state: TrainState, folder: Path, dataset: Dataset, train: TrainConfig, hardware: Hardware) -> None:
    """Write a checkpoint: the model's folder, with the state to resume from in `trainer/`.

    If the state is sharded, all processes must call this. The main process creates `folder` before, and writes all
    files but the shards.
    """
    exported, trainer, is_main = state.export_model(), folder / "trainer", hardware.distributed.is_main_process
    if is_main:
        trainer.mkdir()
    if hardware.sharded:
        hardware.distributed.barrier()  # the folder exists now
        save_shards(trainer / "shards", state.tensors(), hardware)
    if not is_main:
        return
    exported.save_pretrained(folder)
    dataset.tokenizer.save(folder, state.config.block_size)
    model_card.write(folder, state.config, dataset, train, state.step, state.seconds, init_from=state.init_from)
    write_json(trainer / "state.json", state.saved_fields() | {"sha256": dataset.sha256, "train": asdict(train)})
    separate = state.ema is not None or bool(train.lora_rank) or state.model.config != state.config
    single = hardware.distributed.world_size == 1  # otherwise each step reseeds the generator
    tensors = {"rng": torch.get_rng_state(), "cuda_rng": []}
    if torch.cuda.is_available() and single:
        tensors["cuda_rng"] = torch.cuda.get_rng_state_all()
    if not hardware.sharded:
        tensors |= {
            "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
            "weights": state.model.state_dict() if separate else None,
            "ema": state.ema.state_dict() if state.ema and exported is not state.ema else None,
        }
    torch.save(tensors, trainer / "state.pt")
    if train.lora_rank:
        save_adapter(state.ema or state.model, folder / "adapter", state.init_from)


def update_evaluation(state: TrainState, folder: Path, dataset: Dataset, train: TrainConfig, loss: float) -> None:
    """Add the validation loss to a checkpoint, which is saved before it is evaluated.

    state.json comes last: as long as it does not have the evaluation, a resumed run evaluates again.
    """
    model_card.write(folder, state.config, dataset, train, state.step, state.seconds, loss, state.init_from)
    path = folder / "trainer" / "state.json"
    write_json(path, read_json(path) | state.saved_fields())


def load_state(
    folder: Path, config: ModelConfig, dataset: Dataset, train: TrainConfig, hardware: Hardware
) -> TrainState:
    """Load a checkpoint, written by any number of processes.

    Raises:
        CheckpointError: the checkpoint is damaged, or of another model or text; raised in all processes.
    """
    kept, problem = None, None
    try:
        kept = _read(folder, config, dataset, train)
    except CheckpointError as error:
        problem = error
    hardware.distributed.raise_if_any_failed(problem, CheckpointError)
    assert kept is not None
    saved, tensors, model, ema = kept
    state = _assemble(model, ema, config, train, hardware)
    for name in _SAVED_FIELDS:
        setattr(state, name, saved[name])
    if tensors.get("optimizers") is None:
        found, has_ema = state.tensors(), bool(saved["train"]["ema_decay"])
        if not has_ema:
            found = {name: tensor for name, tensor in found.items() if not name.startswith("ema.")}
        load_shards(folder / "trainer" / "shards", found, hardware)
        if state.ema is not None and not has_ema:
            with torch.no_grad():
                torch._foreach_copy_(list(state.ema.parameters()), list(state.model.parameters()))
    else:
        _restore(state.optimizers, tensors["optimizers"])
    torch.set_rng_state(tensors["rng"])
    if torch.cuda.is_available() and len(tensors["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(tensors["cuda_rng"])
    return state


def _read(
    folder: Path, config: ModelConfig, dataset: Dataset, train: TrainConfig
) -> tuple[dict[str, Any], dict[str, Any], GPT, GPT | None]:
    """The contents of state.json and state.pt, the model and its EMA; weights in shards are not loaded yet."""
    saved = read_json(folder / "trainer" / "state.json")
    try:
        sha256, then, *_ = (saved[name] for name in ("sha256", "train", *_SAVED_FIELDS))
        optimizer, ema_decay, multiple = then["optimizer"], then["ema_decay"], then.get("pad_vocab_to", 0)
    except (KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / 'trainer' / 'state.json'} was written by another version of inkhorn: {error}"
        ) from None
    ours = asdict(train) | {"lora_targets": list(train.lora_targets)}
    names = ("lora_rank", "lora_alpha", "lora_targets") if then.get("lora_rank") or train.lora_rank else ()
    changed = [f"--{name.replace('_', '-')} {then.get(name)}" for name in names if then.get(name) != ours[name]]
    exported, padded = GPT.from_pretrained(folder), pad_vocab(config, train.pad_vocab_to)
    for differs, problem in (
        (sha256 != dataset.sha256, "was trained on another text or split: use the same one"),
        (optimizer != train.optimizer, f"was trained with --optimizer {optimizer}, not {train.optimizer}: keep it"),
        (bool(changed), f"was trained with {', '.join(changed)}: keep that"),
        (exported.config != config, "has another architecture or dropout: keep those flags"),
        (pad_vocab(config, multiple) != padded, f"was trained with --pad-vocab-to {multiple}: keep it"),
    ):
        if differs:
            raise CheckpointError(f"{folder} {problem}, or use another --out")
    try:
        tensors = torch.load(folder / "trainer" / "state.pt", map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"cannot read {folder / 'trainer' / 'state.pt'}: {error}") from None
    model = GPT(padded)
    load_into_padded(model, exported)
    ema = copy.deepcopy(model) if train.ema_decay else None  # the exported model, unless saved separately
    if train.lora_rank:
        add_adapters(model, train.lora_rank, train.lora_alpha, train.lora_targets)
    if tensors.get("weights") is not None:
        model.load_state_dict(tensors["weights"])
    if ema is not None and tensors.get("ema") is not None:
        ema = copy.deepcopy(model)
        ema.load_state_dict(tensors["ema"])
    elif ema is not None and not ema_decay:
        ema = copy.deepcopy(model)
    return saved, tensors, model, ema


def _restore(optimizers: list[torch.optim.Optimizer], kept: list[dict[str, Any]]) -> None:
    """Restore the optimizers' state. Learning rates and weight decay come from the current flags instead."""
    for optimizer, saved in zip(optimizers, kept, strict=True):
        for group, fresh in zip(saved["param_groups"], optimizer.state_dict()["param_groups"], strict=True):
            group.update({key: value for key, value in fresh.items() if key != "params"})
        optimizer.load_state_dict(saved)
        for parameter, tensors in optimizer.state.items():
            for kind, value in tensors.items():
                if value.shape == parameter.shape:  # all but AdamW's step count
                    tensors[kind] = distribute_like(value, parameter)
