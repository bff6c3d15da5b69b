"""Response bodies, with OpenAI's fields."""

from typing import Any, Literal

from pydantic import BaseModel

FinishReason = Literal["stop", "length"]

EVENT_STREAM: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
}
"""The `responses` entry of a route that can stream."""


class ErrorDetail(BaseModel):
    """An error: its message, kind, the invalid field, and a machine-readable code."""

    message: str
    type: str
    param: str | None
    code: str | None


class ErrorResponse(BaseModel):
    """The body of every error response."""

    error: ErrorDetail


class Usage(BaseModel):
    """Token counts of a request."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Logprobs(BaseModel):
    """Natural log probabilities of the model for each token, before temperature and penalties."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One generated text."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class Completion(BaseModel):
    """The response to a completion request, or one chunk of it in a stream."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage | None = None
    warnings: list[str] | None = None


class TokenLogprob(BaseModel):
    """The log probability of a token."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(TokenLogprob):
    """The log probability of a token and of the most likely tokens at its position."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """The log probabilities of a message's tokens."""

    content: list[ChatTokenLogprob]
    refusal: None = None


class Message(BaseModel):
    """A generated message."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One generated message with its metadata."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """The response to a chat completion request."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    warnings: list[str] | None = None


class ModelMeta(BaseModel):
    """A model's architecture and backend."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    n_vocab: int
    n_params: int
    backend: str


class Model(BaseModel):
    """A served model."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    fingerprint: str
    meta: ModelMeta


class ModelList(BaseModel):
    """The served models. The first is the default."""

    object: Literal["list"]
    data: list[Model]


class PageSettings(BaseModel):
    """Settings of the web UI: a JSON Schema for each sampling parameter."""

    sampling: dict[str, dict[str, Any]]


class Tokens(BaseModel):
    """A tokenized text."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Text(BaseModel):
    """A decoded text."""

    prompt: str


class TokenizerInfo(BaseModel):
    """A description of a tokenizer."""

    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    eos_token: str | None
    bos_token: str | None
    pad_token: str | None
    chat_template: None = None


class Health(BaseModel):
    """The state of the server."""

    status: Literal["ok"]


class Version(BaseModel):
    """The version of Inkhorn."""

    version: str
