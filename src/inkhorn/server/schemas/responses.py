"""What clients get back: OpenAI's objects to the field."""

from typing import Any, Literal

from pydantic import BaseModel

FinishReason = Literal["stop", "length"]


class Usage(BaseModel):
    """Tokens that were read and written."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class Logprobs(BaseModel):
    """The odds of each token, as natural logarithms of the model's own: before temperature and penalties."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    """One text."""

    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class Completion(BaseModel):
    """The answer to a completion request; in a stream, a piece of it."""

    id: str
    object: Literal["text_completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[Choice]
    usage: Usage | None = None
    warnings: list[str] | None = None


class TokenLogprob(BaseModel):
    """How likely a token was."""

    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(TokenLogprob):
    """How likely a token was, and what else might have stood there."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    """The odds of each token of a message."""

    content: list[ChatTokenLogprob]
    refusal: None = None


class Message(BaseModel):
    """What the model wrote."""

    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    """One message."""

    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(BaseModel):
    """The answer to a chat request."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    system_fingerprint: str
    choices: list[ChatChoice]
    usage: Usage
    warnings: list[str] | None = None


class ModelMeta(BaseModel):
    """A model's shape, and what computes it."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    n_vocab: int
    n_params: int
    backend: str


class Model(BaseModel):
    """A model that is served."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int
    fingerprint: str
    meta: ModelMeta


class ModelList(BaseModel):
    """All that are served; the first is meant where a request names none."""

    object: Literal["list"]
    data: list[Model]


class PageSettings(BaseModel):
    """Settings of the web page."""

    sampling: dict[str, dict[str, Any]]


class Tokens(BaseModel):
    """A text, taken apart."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None


class Text(BaseModel):
    """Tokens, put together."""

    prompt: str


class TokenizerInfo(BaseModel):
    """What a client must know of a tokenizer to prepare token ids itself."""

    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    eos_token: str | None
    bos_token: str | None
    pad_token: str | None
    chat_template: None = None


class Health(BaseModel):
    """Whether all is well."""

    status: Literal["ok"]


class Version(BaseModel):
    """Which Inkhorn this is."""

    version: str
