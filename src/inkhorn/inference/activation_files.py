"""Files of activations that belong to a model: steering vectors and mean activations.

They are safetensors files in the folder `inspection` of the checkpoint. Each carries the digest of the weights that it
was made from, and is refused for others: a direction in one model means nothing in another.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from inkhorn.checkpoint.tensor_file import LazyTensor, open_tensor_file, write_tensor_file
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.numpy_model import Array

FOLDER = "inspection"
MEANS = "means"
NAME = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
"""What a steering vector may be called: a file name without surprises."""


def steering_names(folder: Path) -> list[str]:
    """The names of a model's steering vectors."""
    return sorted(path.stem for path in (folder / FOLDER / "steering").glob("*.safetensors"))


def steering_path(folder: Path, name: str) -> Path:
    """The file of a steering vector; raises UsageError if the name is not valid."""
    if not NAME.fullmatch(name):
        raise UsageError(f"vector: {name[:64]!r} is not a name: use letters, digits, '.', '_' and '-'")
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


def read_means(folder: Path) -> Mapping[str, Array]:
    """The mean of each activation over a reference text, by the names of `HookPoint`.

    Raises:
        UsageError: the model has none, or they were made from other weights.
        CheckpointError: the file is damaged.
    """
    path = folder / FOLDER / f"{MEANS}.safetensors"
    if not path.is_file():
        raise UsageError(f"mean: this model has no mean activations: make them with inkhorn inspect {folder}")
    return read_activations(path, folder)[0]


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
