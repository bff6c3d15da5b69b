"""The request and response of `POST /v1/responses`, with the fields of OpenAI's Responses API."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field, StrictBool, StrictInt, StrictStr

from inkhorn.config.bounds import MAX_COUNT
from inkhorn.server.schemas.fields import MAX_ENTRIES, Body, integral
from inkhorn.server.schemas.requests import SamplingRequest
from inkhorn.server.schemas.responses import ChatTokenLogprob, PromptChange

LOGPROBS = "message.output_text.logprobs"
"""the member of `include` that asks for log probabilities"""


class InputItem(Body):
    """A message of the input."""

    type: StrictStr = "message"
    role: StrictStr = "user"
    content: StrictStr | Annotated[list[dict[str, Any]], Field(max_length=MAX_ENTRIES)] | None = None


class TextConfig(Body):
    format: dict[str, Any] | None = Field(None, description="only the type text is supported")


class ResponsesRequest(SamplingRequest):
    """A request of the Responses API. The models are not chat-tuned: the input is joined and continued as text."""

    input: (
        StrictStr | Annotated[list[InputItem], Field(min_length=1, max_length=MAX_ENTRIES, fail_fast=True)] | None
    ) = Field(None, description="a text, or messages (default: empty)")
    instructions: StrictStr | None = Field(None, description="text in front of the input")
    max_output_tokens: Annotated[StrictInt, Field(ge=1, le=MAX_COUNT), BeforeValidator(integral)] | None = Field(
        None, description="maximum number of tokens to generate (default: 512, or the server's limit with max_words)"
    )
    top_logprobs: Annotated[StrictInt, Field(ge=0, le=20), BeforeValidator(integral)] | None = Field(
        None, description=f"return this many most likely tokens at each position; requires include: [{LOGPROBS!r}]"
    )
    include: Annotated[list[StrictStr], Field(max_length=MAX_ENTRIES)] | None = Field(
        None, description=f"{LOGPROBS} returns log probabilities; others nothing"
    )
    text: TextConfig | None = None
    truncation: Literal["auto", "disabled"] | None = Field(
        None,
        description="disabled: refuse an input longer than the context; auto, the default: continue its last tokens",
    )
    metadata: dict[str, StrictStr] | None = Field(None, description="returned as it is")
    store: StrictBool | None = Field(None, description="accepted; nothing is stored")
    parallel_tool_calls: StrictBool | None = Field(None, description="accepted and ignored")
    service_tier: StrictStr | None = Field(None, description="accepted and ignored")
    safety_identifier: StrictStr | None = Field(None, description="accepted and ignored")
    prompt_cache_key: StrictStr | None = Field(None, description="accepted and ignored")


class OutputText(BaseModel):
    type: Literal["output_text"]
    text: str
    annotations: list[Any]
    logprobs: list[ChatTokenLogprob]


class OutputMessage(BaseModel):
    """The text, as a message."""

    id: str
    type: Literal["message"]
    role: Literal["assistant"]
    status: Literal["in_progress", "completed", "incomplete"]
    content: list[OutputText]


class IncompleteDetails(BaseModel):
    reason: Literal["max_output_tokens"]


class InputTokensDetails(BaseModel):
    cached_tokens: int
    cache_write_tokens: int


class OutputTokensDetails(BaseModel):
    reasoning_tokens: int


class ResponseUsage(BaseModel):
    """The numbers of tokens."""

    input_tokens: int
    input_tokens_details: InputTokensDetails
    output_tokens: int
    output_tokens_details: OutputTokensDetails
    total_tokens: int


class Response(BaseModel):
    """The response to a request of the Responses API."""

    id: str
    object: Literal["response"]
    created_at: int
    completed_at: int | None
    status: Literal["in_progress", "completed", "incomplete", "failed"]
    error: dict[str, Any] | None
    incomplete_details: IncompleteDetails | None
    instructions: str | None
    max_output_tokens: int
    metadata: dict[str, str]
    model: str
    output: list[OutputMessage]
    parallel_tool_calls: bool
    previous_response_id: None
    store: Literal[False]
    temperature: float
    text: dict[str, Any]
    tool_choice: Literal["none"]
    tools: list[Any]
    top_logprobs: int
    top_p: float
    truncation: Literal["auto", "disabled"]
    usage: ResponseUsage | None
    warnings: list[str] | None = None
    prompt_changes: list[PromptChange] | None = None
