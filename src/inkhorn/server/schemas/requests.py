"""Request bodies: OpenAI's fields with OpenAI's defaults, and the sampling parameters that vLLM and llama.cpp add."""

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BeforeValidator, Field, StrictBool, StrictInt, StrictStr, create_model
from pydantic_core import PydanticCustomError

from inkhorn.config.bounds import MAX_COUNT, field_specs
from inkhorn.config.interventions import MAX_INTERVENTIONS, Action, Component, Intervention
from inkhorn.config.sampling import ContextOverflow, SamplingParams
from inkhorn.inference.snapshots import VIEW_TOKENS
from inkhorn.server.schemas.fields import (
    MAX_ENTRIES,
    Body,
    ModelName,
    TokenIds,
    integral,
    request_field,
)

MAX_SNAPSHOT_TOKENS = 1000
"""Most tokens that a snapshot generates for a request."""
SAMPLING_FIELDS = tuple(name for name in field_specs(SamplingParams) if name != "max_tokens")
"""The sampling parameters that all requests share; the endpoints differ in max_tokens."""


def _reject_suffix(value: object) -> object:
    if value:
        raise PydanticCustomError("suffix", "these models only generate left to right: omit it")
    return value


if TYPE_CHECKING:

    class InterventionRequest(Body):
        component: Component
        layer: int
        head: int | None
        action: Action | None
        factor: float | None
        vector: str | list[float] | None
        prompt: str | None
        source_position: int | None
        position: int | None

else:
    InterventionRequest = create_model(
        "InterventionRequest",
        __base__=Body,
        __doc__="A change to an activation while a text is generated.",
        **{name: request_field(spec) for name, spec in field_specs(Intervention).items()},
    )

Interventions = Annotated[list[InterventionRequest], Field(max_length=MAX_INTERVENTIONS, fail_fast=True)]


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
    interventions: Interventions | None = Field(
        None, description="changes to activations: switch off, scale, replace or steer parts of the model"
    )


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
        **{name: request_field(field_specs(SamplingParams)[name]) for name in SAMPLING_FIELDS},
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
    interventions: Interventions | None = Field(None, description="as in completions")
    layer: Annotated[StrictInt, Field(ge=0, le=MAX_ENTRIES), BeforeValidator(integral)] = Field(
        0, description="layer of the attention and MLP shown, from 0"
    )
    head: Annotated[StrictInt, Field(ge=0, le=MAX_ENTRIES), BeforeValidator(integral)] | None = Field(
        None,
        description="a head of the layer, from 0: the answer has `vectors`, of the last 8 tokens: embeddings, and the "
        "head's queries, keys and values; of the last one: input and output of a LayerNorm, and the largest logits",
    )
    add_special_tokens: StrictBool = Field(
        False, description="put the start token before the text, as in a text generated from an empty prompt"
    )


class SnapshotRequest(Body):
    model: ModelName | None = None
    step: Annotated[StrictInt, Field(ge=0, le=MAX_COUNT), BeforeValidator(integral)] = Field(
        description="step of the snapshot"
    )
    text: StrictStr = Field(description="the prompt", max_length=10_000)
    seed: Annotated[StrictInt, Field(ge=0, lt=2**63), BeforeValidator(integral)] = Field(
        0, description="seed of the text"
    )
    max_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_SNAPSHOT_TOKENS), BeforeValidator(integral)] = Field(
        VIEW_TOKENS, description="tokens to generate"
    )
    layer: Annotated[StrictInt, Field(ge=0, le=MAX_ENTRIES), BeforeValidator(integral)] = Field(
        0, description="layer of the attention shown, from 0"
    )


class ImportanceRequest(Body):
    model: ModelName | None = None
    text: StrictStr = Field(
        description="the text, whose last token is examined; as much of it as fits into the context is used",
        max_length=100_000,
    )
    interventions: Interventions | None = Field(None, description="as in completions; they apply to all runs")
    add_special_tokens: StrictBool = Field(
        False, description="put the start token before the text, as in a text generated from an empty prompt"
    )
