"""Checkpoints of others as ours: one function for each form, which is known by the names of its tensors.

Nothing is read here but shapes: each tensor of ours is a recipe that reads and turns its parts when it is written.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from inkhorn.checkpoint.weights import match_names
from inkhorn.config.model import Activation, ModelConfig
from inkhorn.convert.converted import Imported, Recipe, with_head
from inkhorn.convert.state_dict import Array, Foreign, Stored, Taker, open_foreign
from inkhorn.errors import CheckpointError, UsageError, require
from inkhorn.utils.files import read_json

ScoreScale = Literal["width", "head"]

EPSILON = 1e-5
"""inside every LayerNorm of nanoGPT, minGPT and the lecture"""


@dataclass(frozen=True, kw_only=True)
class Hints:
    """What a user says of a checkpoint that does not say it itself."""

    n_head: int | None = None
    """attention heads per block, where the checkpoint does not say: minGPT's, and state dicts alone"""
    activation: Activation | None = None
    """gelu_new: tanh form; gelu: erf form; relu: where the checkpoint does not say, and it is not its form's usual"""
    score_scale: ScoreScale | None = None
    """the lecture's attention divides by the root of the model's width (as in the video, the default) or of a head's"""


def open_checkpoint(path: Path, hints: Hints = Hints()) -> Imported:
    """Recognise a folder or file.

    Raises CheckpointError for what cannot be read or is none of the known forms, UsageError for hints that are missing
    or contradict the checkpoint.
    """
    said = (path if path.is_dir() else path.parent) / "config.json"
    config = None
    if said.is_file() and "model_type" in (spec := read_json(said)):
        config = ModelConfig.from_hf(spec)  # before the weights: it may be no GPT at all
    foreign = open_foreign(path)
    names = {name.removeprefix("transformer."): tensor.shape for name, tensor in foreign.tensors.items()}
    qkv = names.get("h.0.attn.c_attn.weight", ())
    try:
        if "token_embedding_table.weight" in names:
            return from_lecture(foreign, hints)
        if "tok_emb.weight" in names:
            return from_early_mingpt(foreign, hints)
        if len(qkv) == 2 and qkv[0] == 3 * qkv[1]:
            return from_linear(foreign, hints)
    except UsageError as error:
        raise UsageError(f"{foreign.path}: {error}") from None
    if len(qkv) == 2 and 3 * qkv[0] == qkv[1]:
        if config is None:
            raise CheckpointError(f"{foreign.path} has transformers' tensors: its config.json must lie beside it")
        return from_transformers(foreign, config, hints)
    raise CheckpointError(
        f"{foreign.path} is in no form that is known here (transformers' GPT-2 and GPT-1, nanoGPT, minGPT, the Zero to "
        f"Hero lecture, a state dict of ours): its tensors are {', '.join(sorted(names)[:4])} ..."
    )


def from_transformers(foreign: Foreign, config: ModelConfig, hints: Hints) -> Imported:
    """A GPT-2 or GPT-1 as transformers keeps it: our names and [in, out] matrices, so nothing is computed."""
    require(hints == Hints(), "config.json says the shape: leave out --n-head, --activation and --score-scale")
    names = match_names(set(foreign.tensors), config, foreign.path)
    found = {name: foreign.tensors[theirs] for name, theirs in names.items()}
    for spec in config.tensor_specs():
        if found[spec.name].shape != spec.shape:
            theirs = f"{names[spec.name]} has shape {list(found[spec.name].shape)}, not {list(spec.shape)}"
            raise CheckpointError(f"{foreign.path} does not match config.json: {theirs}")
    form = "GPT-2" if config.pre_norm else "GPT-1"
    return Imported(form, config, {name: tensor.read for name, tensor in found.items()}, _common_dtype(found))


def from_linear(foreign: Foreign, hints: Hints) -> Imported:
    """OpenAI's names over torch's [out, in] matrices: nanoGPT's, minGPT's, or a state dict of ours.

    nanoGPT ties its head and bends by GELU's erf form; its checkpoint says the rest, and a model without biases gets
    zeros. minGPT has a head of its own and the tanh form. Ours has no prefix `transformer.`.
    """
    take = Taker(foreign, "transformer.")
    said = foreign.extras.get("model_args")
    said = said if isinstance(said, Mapping) else {}
    wte, head = take("wte.weight"), take.maybe("lm_head.weight")
    tied = head is None or (head.shape == wte.shape and np.array_equal(head.read(), wte.read()))
    ours = not any(name.startswith("transformer.") for name in foreign.tensors)
    form = "nanoGPT" if said else "Inkhorn" if ours else "nanoGPT" if tied else "minGPT"
    activation: Activation = hints.activation or ("gelu" if form == "nanoGPT" else "gelu_new")
    dropout = said.get("dropout", 0.0)
    config = ModelConfig(
        model_type="gpt2" if not ours or "ln_f.weight" in foreign.tensors else "openai-gpt",
        vocab_size=wte.shape[0],
        block_size=take.left["wpe.weight"].shape[0] if "wpe.weight" in take.left else 0,
        n_layer=take.count(r"h\.(\d+)\."),
        n_head=_heads(hints, said.get("n_head"), wte.shape[1]),
        n_embd=wte.shape[1],
        n_inner=_inner(take.left.get("h.0.mlp.c_fc.weight"), wte.shape[1]),
        activation_function=activation,
        tie_word_embeddings=tied,
        layer_norm_epsilon=EPSILON,
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        resid_pdrop=dropout,
    )
    require(hints.score_scale is None, "--score-scale is for the lecture's models")
    tensors = {"wte.weight": wte.read}
    if not tied and head is not None:
        tensors["lm_head.weight"] = head.read
    for spec in config.tensor_specs():
        if spec.name not in tensors:
            tensors[spec.name] = take.recipe(spec.name, spec.shape, transposed=spec.is_linear)
    take.finish(r"h\.\d+\.attn\.(bias|mask)")
    dtype = _common_dtype(foreign.tensors)
    return Imported(form, config, tensors, dtype, (_told(form, activation, hints),))


def from_early_mingpt(foreign: Foreign, hints: Hints) -> Imported:
    """minGPT as it was in 2020: q, k and v apart, positions in one parameter, GELU's erf form, a head of its own."""
    take = Taker(foreign)
    V, C = take("tok_emb.weight").shape
    positions = take("pos_emb")
    activation: Activation = hints.activation or "gelu"
    require(hints.score_scale is None, "--score-scale is for the lecture's models")
    config = ModelConfig(
        vocab_size=V,
        block_size=positions.shape[1],
        n_layer=take.count(r"blocks\.(\d+)\."),
        n_head=_heads(hints, None, C),
        n_embd=C,
        n_inner=_inner(take.left.get("blocks.0.mlp.0.weight"), C),
        activation_function=activation,
        tie_word_embeddings=False,
        layer_norm_epsilon=EPSILON,
    )
    tensors = {"wte.weight": foreign.tensors["tok_emb.weight"].read, "wpe.weight": lambda: positions.read()[0]}
    tensors["lm_head.weight"] = take.recipe("head.weight", (V, C))
    tensors |= take.norm("ln_f", "ln_f", C)
    for i in range(config.n_layer):
        block, attention = f"blocks.{i}", f"blocks.{i}.attn"
        parts = [
            [take(f"{attention}.{part}.{kind}") for part in ("query", "key", "value")] for kind in ("weight", "bias")
        ]
        tensors[f"h.{i}.attn.c_attn.weight"] = _joined(parts[0])
        tensors[f"h.{i}.attn.c_attn.bias"] = _joined(parts[1])
        tensors |= take.linear(f"h.{i}.attn.c_proj", f"{attention}.proj", (C, C))
        tensors |= take.linear(f"h.{i}.mlp.c_fc", f"{block}.mlp.0", (C, config.inner))
        tensors |= take.linear(f"h.{i}.mlp.c_proj", f"{block}.mlp.2", (config.inner, C))
        tensors |= take.norm(f"h.{i}.ln_1", f"{block}.ln1", C) | take.norm(f"h.{i}.ln_2", f"{block}.ln2", C)
    take.finish(r"blocks\.\d+\.attn\.mask")
    return Imported("minGPT", config, tensors, notes=(_told("minGPT of 2020", activation, hints),))


def from_lecture(foreign: Foreign, hints: Hints) -> Imported:
    """The GPT of Karpathy's lecture "Let's build GPT": a module for each head, ReLU, a head with a bias.

    Its heads are joined into c_attn, and the scale of its scores, C ** -0.5 in the video and hs ** -0.5 in the code
    that came after, goes into the queries. The head's bias goes where `fold_head` says.
    """
    take = Taker(foreign)
    (V, C), block_size = take("token_embedding_table.weight").shape, take("position_embedding_table.weight").shape[0]
    n_head = take.count(r"blocks\.0\.sa\.heads\.(\d+)\.")
    require(hints.n_head in (None, n_head), f"it has {n_head} heads, not --n-head {hints.n_head}")
    size = take.left.get("blocks.0.sa.heads.0.key.weight", Stored((0, 0), "", _nothing)).shape[0]
    if n_head * size != C:
        raise CheckpointError(
            f"{foreign.path}: {n_head} heads of {size} units are not the width of {C}: no GPT-2 is so"
        )
    scale = 1.0 if hints.score_scale == "head" else n_head**-0.5  # ours divides by sqrt(hs), sqrt(n_head) too little
    activation: Activation = hints.activation or "relu"
    config = ModelConfig(
        vocab_size=V,
        block_size=block_size,
        n_layer=take.count(r"blocks\.(\d+)\."),
        n_head=n_head,
        n_embd=C,
        n_inner=_inner(take.left.get("blocks.0.ffwd.net.0.weight"), C),
        activation_function=activation,
        tie_word_embeddings=False,
        layer_norm_epsilon=EPSILON,
    )
    tensors: dict[str, Recipe] = {
        "wte.weight": foreign.tensors["token_embedding_table.weight"].read,
        "wpe.weight": foreign.tensors["position_embedding_table.weight"].read,
    }
    for i in range(config.n_layer):
        block = f"blocks.{i}"
        heads = {
            part: [take(f"{block}.sa.heads.{j}.{part}.weight") for j in range(n_head)]
            for part in ("query", "key", "value")
        }
        tensors[f"h.{i}.attn.c_attn.weight"] = _joined(heads["query"] + heads["key"] + heads["value"], scale)
        tensors[f"h.{i}.attn.c_attn.bias"] = lambda: np.zeros(3 * C, np.float32)
        tensors |= take.linear(f"h.{i}.attn.c_proj", f"{block}.sa.proj", (C, C))
        tensors |= take.linear(f"h.{i}.mlp.c_fc", f"{block}.ffwd.net.0", (C, config.inner))
        tensors |= take.linear(f"h.{i}.mlp.c_proj", f"{block}.ffwd.net.2", (config.inner, C))
        tensors |= take.norm(f"h.{i}.ln_1", f"{block}.ln1", C) | take.norm(f"h.{i}.ln_2", f"{block}.ln2", C)
    last = [take(name).read() for name in ("ln_f.weight", "ln_f.bias", "lm_head.weight", "lm_head.bias")]
    take.finish(r"blocks\.\d+\.sa\.heads\.\d+\.tril")
    usual = " (the video's; --score-scale head for the code published after it)" if hints.score_scale is None else ""
    note = f"scores divided by the root of {'the width' if scale < 1 else 'a head'}{usual}"
    made = Imported("the Zero to Hero lecture's GPT", config, tensors, notes=(note,))
    return with_head(made, *last)


def _joined(parts: list[Stored], scale: float = 1.0) -> Recipe:
    """Rows of Linear weights or biases one after the other; the first third, the queries, multiplied by `scale`."""

    def read() -> Array:
        rows = np.concatenate([part.read() for part in parts])
        if scale != 1.0:
            rows[: len(rows) // 3] *= np.float32(scale)
        return rows.T

    return read


def _heads(hints: Hints, said: Any, width: int) -> int:
    if said is not None:
        require(hints.n_head in (None, said), f"it has {said} heads, not --n-head {hints.n_head}")
        return int(said)
    usual = f"; {width // 64} would be the usual number for a width of {width}" if width % 64 == 0 else ""
    require(hints.n_head is not None, f"it does not say how many attention heads it has: give --n-head{usual}")
    assert hints.n_head is not None
    return hints.n_head


def _inner(up: Stored | None, width: int) -> int | None:
    """n_inner as a config has it: None for the usual four times the width."""
    return None if up is None or up.shape[0] == 4 * width else up.shape[0]


def _told(form: str, activation: str, hints: Hints) -> str:
    usual = "" if hints.activation else f", as is usual for {form}; --activation changes it"
    return f"activation {activation}{usual}"


def _common_dtype(tensors: Mapping[str, Stored]) -> str:
    """The narrowest that keeps every number: float16's or bfloat16's if all have it, else float32."""
    found = {tensor.dtype for tensor in tensors.values()} - {"bool", "uint8", "BOOL", "U8"}
    return found.pop() if len(found) == 1 and found <= {"F16", "BF16"} else "F32"


def _nothing() -> Array:
    return np.zeros(0, np.float32)
