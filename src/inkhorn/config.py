"""What a model is and how text is drawn from it: frozen, keyword-only, checked on construction.

A variant of a config is `dataclasses.replace(config, field=value)`, which checks again. On disk a `ModelConfig` is the
`config.json` of Hugging Face transformers (`ModelConfig.from_hf`, `to_hf`). Field docstrings are the help of the flags.
"""

import difflib
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from inkhorn.errors import CheckpointError, UsageError

ModelType = Literal["gpt2", "openai-gpt"]
Activation = Literal["gelu_new", "gelu", "relu"]
Overflow = Literal["window", "exact", "stop"]

# Keys of transformers' GPT2Config that change the function computed, with the only value that we compute.
_FIXED_IN_HF = {
    "scale_attn_weights": True,
    "scale_attn_by_inverse_layer_idx": False,
    "reorder_and_upcast_attn": False,
    "add_cross_attention": False,
}

# GPT-2's own end-of-text token, which transformers writes into the config of every GPT-2 that names none.
_HF_END_OF_TEXT = 50256


def nearest(name: str, valid: Iterable[str]) -> str:
    """The hint of an error about an unknown `name`: the closest valid one, else all of them."""
    names = sorted(valid)
    close = difflib.get_close_matches(name, names, n=1)
    return f"did you mean {close[0]!r}?" if close else f"valid: {', '.join(names)}"


def require(ok: bool, message: str) -> None:
    """Raise UsageError with `message` unless `ok`."""
    if not ok:
        raise UsageError(message)


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """The shape of a GPT. The defaults, given a vocabulary and sizes, are GPT-2's.

    Sources: Radford et al. 2018 (GPT-1: LayerNorm after each residual sum, none at the end) and 2019 (GPT-2: LayerNorm
    before each sub-layer and one more at the end).
    """

    vocab_size: int
    """number of tokens"""
    block_size: int = 256
    """longest context in tokens (n_positions in Hugging Face's config)"""
    n_layer: int = 8
    """number of blocks"""
    n_head: int = 5
    """attention heads per block"""
    n_embd: int = 320
    """width of the residual stream"""
    n_inner: int | None = None
    """width of the MLP's hidden layer; 4 * n_embd when absent"""
    model_type: ModelType = "gpt2"
    """gpt2: pre-norm and ln_f; openai-gpt (GPT-1): post-norm, no ln_f"""
    activation_function: Activation = "gelu_new"
    """gelu_new: tanh form, OpenAI's; gelu: erf form, nanoGPT's; relu"""
    tie_word_embeddings: bool = True
    """the head shares wte's matrix"""
    embd_pdrop: float = 0.0
    """dropout on the embeddings"""
    attn_pdrop: float = 0.0
    """dropout on the attention weights"""
    resid_pdrop: float = 0.0
    """dropout on each sub-layer's output"""
    layer_norm_epsilon: float = 1e-5
    """added to the variance inside each LayerNorm"""
    bos_token_id: int | None = None
    """token that an empty prompt starts from"""
    eos_token_id: int | None = None
    """token that ends a text"""

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            require(type(value) is int and value >= 1, f"{name} must be a whole number of at least 1, not {value!r}")
        require(
            self.n_embd % self.n_head == 0,
            f"n_embd ({self.n_embd}) must be a multiple of n_head ({self.n_head}): each head has n_embd / n_head units",
        )
        inner = self.n_inner
        require(inner is None or (type(inner) is int and inner >= 1), f"n_inner must be at least 1, not {inner!r}")
        for name, kind in (("model_type", ModelType), ("activation_function", Activation)):
            value, valid = getattr(self, name), get_args(kind)
            require(value in valid, f"{name} must be one of {', '.join(valid)}, not {value!r}")
        for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop"):
            require(0.0 <= getattr(self, name) < 1.0, f"{name} must be in [0, 1), not {getattr(self, name)}")
        epsilon = self.layer_norm_epsilon
        require(0 < epsilon < math.inf, f"layer_norm_epsilon must be above 0 and finite, not {epsilon}")
        tied = self.tie_word_embeddings
        require(isinstance(tied, bool), f"tie_word_embeddings must be true or false, not {tied!r}")
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
        """Every parameter: embeddings, positions and biases included, a tied head counted once."""
        c, i = self.n_embd, self.inner
        block = 2 * 2 * c + (c + 1) * 3 * c + (c + 1) * c + (c + 1) * i + (i + 1) * c
        head = 0 if self.tie_word_embeddings else self.vocab_size * c
        return (self.vocab_size + self.block_size) * c + self.n_layer * block + 2 * c * self.pre_norm + head

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> "ModelConfig":
        """Read transformers' `config.json`; CheckpointError for what is not a GPT-1 or GPT-2, or is incomplete."""
        kind: Any = config.get("model_type")
        if kind not in get_args(ModelType):
            known = " and ".join(get_args(ModelType))
            raise CheckpointError(f"config.json: model_type is {kind!r}; only {known} are known")
        for key, value in _FIXED_IN_HF.items():
            if config.get(key, value) != value:
                raise CheckpointError(f"config.json: {key} = {config[key]!r} is not supported, only {value!r}")
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
            raise CheckpointError(f"config.json lacks {', '.join(sorted(missing))}")
        try:
            return cls(block_size=config["n_positions"], model_type=kind, activation_function=activation, **values)
        except (UsageError, TypeError) as error:
            raise CheckpointError(f"config.json: {error}") from error

    def to_hf(self) -> dict[str, Any]:
        """The `config.json` that transformers loads as the same function; CheckpointError if it has no such form."""
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
            # Named even when there is none: the library's own default, 50256, lies outside a small vocabulary.
            "bos_token_id": self.bos_token_id,
            "eos_token_id": self.eos_token_id,
        }
        if self.pre_norm:
            return config | {"activation_function": self.activation_function, "n_inner": self.n_inner}
        if self.activation_function == "gelu" or self.inner != 4 * self.n_embd:
            raise CheckpointError(
                "transformers' openai-gpt has neither the erf form of GELU nor an MLP other than 4 * n_embd wide: "
                f"activation_function is {self.activation_function!r}, the MLP {self.inner} wide"
            )
        return config | {"afn": {"gelu_new": "gelu"}.get(self.activation_function, self.activation_function)}


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """How tokens are drawn and when to stop. `runtime/sampling.py` and `runtime/stopping.py` define each exactly."""

    temperature: float = 0.8
    """0 takes the likeliest token each time; 1 the model's own odds; above 1 wilder"""
    top_k: int = 0
    """keep only the k likeliest tokens; 0 keeps all"""
    top_p: float = 1.0
    """keep the likeliest tokens that together reach this share of the odds"""
    min_p: float = 0.0
    """drop tokens less likely than this share of the likeliest one"""
    repetition_penalty: float = 1.0
    """above 1 makes tokens seen in prompt or text less likely"""
    presence_penalty: float = 0.0
    """subtracted from the logit of every token already written (-2 to 2)"""
    frequency_penalty: float = 0.0
    """subtracted from a token's logit for each time it was written (-2 to 2)"""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    """added to the logits of these token ids (-100 to 100)"""
    seed: int | None = None
    """same seed, same text; a new one each time when absent"""
    max_tokens: int | None = None
    """write at most this many tokens"""
    min_tokens: int = 0
    """write at least this many: no stop string and no token ends the text before"""
    max_words: int | None = None
    """stop after this many words"""
    end_at_sentence: bool = False
    """stop at the end of a sentence, the first one after --words when both are given"""
    stop: tuple[str, ...] = ()
    """stop before any of these strings"""
    stop_token_ids: tuple[int, ...] = ()
    """stop before any of these tokens, as before the end-of-text token"""
    ignore_eos: bool = False
    """never draw the end-of-text token, so only the limits end the text"""
    overflow: Overflow = "window"
    """past the block size: window re-reads its last half each half block, exact the whole for each token, stop ends"""

    def __post_init__(self) -> None:
        def between(name: str, low: float, high: float, why: str = "") -> None:
            value = getattr(self, name)
            ok = isinstance(value, int | float) and math.isfinite(value) and low <= value <= high
            require(ok, f"{name} must be a number from {low:g} to {high:g}{why}, not {value}")

        between("temperature", 0, 100, " (0 is greedy)")
        between("top_p", 0, 1, ", 0 excluded (1 keeps every token)")
        require(self.top_p > 0, "top_p must be above 0 (1 keeps every token); temperature 0 takes the likeliest token")
        between("min_p", 0, 1)
        between("repetition_penalty", 0.01, 100, " (1 is off)")
        between("presence_penalty", -2, 2)
        between("frequency_penalty", -2, 2)
        for name, low, high, what in (
            ("top_k", 0, math.inf, "0 (keep all) or more"),
            ("seed", 0, 2**64 - 1, "from 0 to 2**64 - 1"),
            ("max_tokens", 1, math.inf, "at least 1"),
            ("min_tokens", 0, math.inf, "0 or more"),
            ("max_words", 1, math.inf, "at least 1"),
        ):
            value = getattr(self, name)
            absent = value is None and name not in ("top_k", "min_tokens")
            ok = absent or (type(value) is int and low <= value <= high)
            require(ok, f"{name} must be a whole number, {what}, not {value!r}")
        for token, bias in self.logit_bias.items():
            require(token >= 0, f"logit_bias: {token} is not a token id")
            require(-100 <= bias <= 100, f"logit_bias of token {token} must be from -100 to 100, not {bias}")
        require(not isinstance(self.stop, str), f"stop must be several strings, such as ({self.stop!r},), not one")
        require("" not in self.stop, "a stop string must not be empty")
        fits = self.max_tokens is None or self.min_tokens <= self.max_tokens
        require(fits, f"min_tokens is {self.min_tokens}, above max_tokens, {self.max_tokens}")
        wrong = [token for token in self.stop_token_ids if token < 0]
        require(not wrong, f"stop_token_ids: {wrong[:1]} is not a token id")
        require(self.overflow in get_args(Overflow), f"overflow must be one of {', '.join(get_args(Overflow))}")
