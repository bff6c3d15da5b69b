"""`ModelConfig`: the architecture of a GPT-1 or GPT-2.

The dataclass is frozen, keyword-only and validated on construction; a variant is `dataclasses.replace(config, ...)`. On
disk it is the `config.json` of Hugging Face transformers (`ModelConfig.from_hf`, `to_hf`). The field docstrings are the
help texts of the command-line flags.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Annotated, Any, Literal, get_args

from inkhorn.config.bounds import Range, validate
from inkhorn.config.tensors import BLOCK, EMBEDDINGS, FINAL_NORM, HEAD, Module, TensorSpec
from inkhorn.errors import CheckpointError, UsageError, require

ModelType = Literal["gpt2", "openai-gpt"]

Activation = Literal["gelu_new", "gelu", "relu"]

# Keys of transformers' GPT2Config that change the computation, with the only value that is supported here.
_FIXED_IN_HF = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "add_cross_attention": False,
}

_DROPOUTS = ("embd_pdrop", "attn_pdrop", "resid_pdrop")
_TOKEN_IDS = ("bos_token_id", "eos_token_id")
_SAME_IN_HF = ("n_layer", "n_head", "n_embd", "tie_word_embeddings", *_DROPOUTS, "layer_norm_epsilon", *_TOKEN_IDS)

FOLDED_IN_HF = ("scale_attn_weights", "scale_attn_by_inverse_layer_idx")
"""Keys that `inkhorn import` folds into the query weights."""

# Other names in transformers of the same functions.
_ACTIVATION_ALIASES = {
    "gelu_pytorch_tanh": "gelu_new",
    "gelu_fast": "gelu_new",
    "gelu_accurate": "gelu_new",
    "gelu_python": "gelu",
}


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The architecture of a model; the size of its vocabulary comes from the tokenizer."""

    n_layer: Annotated[int, Range(ge=1)] = 8
    """number of transformer blocks"""
    n_head: Annotated[int, Range(ge=1)] = 5
    """attention heads per block"""
    n_embd: Annotated[int, Range(ge=1)] = 320
    """width of the residual stream"""
    n_inner: Annotated[int | None, Range(ge=1)] = None
    """width of the MLP's hidden layer; by default 4 * n_embd"""
    block_size: Annotated[int, Range(ge=1)] = 256
    """context length in tokens"""
    model_type: ModelType = "gpt2"
    """gpt2: pre-norm and ln_f; openai-gpt (GPT-1): post-norm, no ln_f"""
    activation_function: Activation = "gelu_new"
    """gelu_new: tanh approximation, as OpenAI's; gelu: exact, as nanoGPT's; relu"""
    tie_word_embeddings: bool = True
    """share wte's matrix with the output head"""
    layer_norm_epsilon: Annotated[float, Range(gt=0)] = 1e-5
    """added to the variance inside each LayerNorm"""

    def __post_init__(self) -> None:
        validate(self)
        require(
            self.n_embd % self.n_head == 0,
            f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head}): each head is n_embd / n_head wide",
        )

    @classmethod
    def of(cls, config: "Architecture") -> "Architecture":
        """The architecture of an existing model, from its full config."""
        return Architecture(**{f.name: getattr(config, f.name) for f in fields(Architecture)})

    def to_model_config(
        self,
        vocab_size: int,
        *,
        dropout: float = 0.0,
        attn_dropout: float = 0.0,
        bos_token_id: int | None = None,
        eos_token_id: int | None = None,
    ) -> "ModelConfig":
        """The full config for a tokenizer; `dropout` applies to the embeddings and the residual stream."""
        return ModelConfig(
            **{f.name: getattr(self, f.name) for f in fields(Architecture)},
            vocab_size=vocab_size,
            embd_pdrop=dropout,
            resid_pdrop=dropout,
            attn_pdrop=attn_dropout,
            bos_token_id=bos_token_id,
            eos_token_id=eos_token_id,
        )


@dataclass(frozen=True, kw_only=True)
class ModelConfig(Architecture):
    """The configuration of a GPT: all that decides which function its weights compute.

    Sources: Radford et al. 2018 (GPT-1: LayerNorm after each residual sum, none at the end) and 2019 (GPT-2: LayerNorm
    before each sub-layer and one more at the end).
    """

    vocab_size: Annotated[int, Range(ge=1)]
    """number of tokens"""
    embd_pdrop: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """dropout on the embeddings"""
    attn_pdrop: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """dropout on the attention weights"""
    resid_pdrop: Annotated[float, Range(ge=0, lt=1)] = 0.0
    """dropout on each sub-layer's output"""
    bos_token_id: Annotated[int | None, Range(ge=0)] = None
    """token that an empty prompt starts with"""
    eos_token_id: Annotated[int | None, Range(ge=0)] = None
    """token that ends a text"""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in _TOKEN_IDS:
            value, size = getattr(self, name), self.vocab_size
            fits = value is None or value < size
            require(fits, f"{name} is {value}, outside the vocabulary of {size} tokens (0 to {size - 1})")

    @property
    def head_dim(self) -> int:
        """Width of one attention head."""
        return self.n_embd // self.n_head

    @property
    def inner(self) -> int:
        """Width of the MLP's hidden layer."""
        return self.n_inner or 4 * self.n_embd

    @property
    def pre_norm(self) -> bool:
        """True for GPT-2, False for GPT-1."""
        return self.model_type == "gpt2"

    @property
    def num_parameters(self) -> int:
        """Number of parameters, embeddings included; a tied head counts once."""
        return sum(spec.size for spec in self.tensor_specs())

    def tensor_specs(self) -> tuple[TensorSpec, ...]:
        """Every tensor of the model, in the order of the forward pass."""
        return _tensor_specs(self)

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "ModelConfig":
        """Build a config from the content of transformers' `config.json`.

        Raises:
            CheckpointError: it is not a GPT-1 or GPT-2, is incomplete, or asks for a computation that is not supported.
        """
        kind: Any = config.get("model_type", _type_by_architecture(config))
        if kind not in get_args(ModelType):
            known = " and ".join(get_args(ModelType))
            raise CheckpointError(f"config.json: model_type is {kind!r}; supported: {known}")
        for key, value in _FIXED_IN_HF.items():
            if config.get(key, value) != value:
                hint = "; inkhorn import folds it into the weights" if key in FOLDED_IN_HF else ""
                raise CheckpointError(f"config.json: {key} = {config[key]!r} is not supported; only {value!r} is{hint}")
        activation = config.get("activation_function", "gelu_new")
        activation = _ACTIVATION_ALIASES.get(activation, activation) if isinstance(activation, str) else activation
        if kind == "openai-gpt":  # transformers' GPT-1 names it `afn`, and calls the tanh form "gelu"
            activation = {"gelu": "gelu_new"}.get(config.get("afn", "gelu"), config.get("afn"))
        values = {key: config[key] for key in ("vocab_size", "n_inner", *_SAME_IN_HF) if key in config}
        if kind == "openai-gpt":
            values.pop("n_inner", None)  # GPT-1 in transformers has no such option
        for key in _TOKEN_IDS:
            if isinstance(values.get(key), list):  # the others are in generation_config.json
                values[key] = next(iter(values[key]), None)
            if isinstance(values.get(key), int) and isinstance(size := config.get("vocab_size"), int):
                values[key] = None if values[key] >= size else values[key]  # it cannot be sampled
        missing = {"vocab_size", "n_positions", "n_layer", "n_head", "n_embd"} - set(config)
        if missing:
            raise CheckpointError(f"config.json is missing {', '.join(sorted(missing))}")
        try:
            return cls(block_size=config["n_positions"], model_type=kind, activation_function=activation, **values)
        except (UsageError, TypeError) as error:
            raise CheckpointError(f"config.json: {error}") from error

    def to_hf(self) -> dict[str, Any]:
        """The content of a `config.json` with which transformers computes the same function.

        Raises:
            CheckpointError: transformers' openai-gpt has no option for this activation or MLP width.
        """
        config: dict[str, Any] = {
            "architectures": ["GPT2LMHeadModel" if self.pre_norm else "OpenAIGPTLMHeadModel"],
            "model_type": self.model_type,
            "vocab_size": self.vocab_size,
            "n_positions": self.block_size,
            "n_ctx": self.block_size,  # the older name, which mlx-lm reads
            # Token ids are written even when None: transformers' default, 50256, lies outside a small vocabulary.
            **{name: getattr(self, name) for name in _SAME_IN_HF},
        }
        if self.pre_norm:
            return config | {"activation_function": self.activation_function, "n_inner": self.n_inner}
        if self.activation_function == "gelu" or self.inner != 4 * self.n_embd:
            raise CheckpointError(
                "transformers' openai-gpt supports neither the exact GELU nor an MLP width other than 4 * n_embd: "
                f"activation_function is {self.activation_function!r}, the MLP width {self.inner}"
            )
        return config | {"afn": {"gelu_new": "gelu"}.get(self.activation_function, self.activation_function)}


def _type_by_architecture(config: Mapping[str, Any]) -> str | None:
    """The model type of an old config.json without `model_type`."""
    architectures = config.get("architectures")
    names = [str(name) for name in architectures] if isinstance(architectures, list) else []
    if any(name.startswith("GPT2") for name in names):
        return "gpt2"
    return "openai-gpt" if any(name.startswith("OpenAIGPT") for name in names) else None


@lru_cache(maxsize=64)
def _tensor_specs(config: ModelConfig) -> tuple[TensorSpec, ...]:
    sizes = {"3 * n_embd": 3 * config.n_embd} | vars(config) | {"n_inner": config.inner}
    modules: list[tuple[Module, int | None]] = [
        *((module, None) for module in EMBEDDINGS),
        *((module, layer) for layer in range(config.n_layer) for module in BLOCK),
        *([(FINAL_NORM, None)] if config.pre_norm else []),
        *([] if config.tie_word_embeddings else [(HEAD, None)]),
    ]
    return tuple(spec for module, layer in modules for spec in module.specs(sizes, config.pre_norm, layer))
