"""Sampling parameters: how tokens are drawn and when generation stops.

Each field declares its bounds, default and help once. The command line, the server's request schema and the web page
derive theirs from here; see `config/bounds.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Literal

from inkhorn.config.bounds import MAX_COUNT, Range, validate
from inkhorn.errors import require

ContextOverflow = Literal["shift", "recompute", "stop"]

MAX_TOKEN_IDS = 1024
"""Most entries of a list of token ids."""

MAX_STOP_CHARACTERS = 1000
"""Longest stop string."""

TokenId = Annotated[int, Range(ge=0, le=MAX_COUNT)]


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """Sampling parameters and stopping conditions of a request.

    `inference/sampling.py` and `inference/stopping.py` define exactly what each does.
    """

    temperature: Annotated[float, Range(ge=0, le=100)] = 0.8
    """softmax temperature: 0 is greedy decoding, higher values are more random"""
    top_k: Annotated[int, Range(ge=0, le=MAX_COUNT)] = 0
    """sample from the k most likely tokens only (0: all)"""
    top_p: Annotated[float, Range(gt=0, le=1)] = 1.0
    """nucleus sampling: sample from the most likely tokens whose probabilities add up to at least this"""
    min_p: Annotated[float, Range(ge=0, le=1)] = 0.0
    """drop tokens whose probability is below this fraction of the most likely token's"""
    repetition_penalty: Annotated[float, Range(ge=0.01, le=100)] = 1.0
    """above 1, tokens of the prompt and the output become less likely (1: off)"""
    presence_penalty: Annotated[float, Range(ge=-2, le=2)] = 0.0
    """subtracted from the logit of every token that the output already contains"""
    frequency_penalty: Annotated[float, Range(ge=-2, le=2)] = 0.0
    """subtracted from a token's logit once for each time the output contains it"""
    logit_bias: Annotated[Mapping[TokenId, Annotated[float, Range(ge=-100, le=100)]], Range(le=MAX_TOKEN_IDS)] = field(
        default_factory=dict
    )
    """added to the logits of these token ids, from -100 to 100"""
    seed: Annotated[int | None, Range(ge=0, le=2**64 - 1)] = None
    """random seed; the same seed gives the same text"""
    max_tokens: Annotated[int | None, Range(ge=1, le=MAX_COUNT)] = None
    """maximum number of tokens to generate"""
    min_tokens: Annotated[int, Range(ge=0, le=MAX_COUNT)] = 0
    """minimum number of tokens to generate before a stop string or stop token can end the output"""
    max_words: Annotated[int | None, Range(ge=1, le=MAX_COUNT)] = None
    """stop after this many words"""
    end_at_sentence: bool = False
    """stop at the end of a sentence: the first one after max_words if both are given"""
    stop: tuple[Annotated[str, Range(le=MAX_STOP_CHARACTERS)], ...] = ()
    """stop before the first of these strings"""
    stop_token_ids: Annotated[tuple[TokenId, ...], Range(le=MAX_TOKEN_IDS)] = ()
    """stop before the first of these tokens"""
    ignore_eos: bool = False
    """never sample the end-of-text token, so that only the other limits end the output"""
    context_overflow: ContextOverflow = "shift"
    """when the context is full: shift (keep the last half), recompute (re-encode the last block per token) or stop"""

    def __post_init__(self) -> None:
        require(not isinstance(self.stop, str), f"stop must be a tuple of strings, such as ({self.stop!r},)")
        validate(self)
        require("" not in self.stop, "stop must not contain an empty string")
        fits = self.max_tokens is None or self.min_tokens <= self.max_tokens
        require(fits, f"min_tokens ({self.min_tokens}) must not exceed max_tokens ({self.max_tokens})")


OPENAI_RANGES = {"temperature": Range(ge=0, le=2)}  # OpenAI's narrower bounds, which the server and the web page keep
