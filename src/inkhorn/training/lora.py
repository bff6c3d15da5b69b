"""LoRA: fine-tuning with low-rank adapters on frozen weights (Hu et al. 2021).

A weight W (out, in) becomes W + (alpha / rank) B A, where A (rank, in) is random and B (out, rank) zero at first, so
that training starts from the unchanged model. The sum is a torch parametrization of `weight`: the model's code does not
change, and reading `weight` gives the merged matrix.
"""

import json
import math
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from inkhorn.checkpoint.tensor_file import LazyTensor, open_tensor_file, write_tensor_file
from inkhorn.config.train import LORA_TARGETS
from inkhorn.errors import CheckpointError, UsageError, nearest
from inkhorn.model import GPT
from inkhorn.utils.files import write_json

_FILE, _CONFIG = "adapter_model.safetensors", "adapter_config.json"


class LoRADelta(nn.Module):
    """The low-rank update of a weight (out, in)."""

    def __init__(self, outputs: int, inputs: int, rank: int, alpha: float) -> None:
        super().__init__()
        self.scale = alpha / rank
        self.a = nn.Parameter(torch.empty(rank, inputs))  # (r, in)
        self.b = nn.Parameter(torch.zeros(outputs, rank))  # (out, r)
        nn.init.kaiming_uniform_(self.a, a=math.sqrt(5))

    def forward(self, weight: Tensor) -> Tensor:
        return weight + self.scale * (self.b @ self.a)


def add_adapters(model: GPT, rank: int, alpha: float, targets: Sequence[str] = LORA_TARGETS) -> GPT:
    """Freeze a model and add a trainable adapter to each linear layer named in `targets`; returns the model.

    Raises:
        UsageError: the rank is below 1, or a target does not exist.
    """
    if rank < 1:
        raise UsageError(f"the rank of an adapter must be at least 1, not {rank}")
    for target in targets:
        if target not in LORA_TARGETS:
            raise UsageError(f"LoRA has no target {target!r}: {nearest(target, LORA_TARGETS)}")
    model.requires_grad_(False)
    for name, module in list(model.named_modules()):
        if isinstance(module, nn.Linear) and name.startswith("h.") and name.endswith(tuple(targets)):
            delta = LoRADelta(module.out_features, module.in_features, rank, alpha).to(module.weight.device)
            parametrize.register_parametrization(module, "weight", delta)
    return model


def lora_modules(model: GPT) -> dict[str, LoRADelta]:
    """The adapters by the names of the modules they update; empty if the model has none."""
    named = model.named_modules()
    return {name.split(".parametrizations.")[0]: module for name, module in named if isinstance(module, LoRADelta)}


@torch.no_grad()
def merge_lora(model: GPT) -> GPT:
    """A model with the adapters merged into its weights; the model itself if it has none."""
    if not lora_modules(model):
        return model
    result = GPT(model.config).to(next(model.parameters()).device).train(model.training)
    modules = dict(model.named_modules())
    for name, parameter in result.named_parameters():
        owner, _, kind = name.rpartition(".")
        parameter.copy_(getattr(modules[owner], kind))
    return result


def save_adapter(model: GPT, folder: Path, base: str) -> None:
    """Write the adapters in the format of `peft`, for transformers' version of the base model.

    Args:
        model: a model with adapters.
        folder: the folder to create.
        base: the name or folder of the base model.
    """
    found = lora_modules(model)
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "base_model.model.transformer"
    tensors = {f"{prefix}.{name}.lora_A.weight": delta.a for name, delta in found.items()}
    tensors |= {f"{prefix}.{name}.lora_B.weight": delta.b for name, delta in found.items()}
    arrays = {name: LazyTensor.of(tensor.detach().cpu().numpy()) for name, tensor in tensors.items()}
    write_tensor_file(folder / _FILE, arrays, {"format": "pt"})
    first = next(iter(found.values()))
    rank = first.a.shape[0]
    config = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": rank,
        "lora_alpha": first.scale * rank,
        "lora_dropout": 0.0,
        "bias": "none",
        "fan_in_fan_out": True,  # transformers keeps these matrices as (in, out)
        "target_modules": sorted({name.rsplit(".", 1)[1] for name in found}),
        "inference_mode": True,
    }
    write_json(folder / _CONFIG, config)


def load_adapter(model: GPT, folder: Path) -> GPT:
    """Add saved adapters to their base model; returns the model.

    Raises:
        CheckpointError: the adapters are missing, damaged or of another shape.
    """
    try:
        config = json.loads((folder / _CONFIG).read_text(encoding="utf-8"))
        tensors = dict(open_tensor_file(folder / _FILE).tensors)
        add_adapters(model, config["r"], config["lora_alpha"], config["target_modules"])
        for name, delta in lora_modules(model).items():
            prefix = f"base_model.model.transformer.{name}"
            for letter, parameter in (("A", delta.a), ("B", delta.b)):
                saved = tensors.pop(f"{prefix}.lora_{letter}.weight")
                if saved.shape != tuple(parameter.shape):
                    raise ValueError(f"{name}: {tuple(saved.shape)}, the model needs {tuple(parameter.shape)}")
                with torch.no_grad():
                    parameter.copy_(torch.from_numpy(saved.read()))
        if tensors:
            raise ValueError(f"the model has no layer for {min(tensors)}")
    except UsageError:
        raise
    except Exception as error:  # a damaged file raises errors of many types
        raise CheckpointError(f"the adapter in {folder} cannot be used: {error}") from None
    return model
