"""Request bodies: OpenAI's fields with OpenAI's defaults, and the sampling parameters that vLLM and llama.cpp add."""

from collections.abc import Mapping
from dataclasses import MISSING
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt, StrictStr, create_model
from pydantic_core import PydanticCustomError

from inkhorn.config.bounds import FieldSpec, Range, field_specs
from inkhorn.config.sampling import OPENAI_RANGES, SamplingParams

TokenIds = list[Annotated[StrictInt, Field(ge=0)]]
Stop = StrictStr | Annotated[list[StrictStr], Field(max_length=4)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]

_RANGES = OPENAI_RANGES | {
    "top_k": Range(ge=-1),  # vLLM's -1 for no limit
    "seed": Range(ge=-(2**63), le=2**64 - 1),  # signed seeds
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
        return TokenIds | None
    if isinstance(origin := get_origin(kind), type) and issubclass(origin, Mapping):
        bias: Range = get_args(get_args(kind)[1])[1]
        return dict[str, Annotated[Number, Field(**bias.constraints())]] | None
    return _TYPES.get(kind, kind) | None


def _request_field(spec: FieldSpec) -> tuple[Any, Any]:
    bounds = _RANGES.get(spec.name, spec.range)
    default = _DEFAULTS.get(spec.name, spec.default)
    limits: dict[str, Any] = {} if bounds is None else bounds.constraints()
    simple = default is not MISSING and not isinstance(default, tuple | Mapping)
    return _request_type(spec), Field(default if simple else None, description=spec.help, **limits)


class StreamOptions(BaseModel):
    include_usage: StrictBool = Field(False, description="send a final chunk with the token usage")
    include_obfuscation: StrictBool | None = Field(None, description="accepted and ignored")


class _BaseRequest(BaseModel):
    model_config = ConfigDict(extra="allow")  # reported as warnings, not rejected

    model: StrictStr | None = Field(None, description="name of the model (default: the server's first model)")
    n: Annotated[StrictInt, Field(ge=1, le=128)] | None = Field(1, description="number of choices for each prompt")
    stream: StrictBool | None = Field(False, description="send the text as server-sent events while it is generated")
    stream_options: StreamOptions | None = None
    user: StrictStr | None = Field(None, description="accepted and ignored")


if TYPE_CHECKING:

    class SamplingRequest(_BaseRequest):
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

    prompt: StrictStr | TokenIds | list[StrictStr] | list[TokenIds] | None = Field(
        None, description="a prompt as text or token ids, or a list of prompts (default: empty)"
    )
    best_of: Annotated[StrictInt, Field(ge=1, le=128)] | None = Field(
        None, description="generate this many choices for each prompt and return the n most likely"
    )
    echo: StrictBool | None = Field(False, description="return the prompt in front of the text")
    logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = Field(
        None, description="return the log probability of each token and of this many most likely tokens"
    )
    max_tokens: Annotated[StrictInt, Field(ge=0)] | None = Field(
        None, description="maximum number of tokens to generate (default: 16, or the server's limit with max_words)"
    )
    suffix: Annotated[Literal[""] | None, BeforeValidator(_reject_suffix)] = Field(
        None, description="not supported by these models"
    )


class ChatMessage(BaseModel):
    role: StrictStr = "user"
    content: StrictStr | list[dict[str, Any]] | None = None


class ChatRequest(SamplingRequest):
    """A chat completion request. The models are not chat-tuned: the messages are joined and continued as text."""

    messages: Annotated[list[ChatMessage], Field(min_length=1)]
    logprobs: StrictBool | None = Field(False, description="return the log probability of each token")
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20)] | None = Field(
        None, description="return this many most likely tokens at each position; requires logprobs"
    )
    max_tokens: Annotated[StrictInt, Field(ge=1)] | None = Field(None, description="same as max_completion_tokens")
    max_completion_tokens: Annotated[StrictInt, Field(ge=1)] | None = Field(
        None, description="maximum number of tokens to generate (default: 512, or the server's limit with max_words)"
    )


class TokenizeRequest(BaseModel):
    model: StrictStr | None = None
    prompt: StrictStr = Field(description="the text")
    add_special_tokens: StrictBool = Field(False, description="accepted and ignored: these models add none")
    return_token_strs: StrictBool = Field(False, description="return the text of each token too")


class DetokenizeRequest(BaseModel):
    model: StrictStr | None = None
    tokens: TokenIds


class ExplainRequest(BaseModel):
    model: StrictStr | None = None
    text: StrictStr = Field(description="the text; its last 256 tokens are used", max_length=100_000)
    layer: Annotated[StrictInt, Field(ge=0)] = Field(0, description="layer of the attention and MLP shown, from 0")
