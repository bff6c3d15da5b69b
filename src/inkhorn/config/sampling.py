"""What a model is and how text is drawn from it: frozen, keyword-only, checked on construction.

A variant of a config is `dataclasses.replace(config, field=value)`, which checks again. On disk a `ModelConfig` is the
`config.json` of Hugging Face transformers (`ModelConfig.from_hf`, `to_hf`). Field docstrings are the help of the flags.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from inkhorn.errors import require

Overflow = Literal["window", "exact", "stop"]


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
