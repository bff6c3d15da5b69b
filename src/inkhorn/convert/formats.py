"""Checkpoints of other projects, converted: one function per format, which is recognized by its tensor names.

Only shapes are read here: each tensor of the result is a function that reads and transposes its sources when it is
written.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import tyro

from inkhorn.checkpoint.tensor_file import Array, LazyTensor
from inkhorn.checkpoint.weights import Dtype, equals_embedding, match_tensors
from inkhorn.config.model import Activation, ModelConfig
from inkhorn.convert.attention_scale import fold_attention_scale, foldable_config
from inkhorn.convert.converted import ConvertedModel, with_head
from inkhorn.convert.state_dict import SourceCheckpoint, TensorMapper, open_source
from inkhorn.errors import CheckpointError, UsageError, require
from inkhorn.utils.files import read_json

AttnScale = Literal["width", "head"]

EPSILON = 1e-5  # LayerNorm epsilon of nanoGPT, minGPT and Karpathy's "Let's build GPT"

_NO_DEFAULT = tyro.conf.arg(help_behavior_hint="")


@dataclass(frozen=True, kw_only=True)
class ImportOptions:
    """Properties of a checkpoint that its file does not contain."""

    n_head: Annotated[int | None, _NO_DEFAULT] = None
    """attention heads per block, for minGPT and bare state dicts"""
    activation: Annotated[Activation | None, _NO_DEFAULT] = None
    """activation function, if it is not the usual one of the format"""
    layer_norm_epsilon: Annotated[float | None, _NO_DEFAULT] = None
    """LayerNorm epsilon, if it is not 1e-5"""
    attn_scale: Annotated[AttnScale | None, _NO_DEFAULT] = None
    """"Let's build GPT" only: scores are divided by the root of the model's width (the default) or of the head's"""


def open_checkpoint(path: Path, options: ImportOptions = ImportOptions()) -> ConvertedModel:
    """Recognize the format of a folder or file and convert it.

    Raises:
        CheckpointError: it cannot be read, or has none of the known formats.
        UsageError: options are missing or contradict the checkpoint.
    """
    config_path = (path if path.is_dir() else path.parent) / "config.json"
    config = None
    spec: dict[str, Any] = {}
    if config_path.is_file() and {"model_type", "architectures"} & (spec := read_json(config_path)).keys():
        config = foldable_config(spec)  # before the weights: it may not be a GPT at all
    source = open_source(path)
    shapes = {name.removeprefix("transformer."): tensor.shape for name, tensor in source.tensors.items()}
    qkv = shapes.get("h.0.attn.c_attn.weight", ())
    try:
        if "token_embedding_table.weight" in shapes:
            return from_lets_build_gpt(source, options)
        if "tok_emb.weight" in shapes:
            return from_early_mingpt(source, options)
        if len(qkv) == 2 and qkv[0] == 3 * qkv[1]:
            return from_nanogpt(source, options)
    except UsageError as error:
        raise UsageError(f"{source.path}: {error}") from None
    except IndexError:
        raise CheckpointError(f"{source.path}: a tensor has fewer dimensions than its format asks for") from None
    if len(qkv) == 2 and 3 * qkv[0] == qkv[1]:
        if config is None:
            raise CheckpointError(f"{source.path} has the tensors of transformers, but there is no config.json with it")
        return fold_attention_scale(from_transformers(source, config, options), spec)
    raise CheckpointError(
        f"{source.path} has an unknown format (known: transformers' GPT-2 and GPT-1, nanoGPT, minGPT, Karpathy's "
        f'"Let\'s build GPT", and state dicts of inkhorn.GPT): its tensors are {", ".join(sorted(shapes)[:4])} ...'
    )


def from_transformers(source: SourceCheckpoint, config: ModelConfig, options: ImportOptions) -> ConvertedModel:
    """A GPT-2 or GPT-1 of transformers, which has the same layout: [in, out] matrices."""
    flags = "--n-head, --activation, --layer-norm-epsilon and --attn-scale"
    require(options == ImportOptions(), f"config.json is complete: leave out {flags}")
    bare = {name.removeprefix("transformer."): tensor for name, tensor in source.tensors.items()}
    head, embedding = bare.get("lm_head.weight"), bare.get("wte.weight" if config.pre_norm else "tokens_embed.weight")
    if head is not None and embedding is not None and not equals_embedding(head, embedding):
        config = replace(config, tie_word_embeddings=False)  # as transformers does, whatever the config says
    found = match_tensors(source.tensors, config, source.path)
    tensors = {name: tensor.read for name, tensor in found.items()}
    return ConvertedModel("GPT-2" if config.pre_norm else "GPT-1", config, tensors, _common_dtype(found))


def from_nanogpt(source: SourceCheckpoint, options: ImportOptions) -> ConvertedModel:
    """nanoGPT, minGPT, or a state dict of inkhorn.GPT: OpenAI's names, with torch's [out, in] matrices.

    nanoGPT ties the head and uses the exact GELU; its checkpoint has the number of heads, and its models without biases
    get zeros. minGPT has an untied head and the tanh approximation. State dicts of inkhorn.GPT have no prefix
    `transformer.`.
    """
    mapper = TensorMapper(source, "transformer.")
    model_args = source.extras.get("model_args")
    model_args = model_args if isinstance(model_args, Mapping) else {}
    wte, head = mapper["wte.weight"], mapper.get("lm_head.weight")
    tied = head is None or (head.shape == wte.shape and np.array_equal(head.read(), wte.read()))
    is_inkhorn = not any(name.startswith("transformer.") for name in source.tensors)
    project = "nanoGPT" if model_args else "Inkhorn" if is_inkhorn else "nanoGPT" if tied else "minGPT"
    saved = _saved_config(source)
    usual: Activation = saved.activation_function if saved else "gelu" if project == "nanoGPT" else "gelu_new"
    activation: Activation = options.activation or usual
    dropout = model_args.get("dropout", 0.0)
    config = ModelConfig(
        model_type="gpt2" if not is_inkhorn or "ln_f.weight" in source.tensors else "openai-gpt",
        vocab_size=wte.shape[0],
        block_size=mapper.tensors["wpe.weight"].shape[0] if "wpe.weight" in mapper.tensors else 0,
        n_layer=mapper.count(r"h\.(\d+)\."),
        n_head=_n_head(options, model_args.get("n_head", saved and saved.n_head), wte.shape[1]),
        n_embd=wte.shape[1],
        n_inner=_n_inner(mapper.tensors.get("h.0.mlp.c_fc.weight"), wte.shape[1]),
        activation_function=activation,
        tie_word_embeddings=tied,
        layer_norm_epsilon=options.layer_norm_epsilon or (saved.layer_norm_epsilon if saved else EPSILON),
        embd_pdrop=dropout,
        attn_pdrop=dropout,
        resid_pdrop=dropout,
    )
    _reject_attn_scale(options)
    tensors = {"wte.weight": wte.read}
    if not tied and head is not None:
        tensors["lm_head.weight"] = head.read
    for spec in config.tensor_specs():
        if spec.name not in tensors:
            tensors[spec.name] = mapper.lazy(spec.name, spec.shape, transposed=spec.is_linear)
    mapper.assert_all_used(r"h\.\d+\.attn\.(bias|mask)")
    dtype = _common_dtype(source.tensors)
    notes = () if saved else (_activation_note(project, activation, options),)
    return ConvertedModel(project, config, tensors, dtype, notes)


def from_early_mingpt(source: SourceCheckpoint, options: ImportOptions) -> ConvertedModel:
    """minGPT of 2020: separate q, k and v, position embeddings in a bare parameter, exact GELU, an untied head."""
    mapper = TensorMapper(source)
    V, C = mapper["tok_emb.weight"].shape
    positions = mapper["pos_emb"]
    activation: Activation = options.activation or "gelu"
    _reject_attn_scale(options)
    config = ModelConfig(
        vocab_size=V,
        block_size=positions.shape[1],
        n_layer=mapper.count(r"blocks\.(\d+)\."),
        n_head=_n_head(options, None, C),
        n_embd=C,
        n_inner=_n_inner(mapper.tensors.get("blocks.0.mlp.0.weight"), C),
        activation_function=activation,
        tie_word_embeddings=False,
        layer_norm_epsilon=options.layer_norm_epsilon or EPSILON,
    )
    tensors = {"wte.weight": mapper["tok_emb.weight"].read, "wpe.weight": lambda: positions.read()[0]}
    tensors["lm_head.weight"] = mapper.lazy("head.weight", (V, C))
    tensors |= mapper.norm("ln_f", "ln_f", C)
    for i in range(config.n_layer):
        for kind in ("weight", "bias"):
            parts = [mapper[f"blocks.{i}.attn.{part}.{kind}"] for part in ("query", "key", "value")]
            tensors[f"h.{i}.attn.c_attn.{kind}"] = _concatenated(parts)
        tensors |= _rest_of_block(mapper, config, i, "attn.proj", "mlp")
    mapper.assert_all_used(r"blocks\.\d+\.attn\.mask")
    return ConvertedModel("minGPT", config, tensors, notes=(_activation_note("minGPT of 2020", activation, options),))


def from_lets_build_gpt(source: SourceCheckpoint, options: ImportOptions) -> ConvertedModel:
    """Karpathy's "Let's build GPT" (Zero to Hero): one module per attention head, ReLU, an output head with bias.

    The heads are concatenated into c_attn. Its attention scores are scaled by C ** -0.5 in the video and by hs ** -0.5
    in the code published later; the difference goes into the query weights. `fold_head` absorbs the output bias.
    """
    mapper = TensorMapper(source)
    wte, wpe = mapper["token_embedding_table.weight"], mapper["position_embedding_table.weight"]
    V, C = wte.shape
    n_head = mapper.count(r"blocks\.0\.sa\.heads\.(\d+)\.")
    require(options.n_head in (None, n_head), f"the checkpoint has {n_head} heads, not --n-head {options.n_head}")
    key = mapper.tensors.get("blocks.0.sa.heads.0.key.weight")
    size = 0 if key is None else key.shape[0]
    if n_head * size != C:
        raise CheckpointError(
            f"{source.path}: {n_head} heads of size {size} do not add up to the width {C}, which a GPT-2 requires"
        )
    scale = 1.0 if options.attn_scale == "head" else n_head**-0.5  # GPT-2 divides by sqrt(hs) = sqrt(C / n_head)
    config = ModelConfig(
        vocab_size=V,
        block_size=wpe.shape[0],
        n_layer=mapper.count(r"blocks\.(\d+)\."),
        n_head=n_head,
        n_embd=C,
        n_inner=_n_inner(mapper.tensors.get("blocks.0.ffwd.net.0.weight"), C),
        activation_function=options.activation or "relu",
        tie_word_embeddings=False,
        layer_norm_epsilon=options.layer_norm_epsilon or EPSILON,
    )
    tensors: dict[str, Callable[[], Array]] = {"wte.weight": wte.read, "wpe.weight": wpe.read}
    for i in range(config.n_layer):
        parts = ((j, part) for part in ("query", "key", "value") for j in range(n_head))
        heads = [mapper[f"blocks.{i}.sa.heads.{j}.{part}.weight"] for j, part in parts]
        tensors[f"h.{i}.attn.c_attn.weight"] = _concatenated(heads, scale)
        tensors[f"h.{i}.attn.c_attn.bias"] = lambda: np.zeros(3 * C, np.float32)
        tensors |= _rest_of_block(mapper, config, i, "sa.proj", "ffwd.net")
    head = [mapper[name].read() for name in ("ln_f.weight", "ln_f.bias", "lm_head.weight", "lm_head.bias")]
    mapper.assert_all_used(r"blocks\.\d+\.sa\.heads\.\d+\.tril")
    note = f"attention scores divided by the root of the {'width' if scale < 1 else 'head size'}"
    if options.attn_scale is None:
        note += " as in the video; --attn-scale head for the code published later"
    return with_head(ConvertedModel('"Let\'s build GPT"', config, tensors, notes=(note,)), *head)


def _rest_of_block(
    mapper: TensorMapper, config: ModelConfig, i: int, proj: str, mlp: str
) -> dict[str, Callable[[], Array]]:
    """All tensors of block `i` but c_attn, given the source's names of attention's output and of the MLP."""
    block, C = f"blocks.{i}", config.n_embd
    tensors = mapper.linear(f"h.{i}.attn.c_proj", f"{block}.{proj}", (C, C))
    tensors |= mapper.linear(f"h.{i}.mlp.c_fc", f"{block}.{mlp}.0", (C, config.inner))
    tensors |= mapper.linear(f"h.{i}.mlp.c_proj", f"{block}.{mlp}.2", (config.inner, C))
    return tensors | mapper.norm(f"h.{i}.ln_1", f"{block}.ln1", C) | mapper.norm(f"h.{i}.ln_2", f"{block}.ln2", C)


def _concatenated(parts: list[LazyTensor], scale: float = 1.0) -> Callable[[], Array]:
    """Weights or biases of several `nn.Linear` as one; the first third, the queries, multiplied by `scale`."""

    def read() -> Array:
        rows = np.concatenate([part.read() for part in parts])
        if scale != 1.0:
            rows[: len(rows) // 3] *= np.float32(scale)
        return rows.T

    return read


def _saved_config(source: SourceCheckpoint) -> ModelConfig | None:
    """The config in a state dict of `inkhorn export`."""
    if source.inkhorn_config is None:
        return None
    try:
        return ModelConfig(**source.inkhorn_config)
    except (TypeError, UsageError) as error:
        raise CheckpointError(f"{source.path}: the config in its metadata is invalid: {error}") from None


def _reject_attn_scale(options: ImportOptions) -> None:
    require(options.attn_scale is None, '--attn-scale applies to "Let\'s build GPT" checkpoints only')


def _n_head(options: ImportOptions, saved: Any, width: int) -> int:
    if saved is not None:
        require(options.n_head in (None, saved), f"the checkpoint has {saved} heads, not --n-head {options.n_head}")
        return int(saved)
    usual = f"; {width // 64} would be the usual number for a width of {width}" if width % 64 == 0 else ""
    require(options.n_head is not None, f"the number of attention heads is not in the checkpoint: give --n-head{usual}")
    assert options.n_head is not None
    return options.n_head


def _n_inner(c_fc: LazyTensor | None, width: int) -> int | None:
    """n_inner for the config: None for the usual 4 * n_embd."""
    return None if c_fc is None or c_fc.shape[0] == 4 * width else c_fc.shape[0]


def _activation_note(project: str, activation: str, options: ImportOptions) -> str:
    return f"activation {activation}" + ("" if options.activation else f", as usual for {project}; see --activation")


def _common_dtype(tensors: Mapping[str, LazyTensor]) -> Dtype:
    """The narrowest type that keeps every value: float16 or bfloat16 if all tensors have it, else float32."""
    found = {tensor.dtype for tensor in tensors.values()} - {"bool", "uint8", "BOOL", "U8"}
    return "float16" if found == {"F16"} else "bfloat16" if found == {"BF16"} else "float32"
