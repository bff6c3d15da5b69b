"""`ModelConfig`: the architecture of a GPT-1 or GPT-2.

The dataclass is frozen, keyword-only and validated on construction; a variant is `dataclasses.replace(config, ...)`. On
disk it is the `config.json` of Hugging Face transformers (`ModelConfig.from_hf`, `to_hf`). The field docstrings are the
help texts of the command-line flags.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from inkhorn.config.tensors import TensorSpec, tensor_specs
from inkhorn.errors import CheckpointError, UsageError, require

ModelType = Literal["gpt2", "openai-gpt"]

Activation = Literal["gelu_new", "gelu", "relu"]

# Keys of transformers' GPT2Config that change the computation, with the only value that is supported here.
_FIXED_IN_HF = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}

# GPT-2's <|endoftext|>, which transformers writes into every GPT-2 config without bos_token_id or eos_token_id.
_HF_END_OF_TEXT = 50256


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The architecture of a model; the size of its vocabulary comes from the tokenizer."""

    n_layer: int = 8
    """number of transformer blocks"""
    n_head: int = 5
    """attention heads per block"""
    n_embd: int = 320
    """width of the residual stream"""
    n_inner: int | None = None
    """width of the MLP's hidden layer; 4 * n_embd when absent"""
    block_size: int = 256
    """context length in tokens"""
    model_type: ModelType = "gpt2"
    """gpt2: pre-norm and ln_f; openai-gpt (GPT-1): post-norm, no ln_f"""
    activation_function: Activation = "gelu_new"
    """gelu_new: tanh approximation, as OpenAI's; gelu: exact, as nanoGPT's; relu"""
    tie_word_embeddings: bool = True
    """share wte's matrix with the output head"""
    layer_norm_epsilon: float = 1e-5
    """added to the variance inside each LayerNorm"""

    def __post_init__(self) -> None:
        for name in ("block_size", "n_layer", "n_head", "n_embd"):
            _require_positive(name, getattr(self, name))
        require(
            self.n_embd % self.n_head == 0,
            f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head}): each head is n_embd / n_head wide",
        )
        inner = self.n_inner
        require(inner is None or (type(inner) is int and inner >= 1), f"n_inner must be at least 1, not {inner!r}")
        for name, kind in (("model_type", ModelType), ("activation_function", Activation)):
            value, valid = getattr(self, name), get_args(kind)
            require(value in valid, f"{name} must be one of {', '.join(valid)}, not {value!r}")
        epsilon = self.layer_norm_epsilon
        require(0 < epsilon < math.inf, f"layer_norm_epsilon must be above 0 and finite, not {epsilon}")
        tied = self.tie_word_embeddings
        require(isinstance(tied, bool), f"tie_word_embeddings must be true or false, not {tied!r}")

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

    vocab_size: int
    """number of tokens"""
    embd_pdrop: float = 0.0
    """dropout on the embeddings"""
    attn_pdrop: float = 0.0
    """dropout on the attention weights"""
    resid_pdrop: float = 0.0
    """dropout on each sub-layer's output"""
    bos_token_id: int | None = None
    """token that an empty prompt starts with"""
    eos_token_id: int | None = None
    """token that ends a text"""

    def __post_init__(self) -> None:
        _require_positive("vocab_size", self.vocab_size)
        super().__post_init__()
        for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop"):
            require(0.0 <= getattr(self, name) < 1.0, f"{name} must be in [0, 1), not {getattr(self, name)}")
        for name in ("bos_token_id", "eos_token_id"):
            value = getattr(self, name)
            require(
                value is None or (type(value) is int and 0 <= value < self.vocab_size),
                f"{name} is {value!r}, outside the vocabulary of {self.vocab_size} tokens (0 to {self.vocab_size - 1})",
            )

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
        return tensor_specs(
            vocab_size=self.vocab_size,
            block_size=self.block_size,
            n_layer=self.n_layer,
            n_embd=self.n_embd,
            n_inner=self.inner,
            pre_norm=self.pre_norm,
            tied=self.tie_word_embeddings,
        )

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "ModelConfig":
        """Build a config from the content of transformers' `config.json`.

        Raises:
            CheckpointError: it is not a GPT-1 or GPT-2, is incomplete, or asks for a computation that is not supported.

        """
        kind: Any = config.get("model_type")
        if kind not in get_args(ModelType):
            known = " and ".join(get_args(ModelType))
            raise CheckpointError(f"config.json: model_type is {kind!r}; supported: {known}")
        for key, value in _FIXED_IN_HF.items():
            if config.get(key, value) != value:
                raise CheckpointError(f"config.json: {key} = {config[key]!r} is not supported; only {value!r} is")
        activation = config.get("activation_function", "gelu_new")
        if kind == "openai-gpt":  # transformers' GPT-1 names it `afn`, and calls the tanh form "gelu"
            activation = {"gelu": "gelu_new"}.get(config.get("afn", "gelu"), config.get("afn"))
        same = ["vocab_size", "n_layer", "n_head", "n_embd", "n_inner", "tie_word_embeddings", "layer_norm_epsilon"]
        same += ("embd_pdrop", "attn_pdrop", "resid_pdrop", "bos_token_id", "eos_token_id")
        values = {key: config[key] for key in same if key in config}
        if kind == "openai-gpt":
            values.pop("n_inner", None)  # GPT-1 in transformers has no such option
        for key in ("bos_token_id", "eos_token_id"):
            if values.get(key) == _HF_END_OF_TEXT and config.get("vocab_size") in range(_HF_END_OF_TEXT + 1):
                values[key] = None
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
            "n_layer": self.n_layer,
            "n_head": self.n_head,
            "n_embd": self.n_embd,
            "tie_word_embeddings": self.tie_word_embeddings,
            "embd_pdrop": self.embd_pdrop,
            "attn_pdrop": self.attn_pdrop,
            "resid_pdrop": self.resid_pdrop,
            "layer_norm_epsilon": self.layer_norm_epsilon,
            # Written even when None: the default of transformers, 50256, lies outside a small vocabulary.
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
        }
        if self.pre_norm:
            return config | {"activation_function": self.activation_function, "n_inner": self.n_inner}
        if self.activation_function == "gelu" or self.inner != 4 * self.n_embd:
            raise CheckpointError(
                "transformers' openai-gpt supports neither the exact GELU nor an MLP width other than 4 * n_embd: "
                f"activation_function is {self.activation_function!r}, the MLP width {self.inner}"
            )
        return config | {"afn": {"gelu_new": "gelu"}.get(self.activation_function, self.activation_function)}


def _require_positive(name: str, value: object) -> None:
    require(type(value) is int and value >= 1, f"{name} must be an integer of at least 1, not {value!r}")
