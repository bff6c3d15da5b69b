"""Request bodies: OpenAI's fields with OpenAI's defaults, and the sampling parameters that vLLM and llama.cpp add."""

import re
from collections.abc import Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
    create_model,
)
from pydantic_core import PydanticCustomError

from inkhorn.config.bounds import MAX_COUNT, FieldSpec, Range, field_specs
from inkhorn.config.sampling import OPENAI_RANGES, ContextOverflow, SamplingParams

MAX_ENTRIES = 10_000
"""Most messages, parts of a message, and prompts of a request."""
MAX_STOP_STRINGS = 64
"""Most stop strings; OpenAI allows 4, lm-eval sends more."""
MAX_NAME = 256
"""Longest name of a model, in characters."""


def integral(value: object) -> object:
    """2.0 is an integer, as in JSON Schema."""
    return int(value) if type(value) is float and value.is_integer() else value


def _integers(values: object) -> object:
    if isinstance(values, list) and float in set(map(type, values)):
        return [integral(value) for value in values]
    return values


TokenId = Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)]
ModelName = Annotated[StrictStr, Field(max_length=MAX_NAME)]
TokenIds = Annotated[
    list[TokenId],
    Field(max_length=2**21, fail_fast=True),  # more do not fit the default limit of a body
    BeforeValidator(_integers),  # last, so that a list that is too long is refused before its items are checked
]


def _token_id_key(value: str) -> str:
    if not re.fullmatch(_TOKEN_ID, value):
        raise PydanticCustomError("token_id", "invalid token id {value}", {"value": repr(value[:MAX_NAME])})
    return value


_TOKEN_ID = "[0-9]{1,10}"
TokenIdKey = Annotated[
    str, AfterValidator(_token_id_key), WithJsonSchema({"type": "string", "pattern": f"^{_TOKEN_ID}$"})
]
Stop = StrictStr | Annotated[list[StrictStr], Field(max_length=MAX_STOP_STRINGS, fail_fast=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

_RANGES = OPENAI_RANGES | {
    "top_k": Range(ge=-1, le=MAX_COUNT),  # vLLM's -1 for no limit
    "top_p": Range(ge=0, le=1),  # 0 is greedy, as in other servers
    "seed": Range(ge=-(2**63), le=2**64 - 1),  # -1 for a random seed, and signed seeds
}
"""Bounds of the API that differ from those of SamplingParams."""
_DEFAULTS = {"temperature": 1.0}
"""Defaults of the API that differ from those of SamplingParams."""
_TYPES: dict[Any, Any] = {int: StrictInt, float: Number, bool: StrictBool, str: StrictStr}
SAMPLING_FIELDS = tuple(name for name in field_specs(SamplingParams) if name != "max_tokens")
"""The sampling parameters that all requests share; the endpoints differ in max_tokens."""


def _reject_suffix(value: object) -> object:
    if value:
        raise PydanticCustomError("suffix", "these models only generate left to right: omit it")
    return value


def _request_type(spec: FieldSpec) -> Any:
    """The type of a sampling parameter in JSON; null means the default."""
    if spec.name == "stop":
        return Stop | None
    kind = spec.type
    if get_origin(kind) is tuple:
        return (
            Annotated[list[TokenId], Field(max_length=_max_length(spec), fail_fast=True), BeforeValidator(_integers)]
            | None
        )
    if isinstance(origin := get_origin(kind), type) and issubclass(origin, Mapping):
        bias: Range = get_args(get_args(kind)[1])[1]
        biases = dict[TokenIdKey, Annotated[Number, Field(**bias.constraints())]]
        return Annotated[biases, Field(max_length=_max_length(spec))] | None
    number = _TYPES.get(kind, kind)
    bounds = _RANGES.get(spec.name, spec.range)
    if kind in (int, float) and bounds is not None:
        limits: dict[str, Any] = {**bounds.constraints()}
        number = Annotated[number, Field(**limits)]
    return (Annotated[number, BeforeValidator(integral)] if kind is int else number) | None


def _max_length(spec: FieldSpec) -> int:
    assert spec.range is not None
    return int(spec.range.constraints()["le"])


def _request_field(spec: FieldSpec) -> tuple[Any, Any]:
    default = _DEFAULTS.get(spec.name, spec.default)
    simple = default is not MISSING and not isinstance(default, tuple | Mapping)
    return _request_type(spec), Field(default if simple else None, description=spec.help)


class Body(BaseModel):
    """A request body, or an object in one. Unknown fields are ignored, and reported as warnings."""

    model_config = ConfigDict(extra="allow")


class StreamOptions(Body):
    include_usage: StrictBool = Field(False, description="send a final chunk with the token usage")
    include_obfuscation: StrictBool | None = Field(None, description="accepted and ignored")


class _BaseRequest(Body):
    model: ModelName | None = Field(None, description="name of the model (default: the server's first model)")
    n: Annotated[StrictInt, Field(ge=1, le=128), BeforeValidator(integral)] | None = Field(
        1, description="number of choices for each prompt"
    )
    stream: StrictBool | None = Field(False, description="send the text as server-sent events while it is generated")
    stream_options: StreamOptions | None = None
    user: StrictStr | None = Field(None, description="accepted and ignored")


if TYPE_CHECKING:

    class SamplingRequest(_BaseRequest):
        context_overflow: ContextOverflow | None
        logit_bias: dict[str, float] | None
        max_words: int | None
        seed: int | None
        stop: str | list[str] | None
        top_k: int | None

else:
    SamplingRequest = create_model(
        "SamplingRequest",
        __base__=_BaseRequest,
        **{name: _request_field(field_specs(SamplingParams)[name]) for name in SAMPLING_FIELDS},
    )


class CompletionRequest(SamplingRequest):
    """A completion request: one prompt or several."""

    prompt: (
        StrictStr
        | TokenIds
        | Annotated[list[StrictStr], Field(max_length=MAX_ENTRIES, fail_fast=True)]
        | Annotated[list[TokenIds], Field(max_length=MAX_ENTRIES, fail_fast=True)]
        | None
    ) = Field(None, description="a prompt as text or token ids, or a list of prompts (default: empty)")
    best_of: Annotated[StrictInt, Field(ge=1, le=128), BeforeValidator(integral)] | None = Field(
        None, description="generate this many choices for each prompt and return the n most likely"
    )
    echo: StrictBool | None = Field(False, description="return the prompt in front of the text")
    logprobs: Annotated[StrictInt, Field(ge=0, le=20), BeforeValidator(integral)] | None = Field(
        None, description="return the log probability of each token and of this many most likely tokens"
    )
    max_tokens: Annotated[StrictInt, Field(ge=0, le=MAX_COUNT), BeforeValidator(integral)] | None = Field(
        None, description="maximum number of tokens to generate (default: 16, or the server's limit with max_words)"
    )
    suffix: Annotated[Literal[""] | None, BeforeValidator(_reject_suffix)] = Field(
        None, description="not supported by these models"
    )


class ChatMessage(Body):
    role: StrictStr = "user"
    content: StrictStr | Annotated[list[dict[str, Any]], Field(max_length=MAX_ENTRIES, fail_fast=True)] | None = None


class ChatRequest(SamplingRequest):
    """A chat completion request. The models are not chat-tuned: the messages are joined and continued as text."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)]
    logprobs: StrictBool | None = Field(False, description="return the log probability of each token")
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20), BeforeValidator(integral)] | None = Field(
        None, description="return this many most likely tokens at each position; requires logprobs"
    )
    max_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT), BeforeValidator(integral)] | None = Field(
        None, description="same as max_completion_tokens"
    )
    max_completion_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT), BeforeValidator(integral)] | None = Field(
        None, description="maximum number of tokens to generate (default: 512, or the server's limit with max_words)"
    )


class TokenizeRequest(Body):
    model: ModelName | None = None
    prompt: StrictStr = Field(description="the text")
    add_special_tokens: StrictBool = Field(False, description="accepted and ignored: these models add none")
    return_token_strs: StrictBool = Field(False, description="return the text of each token too")


class DetokenizeRequest(Body):
    model: ModelName | None = None
    tokens: TokenIds


class ExplainRequest(Body):
    model: ModelName | None = None
    text: StrictStr = Field(description="the text; its last 256 tokens are used", max_length=100_000)
    layer: Annotated[StrictInt, Field(ge=0, le=MAX_ENTRIES), BeforeValidator(integral)] = Field(
        0, description="layer of the attention and MLP shown, from 0"
    )
    add_special_tokens: StrictBool = Field(
        False, description="put the start token before the text, as in a text generated from an empty prompt"
    )
