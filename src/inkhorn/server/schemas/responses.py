"""Response bodies, with OpenAI's fields."""

from typing import Any, Literal

from pydantic import BaseModel

FinishReason = Literal["stop", "length"]


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
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class CharacterChange(BaseModel):
    """A character outside the vocabulary, and its replacement; empty if it was left out."""

    character: str
    replacement: str


class PromptChange(BaseModel):
    """A prompt that the model does not read as it was given."""

    index: int
    text: str
    characters: list[CharacterChange]


class _GenerationResponse(BaseModel):
    id: str
    created: int
    model: str
    system_fingerprint: str
    warnings: list[str] | None = None
    prompt_changes: list[PromptChange] | None = None


class Logprobs(BaseModel):
    """Natural log probabilities of the model for each token, before temperature and penalties."""

    tokens: list[str]
    token_logprobs: list[float | None]
    top_logprobs: list[dict[str, float] | None]
    text_offset: list[int]


class Choice(BaseModel):
    index: int
    text: str
    logprobs: Logprobs | None
    finish_reason: FinishReason | None


class Completion(_GenerationResponse):
    """The response to a completion request, or one chunk of it in a stream."""

    object: Literal["text_completion"]
    choices: list[Choice]
    usage: Usage | None = None


class TokenLogprob(BaseModel):
    token: str
    logprob: float
    bytes: list[int] | None


class ChatTokenLogprob(TokenLogprob):
    """The log probability of a token and of the most likely tokens at its position."""

    top_logprobs: list[TokenLogprob]


class ChatLogprobs(BaseModel):
    content: list[ChatTokenLogprob]
    refusal: None = None


class Message(BaseModel):
    role: Literal["assistant"]
    content: str
    refusal: None = None


class ChatChoice(BaseModel):
    index: int
    message: Message
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason


class ChatCompletion(_GenerationResponse):
    """The response to a chat completion request."""

    object: Literal["chat.completion"]
    choices: list[ChatChoice]
    usage: Usage


class ChatDelta(BaseModel):
    """New text of a choice; the first has the role."""

    role: Literal["assistant"] | None = None
    content: str


class ChatChunkChoice(BaseModel):
    index: int
    delta: ChatDelta
    logprobs: ChatLogprobs | None
    finish_reason: FinishReason | None


class ChatCompletionChunk(_GenerationResponse):
    """One chunk of a streamed chat completion."""

    object: Literal["chat.completion.chunk"]
    choices: list[ChatChunkChoice]
    usage: Usage | None = None


class ModelMeta(BaseModel):
    """A model's architecture, and its backend if it is loaded."""

    model_type: str
    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    n_vocab: int
    n_params: int
    backend: str | None


class Model(BaseModel):
    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    max_model_len: int | None
    """null, as `meta`, if the model's files cannot be read"""
    fingerprint: str | None
    """null if the model is not loaded"""
    meta: ModelMeta | None
    state: Literal["unloaded", "loading", "loaded", "failed"]
    """unloaded: the first request loads it; failed: it could not be loaded, and the next request tries again"""
    pinned: bool
    """whether it is never unloaded"""
    memory_bytes: int
    """memory of the loaded model: its weights, and its caches at their largest; 0 if it is not loaded"""
    error: str | None
    """why it could not be loaded"""


class ModelList(BaseModel):
    """The served models. The first is the default."""

    object: Literal["list"]
    data: list[Model]


class Opening(BaseModel):
    """A prompt to begin with, and a short name for it."""

    prompt: str
    label: str


class SteeringEffect(BaseModel):
    """What texts generated with a factor times a steering vector are like: shares from 0 to 1, or null."""

    factor: float
    verse: float | None
    typical: float | None
    perplexity: float | None


class SteeringVector(BaseModel):
    """A steering vector, what it steers towards and away from, and its measured effects."""

    name: str
    layer: int
    positive: str
    negative: str
    effects: list[SteeringEffect]
    measured: dict[str, Any]


class SnapshotFacts(BaseModel):
    """A snapshot of a training run, with its validation loss in nats per token."""

    step: int
    loss: float


class TrainingFacts(BaseModel):
    """The snapshots of the run that a model comes from, and the prompt and seed to compare them with."""

    prompt: str
    seed: int
    snapshots: list[SnapshotFacts]


class PageFacts(BaseModel):
    """What the web UI says of a model, from its model card, and its steering vectors.

    The layout of its texts is a play's, or plain. `atlas` says whether `GET /api/atlas` has its head atlas,
    and `means` whether interventions can use `mean`.
    """

    title: str
    tagline: str
    layout: Literal["play", "plain"]
    openings: list[Opening]
    steering: list[SteeringVector]
    atlas: bool
    means: bool
    training: TrainingFacts | None = None


class Atlas(BaseModel):
    """The head atlas: for each behaviour the score of every head, (n_layer, n_head), null where it is not known."""

    model: str
    text: str
    tokens: int
    behaviours: dict[str, str]
    scores: dict[str, list[list[float | None]]]
    page: str | None


class PageSettings(BaseModel):
    """Settings of the web UI: a JSON Schema for each sampling parameter, and facts about each model."""

    sampling: dict[str, dict[str, Any]]
    models: dict[str, PageFacts]


class Tokens(BaseModel):
    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None = None
    warnings: list[str] | None = None


class Text(BaseModel):
    prompt: str
    warnings: list[str] | None = None


class TokenizerInfo(BaseModel):
    tokenizer_class: str
    vocab_size: int
    model_max_length: int
    eos_token: str | None
    bos_token: str | None
    pad_token: str | None
    chat_template: None = None


class Health(BaseModel):
    status: Literal["ok"]


class Version(BaseModel):
    version: str
