"""Everything that a training step changes, and its way to disk and back."""

import copy
import math
from dataclasses import asdict, dataclass
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

_FACTS = (
    "step",
    "evaluated",
    "seconds",
    "best_loss",
    "lr_scale",
    "rollbacks",
    "ema_loss",
    "min_train_loss",
    "milestone",
    "evals_since_best",
    "init_from",
)


@dataclass
class TrainState:
    """Everything that a step changes.

    Attributes:
        model: the weights being trained; its vocabulary may be padded, and its tensors sharded.
        average: the running average of them, when there is one.
        optimizers: AdamW, and Muon if the recipe has it.
        config: the shape of the model that comes of it.
        step: updates made.
        evaluated: the last step at which the validation loss was taken.
        seconds: spent training, evaluation and saving left out.
        best_loss: lowest validation loss so far.
        lr_scale: on all rates; halved at each roll-back.
        rollbacks: how many there were.
        ema_loss: running mean of the training loss, to know an explosion by.
        min_train_loss: lowest training loss of a single step.
        milestone: the last step at which that passed one of the recipe's eval_at_loss.
        evals_since_best: how many evaluations ago the validation loss was lowest.
        init_from: the model whose weights training began with; empty if they were random.

    """

    model: GPT
    average: GPT | None
    optimizers: list[torch.optim.Optimizer]
    config: ModelConfig
    step: int = 0
    evaluated: int = 0
    seconds: float = 0.0
    best_loss: float = math.inf
    lr_scale: float = 1.0
    rollbacks: int = 0
    ema_loss: float = math.inf
    min_train_loss: float = math.inf
    milestone: int = 0
    evals_since_best: int = 0
    init_from: str = ""

    def is_finite(self) -> bool:
        """Whether every weight of this process is a number."""
        models = (self.model,) if self.average is None else (self.model, self.average)
        return all(bool(to_local(p.detach()).isfinite().all()) for model in models for p in model.parameters())

    def export_model(self) -> GPT:
        """The model that is evaluated, saved and used: the average if there is one, with what adapters change, whole
        and without padding. Where it is sharded all processes must ask for it."""
        with torch.random.fork_rng(
            devices=[]
        ):  # a model made for this draws from the numbers that dropout goes on with
            return unpad_and_gather(merge_lora(self.average or self.model), self.config)

    def tensors(self) -> dict[str, Tensor]:
        """All that is sharded, by name: weights, their average, moments."""
        models = {"weights": self.model} | ({"average": self.average} if self.average is not None else {})
        found = {f"{kind}.{n}": p.detach() for kind, model in models.items() for n, p in model.named_parameters()}
        return found | {
            f"moments.{name}": t for name, t in optimizer_tensors(self.model, self.optimizers, self.step).items()
        }


def new_state(config: ModelConfig, train: TrainConfig, hardware: Hardware, init_from: str = "") -> TrainState:
    """Fresh weights from the seed, or those of the model `init_from`."""
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
    average = copy.deepcopy(model) if train.ema_decay else None
    state = _assemble(model, average, config, train, hardware)
    state.init_from = init_from
    return state


def _assemble(
    model: GPT, average: GPT | None, config: ModelConfig, train: TrainConfig, hardware: Hardware
) -> TrainState:
    average = shard_or_move(average.eval(), hardware) if average is not None else None
    model = shard_or_move(model.train(), hardware)
    return TrainState(model, average, make_optimizers(model, train, hardware.dtype), config)


def save_state(state: TrainState, folder: Path, dataset: Dataset, train: TrainConfig, hardware: Hardware) -> None:
    """Write a checkpoint: the model's folder, and `trainer/` with what training needs to go on.

    Several processes must all call this if the state is sharded; the first makes `folder` before, and writes all but
    the shards.
    """
    shipped, trainer, leads = state.export_model(), folder / "trainer", hardware.distributed.is_main_process
    if leads:
        trainer.mkdir()
    if hardware.sharded:
        hardware.distributed.barrier()  # for the folder
        save_shards(trainer / "shards", state.tensors(), hardware)
    if not leads:
        return
    shipped.save_pretrained(folder)
    dataset.tokenizer.save(folder)
    model_card.write(folder, state.config, dataset, train, state.step, state.seconds, init_from=state.init_from)
    write_json(trainer / "state.json", _facts(state) | {"sha256": dataset.sha256, "train": asdict(train)})
    apart = state.average is not None or bool(train.lora_rank) or state.model.config != state.config
    one = hardware.distributed.world_size == 1  # the others' numbers are drawn anew at each step
    tensors = {"rng": torch.get_rng_state(), "cuda_rng": []}
    if torch.cuda.is_available() and one:
        tensors["cuda_rng"] = torch.cuda.get_rng_state_all()
    if not hardware.sharded:
        tensors |= {
            "optimizers": [optimizer.state_dict() for optimizer in state.optimizers],
            "weights": state.model.state_dict() if apart else None,
            "average": state.average.state_dict() if state.average and shipped is not state.average else None,
        }
    torch.save(tensors, trainer / "state.pt")
    if train.lora_rank:
        save_adapter(state.average or state.model, folder / "adapter", state.init_from)


def note_evaluation(state: TrainState, folder: Path, dataset: Dataset, train: TrainConfig, loss: float) -> None:
    """Keep the loss of a checkpoint that was saved before it was evaluated."""
    path = folder / "trainer" / "state.json"
    write_json(path, read_json(path) | _facts(state))
    model_card.write(folder, state.config, dataset, train, state.step, state.seconds, loss, state.init_from)


def _facts(state: TrainState) -> dict[str, float | str]:
    return {name: getattr(state, name) for name in _FACTS}


def load_state(
    folder: Path, config: ModelConfig, dataset: Dataset, train: TrainConfig, hardware: Hardware
) -> TrainState:
    """Take a run up where a checkpoint left it, whatever number of processes it had then.

    CheckpointError, in every process, if it is another model, on another text, or damaged.
    """
    kept, problem = None, None
    try:
        kept = _read(folder, config, dataset, train)
    except CheckpointError as error:
        problem = error
    hardware.distributed.raise_if_any_failed(problem, CheckpointError)
    assert kept is not None
    state = _assemble(kept.model, kept.average, config, train, hardware)
    for name, value in kept.facts.items():
        setattr(state, name, value)
    if kept.tensors.get("optimizers") is None:
        found = state.tensors()
        if not kept.has_average:
            found = {name: tensor for name, tensor in found.items() if not name.startswith("average.")}
        load_shards(folder / "trainer" / "shards", found, hardware)
        if state.average is not None and not kept.has_average:
            with torch.no_grad():
                torch._foreach_copy_(list(state.average.parameters()), list(state.model.parameters()))
    else:
        _restore(state.optimizers, kept.tensors["optimizers"])
    torch.set_rng_state(kept.tensors["rng"])
    if torch.cuda.is_available() and len(kept.tensors["cuda_rng"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(kept.tensors["cuda_rng"])
    return state


@dataclass(frozen=True)
class _Kept:
    """What a checkpoint has, read by one process: models whose weights are right unless they lie in shards."""

    facts: dict[str, Any]
    model: GPT
    average: GPT | None
    has_average: bool
    tensors: dict[str, Any]


def _read(folder: Path, config: ModelConfig, dataset: Dataset, train: TrainConfig) -> _Kept:
    saved = read_json(folder / "trainer" / "state.json")
    try:
        sha256, then = saved["sha256"], saved["train"]
        facts = {name: saved[name] for name in _FACTS}
        optimizer, ema_decay, multiple = then["optimizer"], then["ema_decay"], then.get("pad_vocab_to", 0)
    except (KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / 'trainer' / 'state.json'} is not of this version: {error}") from None
    if sha256 != dataset.sha256:
        raise CheckpointError(f"{folder} was trained on another text or split: give the same one, or another --out")
    if optimizer != train.optimizer:
        raise CheckpointError(
            f"{folder} was trained with {optimizer}, not {train.optimizer}: keep it, or use another --out"
        )
    ours = asdict(train) | {"lora_targets": list(train.lora_targets)}
    names = ("lora_rank", "lora_alpha", "lora_targets") if then.get("lora_rank") or train.lora_rank else ()
    if changed := [name for name in names if then.get(name) != ours[name]]:
        was = ", ".join(f"--{name.replace('_', '-')} {then.get(name)}" for name in changed)
        raise CheckpointError(f"{folder} was trained with {was}: keep that, or use another --out")
    shipped = GPT.from_pretrained(folder)
    if shipped.config != config:
        raise CheckpointError(
            f"{folder} holds a model of another shape or dropout: keep those flags, or use another --out"
        )
    if pad_vocab(config, multiple) != pad_vocab(config, train.pad_vocab_to):
        raise CheckpointError(f"{folder} was trained with --pad-vocab-to {multiple}: keep it, or use another --out")
    try:
        tensors = torch.load(folder / "trainer" / "state.pt", map_location="cpu", weights_only=True)
    except Exception as error:
        raise CheckpointError(f"cannot read {folder / 'trainer' / 'state.pt'}: {error}") from None
    model = GPT(pad_vocab(config, train.pad_vocab_to))
    load_into_padded(model, shipped)
    average = copy.deepcopy(model) if train.ema_decay else None  # where it is not kept apart, it is what was shipped
    if train.lora_rank:
        add_adapters(model, train.lora_rank, train.lora_alpha, train.lora_targets)
    if tensors.get("weights") is not None:
        model.load_state_dict(tensors["weights"])
    if average is not None and tensors.get("average") is not None:
        average = copy.deepcopy(model)
        average.load_state_dict(tensors["average"])
    elif average is not None and not ema_decay:
        average = copy.deepcopy(model)
    return _Kept(facts, model, average, bool(ema_decay), tensors)


def _restore(optimizers: list[torch.optim.Optimizer], kept: list[dict[str, Any]]) -> None:
    """Rates and decays come from today's flags, so that they may be changed between runs; the moments are the run's."""
    for optimizer, then in zip(optimizers, kept, strict=True):
        for group, fresh in zip(then["param_groups"], optimizer.state_dict()["param_groups"], strict=True):
            group.update({key: value for key, value in fresh.items() if key != "params"})
        optimizer.load_state_dict(then)
        for parameter, memory in optimizer.state.items():
            for kind, value in memory.items():
                if value.shape == parameter.shape:  # all but AdamW's count of its steps
                    memory[kind] = distribute_like(value, parameter)
