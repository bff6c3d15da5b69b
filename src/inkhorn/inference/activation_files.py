"""Files of activations that belong to a model: steering vectors and mean activations.

They are safetensors files in the folder `inspection` of the checkpoint. Each carries the digest of the weights that it
was made from, and is refused for others: a direction in one model means nothing in another.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.checkpoint.tensor_file import LazyTensor, open_tensor_file, write_tensor_file
from inkhorn.errors import CheckpointError, UsageError, nearest
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.numpy_model import Array

FOLDER = "inspection"
MEANS = "means"
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a steering vector may be called: a file name without surprises."""


def steering_names(folder: Path) -> list[str]:
    """The names of a model's steering vectors."""
    return sorted(path.stem for path in (folder / FOLDER / "steering").glob("*.safetensors"))


def steering_path(folder: Path, name: str, field: str = "vector") -> Path:
    """The file of a steering vector; raises UsageError, which begins with `field`, if the name is not valid."""
    if not NAME.fullmatch(name):
        raise UsageError(f"{field}: {name[:64]!r} is not a name: use 1 to 64 letters, digits, '.', '_' and '-'")
    return folder / FOLDER / "steering" / f"{name}.safetensors"


def read_steering(folder: Path, name: str) -> tuple[Array, int]:
    """A steering vector (n_embd,) and the layer whose residual stream it belongs to.

    Raises:
        UsageError: there is no such vector, or it was made from other weights.
        CheckpointError: the file is damaged.
    """
    path = steering_path(folder, name)
    if not path.is_file():
        known = steering_names(folder)
        hint = nearest(name, known) if known else "this model has none: make one with inkhorn steer"
        raise UsageError(f"vector: there is no steering vector {name!r}: {hint}")
    tensors, metadata = read_activations(path, folder)
    return tensors["vector"], int(metadata["layer"])


@dataclass(frozen=True)
class SteeringFacts:
    """What is known of a steering vector.

    Attributes:
        name: its name.
        layer: the layer whose residual stream it belongs to.
        positive: the kind of text that it steers towards.
        negative: the kind of text that it steers away from.
        effects: of some factors, in ascending order: what the texts generated with them are like (`Effect`).
        measured: how the effects were measured: samples, words, temperature, seed and the engine's fingerprint.
    """

    name: str
    layer: int
    positive: str
    negative: str
    effects: Sequence[Mapping[str, float | None]]
    measured: Mapping[str, Any]

    def to_metadata(self) -> dict[str, str]:
        """The metadata of the vector's file."""
        effects = json.dumps({"measured": self.measured, "effects": self.effects})
        return {"layer": str(self.layer), "positive": self.positive, "negative": self.negative, "effects": effects}


def steering_facts(folder: Path, name: str) -> SteeringFacts:
    """What is known of a vector; raises as `read_steering`."""
    path = steering_path(folder, name)
    metadata = read_activations(path, folder)[1]
    try:
        effects = json.loads(metadata.get("effects", "{}"))
        kinds = metadata.get("positive", ""), metadata.get("negative", "")
        return SteeringFacts(
            name, int(metadata["layer"]), *kinds, effects.get("effects", []), effects.get("measured", {})
        )
    except (KeyError, ValueError, AttributeError) as error:
        raise CheckpointError(f"{path} is damaged: {error!r}; make it again with inkhorn steer") from None


def has_means(folder: Path) -> bool:
    """Whether a checkpoint has mean activations."""
    return (folder / FOLDER / f"{MEANS}.safetensors").is_file()


def read_means(folder: Path) -> Mapping[str, Array]:
    """The mean of each activation over a reference text, by the names of `HookPoint`.

    Raises:
        UsageError: the model has none, or they were made from other weights.
        CheckpointError: the file is damaged.
    """
    if not has_means(folder):
        raise UsageError(f"mean: this model has no mean activations: make them with inkhorn inspect {folder}")
    return read_activations(folder / FOLDER / f"{MEANS}.safetensors", folder)[0]


def read_activations(path: Path, folder: Path) -> tuple[dict[str, Array], Mapping[str, str]]:
    """The arrays and the metadata of a file that was made from a checkpoint's weights."""
    file = open_tensor_file(path)
    found, expected = file.metadata.get("weights"), weights_digest(folder)
    if found != expected:
        message = f"{path.name} was made from other weights ({found}, not {expected})"
        raise UsageError(f"{message}: make it again with inkhorn inspect or inkhorn steer")
    return {name: tensor.read() for name, tensor in file.tensors.items()}, file.metadata


def write_activations(
    path: Path, folder: Path, arrays: Mapping[str, Array], metadata: Mapping[str, str] | None = None
) -> None:
    """Write arrays with the digest of a checkpoint's weights."""
    path.parent.mkdir(parents=True, exist_ok=True)
    tensors = {name: LazyTensor.of(array) for name, array in arrays.items()}
    write_tensor_file(path, tensors, metadata={**(metadata or {}), "weights": weights_digest(folder)})
