"""The weights of a checkpoint folder: `config.json` and `model.safetensors`, as transformers reads and writes them.

In memory tensors have OpenAI's names (`wte.weight`, `h.0.attn.c_attn.weight`, ...), on disk Hugging Face's: a prefix
`transformer.` and, for GPT-1, `tokens_embed` and `positions_embed`. Matrices are [in, out] in both ("Conv1D").
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from inkhorn.checkpoint.int8 import dequantized
from inkhorn.checkpoint.tensor_file import Array, LazyTensor, open_tensor_file, write_tensor_file
from inkhorn.config.model import ModelConfig
from inkhorn.errors import CheckpointError, require
from inkhorn.utils.files import read_json, write_json

Dtype = Literal["float32", "float16", "bfloat16"]

_SAFETENSORS_DTYPE = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
_CAUSAL_MASK = re.compile(r"h\.\d+\.attn\.(bias|masked_bias)")  # buffers, not weights, in old files of OpenAI's models
_PREFIX = "transformer."


def read_config(folder: Path) -> ModelConfig:
    """Read a checkpoint's `config.json`."""
    return ModelConfig.from_hf(read_json(folder / "config.json"))


def read_weights(folder: Path, config: ModelConfig) -> dict[str, Array]:
    """Read `model.safetensors` as float32, with the names and shapes of `config.tensor_specs()`.

    Raises:
        CheckpointError: the file is missing, damaged, or does not hold exactly these tensors.
    """
    path = folder / "model.safetensors"
    if not path.is_file():
        others = ("model.safetensors.index.json", "pytorch_model.bin", "pytorch_model.bin.index.json", "ckpt.pt")
        if other := next((name for name in others if (folder / name).is_file()), None):
            raise CheckpointError(f"{folder} has {other} instead of model.safetensors: convert it with inkhorn import")
        raise CheckpointError(f"{folder} has no model.safetensors: it is not a complete checkpoint folder")
    tensors = match_tensors(dequantized(open_tensor_file(path)), config, path)
    return {name: np.asarray(tensor.read(), np.float32) for name, tensor in tensors.items()}


def match_tensors(found: Mapping[str, LazyTensor], config: ModelConfig, path: Path) -> dict[str, LazyTensor]:
    """The tensors of a file by their names in memory; the file may leave out the prefix `transformer.`.

    Raises:
        CheckpointError: a tensor is missing or has another shape, or there are others.
    """
    bare = {name.removeprefix(_PREFIX): name for name in found}
    twice = sorted(name for name in found if _PREFIX + name in found)
    if twice:
        raise CheckpointError(f"{path} holds {', '.join(twice[:4])} both with and without the prefix {_PREFIX!r}")
    names = {}
    for spec in config.tensor_specs():
        stored = bare.pop(spec.hf_name.removeprefix(_PREFIX), None)
        if stored is None:
            raise CheckpointError(f"{path} does not match config.json: it has no {spec.hf_name}")
        names[spec.name] = stored
    if config.tie_word_embeddings:  # some writers repeat the tied matrix
        head = bare.pop("lm_head.weight", None)
        if head is not None and not equals_embedding(found[head], found[names["wte.weight"]]):
            raise CheckpointError(
                f"{path}: lm_head.weight differs from the token embedding, although config.json ties them: "
                "convert it with inkhorn import, which keeps both"
            )
    unexpected = sorted(name for name in bare if not _CAUSAL_MASK.fullmatch(name))
    if unexpected:
        raise CheckpointError(f"{path} does not match config.json: unexpected tensors {', '.join(unexpected[:4])}")
    for spec in config.tensor_specs():
        if (shape := found[names[spec.name]].shape) != spec.shape:
            raise CheckpointError(
                f"{path} does not match config.json: {names[spec.name]} has shape {list(shape)}, "
                f"the config asks for {list(spec.shape)}"
            )
    return {name: found[stored] for name, stored in names.items()}


def equals_embedding(head: LazyTensor, embedding: LazyTensor) -> bool:
    """Whether an output head repeats the token embedding."""
    return head.shape == embedding.shape and np.array_equal(head.read(), embedding.read())


def read_eos_token_ids(folder: Path, config: ModelConfig) -> tuple[int, ...]:
    """The tokens that end a text: those of generation_config.json, which transformers obeys, else of config.json.

    Ids outside the vocabulary are left out.
    """
    for path in (folder / "generation_config.json", folder / "config.json"):
        found = read_json(path).get("eos_token_id") if path.is_file() else None
        ids = found if isinstance(found, list) else [found]
        if valid := tuple(i for i in ids if isinstance(i, int) and 0 <= i < config.vocab_size):
            return valid
    return ()


def write_generation_config(folder: Path, config: ModelConfig, eos_token_ids: Sequence[int] = ()) -> None:
    """Write the defaults of transformers' `generate`; `eos_token_ids` if several tokens end a text."""
    # No limit of the length: `max_new_tokens` here takes precedence over the `max_length` that a caller gives, and
    # `max_length` makes transformers warn callers who give `max_new_tokens`.
    defaults = {"do_sample": True, "temperature": 0.8}
    ends = {"bos_token_id": config.bos_token_id, "eos_token_id": [*eos_token_ids] or config.eos_token_id}
    write_json(folder / "generation_config.json", defaults | ends)


def write_weights(folder: Path, config: ModelConfig, tensors: Mapping[str, Callable[[], Array]], dtype: str) -> Path:
    """Write `model.safetensors`, one tensor in memory at a time, and `config.json`; return the former's path.

    Each file is written atomically: after a failure an earlier checkpoint in the folder is unchanged.

    Args:
        folder: created if needed.
        config: the model's config.
        tensors: a function for each tensor of `config.tensor_specs()` that returns its values.
        dtype: float32, float16 or bfloat16; for bfloat16 the values must be bfloat16 values in float32.

    Raises:
        UsageError: another dtype.
        CheckpointError: tensors do not match the config, are not finite in `dtype`, or cannot be written.
    """
    require(dtype in get_args(Dtype), f"dtype must be one of {', '.join(get_args(Dtype))}, not {dtype}")
    specs, hf_config = config.tensor_specs(), config.to_hf()
    wrong = tensors.keys() ^ {spec.name for spec in specs}
    if wrong:
        raise CheckpointError(f"these tensors do not match the config: {', '.join(sorted(wrong)[:4])}")
    kind, path, is_new = _SAFETENSORS_DTYPE[dtype], folder / "model.safetensors", not folder.exists()
    stored = {spec.hf_name: LazyTensor(spec.shape, kind, tensors[spec.name]) for spec in specs}
    try:
        write_tensor_file(path, stored, {"format": "pt"})
        write_json(folder / "config.json", hf_config | {"dtype": dtype})
    except (OSError, CheckpointError) as error:
        if is_new:
            with suppress(OSError):
                folder.rmdir()
        if isinstance(error, CheckpointError):
            raise
        raise CheckpointError(f"cannot write a checkpoint to {folder}: {error}") from None
    return path
