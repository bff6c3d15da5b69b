"""Validating a generation request against the model and the server's limits."""

import asyncio
from collections.abc import Sequence
from typing import Any

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.outputs import Prompt
from inkhorn.server.context import AppContext
from inkhorn.server.errors import ApiError
from inkhorn.server.generation import GenerationJob
from inkhorn.server.model_registry import ServedModel
from inkhorn.server.schemas.requests import SAMPLING_FIELDS, ChatRequest, CompletionRequest, SamplingRequest
from inkhorn.server.settings import Limits, Settings

DEFAULT_MAX_TOKENS, DEFAULT_CHAT_MAX_TOKENS = 16, 512
MAX_BYTES_PER_TOKEN = 16
"""bound on the text of a token, to reject a long prompt before tokenizing it"""


async def completion_job(request: CompletionRequest, context: AppContext) -> GenerationJob:
    """Validate a completion request. Raises ApiError."""
    model, settings = context.models.lookup(request.model), context.settings
    n = 1 if request.n is None else request.n
    best_of = n if request.best_of is None else request.best_of
    _require(best_of >= n, "best_of", f"best_of ({best_of}) must be at least n ({n})")
    _require(not (request.stream and best_of > n), "best_of", "best_of cannot be combined with stream")
    prompts = await asyncio.to_thread(_prompts, request, model, settings)
    _check_limits(prompts, best_of, settings.limits)
    default = DEFAULT_MAX_TOKENS if request.max_words is None else settings.limits.max_tokens
    max_tokens = default if request.max_tokens is None else request.max_tokens
    return GenerationJob(
        model=model,
        prompts=prompts,
        params=_sampling_params(request, model, max(max_tokens, 1), "max_tokens", settings.limits),
        n=n,
        best_of=best_of,
        logprobs=request.logprobs,
        echo=bool(request.echo),
        score_only=max_tokens == 0,
        stream=bool(request.stream),
        include_usage=_include_usage(request),
        warnings=_warnings(request, prompts),
    )


async def chat_job(request: ChatRequest, context: AppContext) -> GenerationJob:
    """Validate a chat completion request. Raises ApiError."""
    model, settings = context.models.lookup(request.model), context.settings
    n = 1 if request.n is None else request.n
    text = "\n\n".join(filter(None, (_content(message.content) for message in request.messages)))
    prompts = await asyncio.to_thread(lambda: [_text_prompt(text, model, settings)])
    _check_limits(prompts, n, settings.limits)
    max_tokens = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    if max_tokens is None:
        max_tokens = DEFAULT_CHAT_MAX_TOKENS if request.max_words is None else settings.limits.max_tokens
    params = _sampling_params(request, model, max_tokens, "max_completion_tokens", settings.limits)
    top_allowed = request.top_logprobs is None or bool(request.logprobs)
    _require(top_allowed, "top_logprobs", "top_logprobs requires logprobs: true")
    return GenerationJob(
        model=model,
        prompts=prompts,
        params=params,
        n=n,
        best_of=n,
        logprobs=(request.top_logprobs or 0) if request.logprobs else None,
        stream=bool(request.stream),
        include_usage=_include_usage(request),
        warnings=_warnings(request, prompts),
    )


def _require(ok: bool, param: str, message: str) -> None:
    if not ok:
        raise ApiError(400, message, param=param)


def _prompts(request: CompletionRequest, model: ServedModel, settings: Settings) -> list[Prompt]:
    given: Any = request.prompt
    if given is None or isinstance(given, str):
        return [_text_prompt(given or "", model, settings)]
    _require(len(given) > 0, "prompt", "prompt is an empty list: give a string or at least one token id")
    if isinstance(given[0], int):
        given = [given]
    if isinstance(given[0], str):
        return [_text_prompt(text, model, settings) for text in given]
    return [_token_prompt(ids, model) for ids in given]


def _text_prompt(text: str, model: ServedModel, settings: Settings) -> Prompt:
    limit = settings.limits.max_prompt_tokens * MAX_BYTES_PER_TOKEN
    message = f"the prompt has {len(text):,} characters; this server accepts at most {limit:,}"
    _require(len(text) <= limit, "prompt", message)
    try:
        return model.engine.encode_prompt(text, settings.on_unknown)
    except UnicodeEncodeError:
        raise ApiError(400, "prompt: contains a lone surrogate, which is not valid Unicode", param="prompt") from None


def _token_prompt(ids: Sequence[int], model: ServedModel) -> Prompt:
    _require(len(ids) > 0, "prompt", "prompt contains an empty list of token ids: give at least one")
    vocab_size = model.engine.tokenizer.vocab_size
    invalid = next((token for token in ids if token >= vocab_size), None)
    _require(invalid is None, "prompt", f"prompt: invalid token id {invalid}; the ids are 0 to {vocab_size - 1}")
    return Prompt(model.engine.tokenizer.decode(ids), tuple(ids), ())


def _check_limits(prompts: Sequence[Prompt], best_of: int, limits: Limits) -> None:
    longest = max(len(prompt.token_ids) for prompt in prompts)
    if longest > limits.max_prompt_tokens:
        message = f"the prompt has {longest:,} tokens; this server accepts at most {limits.max_prompt_tokens:,}"
        raise ApiError(400, message, param="prompt", code="context_length_exceeded")
    choices = len(prompts) * best_of
    message = f"{len(prompts)} prompts with {best_of} choices each are {choices} choices; the limit is"
    _require(choices <= limits.max_choices, "n", f"{message} {limits.max_choices} per request")


def _sampling_params(
    request: SamplingRequest, model: ServedModel, max_tokens: int, max_tokens_name: str, limits: Limits
) -> SamplingParams:
    message = f"{max_tokens_name} is {max_tokens:,}; this server generates at most {limits.max_tokens:,}"
    _require(max_tokens <= limits.max_tokens, max_tokens_name, message)
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    values = {name: value for name in SAMPLING_FIELDS if (value := getattr(request, name)) is not None}
    values |= {"logit_bias": _logit_bias(request, model), "stop": stop, "max_tokens": max_tokens}
    values |= {"temperature": values.get("temperature", 1.0), "top_k": max(values.get("top_k", 0), 0)}
    values |= {"stop_token_ids": tuple(values.get("stop_token_ids", ()))}
    if request.seed is not None:
        values["seed"] = request.seed % 2**64
    try:
        return SamplingParams(**values)
    except UsageError as error:
        raise ApiError(400, str(error), param=str(error).split(" ")[0]) from None


def _logit_bias(request: SamplingRequest, model: ServedModel) -> dict[int, float]:
    vocab_size, bias = model.config.vocab_size, {}
    for key, value in (request.logit_bias or {}).items():
        valid = key.isascii() and key.isdigit() and int(key) < vocab_size
        message = f"logit_bias: invalid token id {key!r}; the ids are 0 to {vocab_size - 1}"
        _require(valid, "logit_bias", message)
        bias[int(key)] = value
    return bias


def _include_usage(request: SamplingRequest) -> bool:
    options = request.stream_options
    _require(options is None or bool(request.stream), "stream_options", "stream_options requires stream: true")
    return options is not None and options.include_usage


def _warnings(request: SamplingRequest, prompts: Sequence[Prompt]) -> list[str]:
    known, warnings = type(request).model_fields, []
    for name in sorted(request.model_extra or {}):
        hint = nearest(name, known)
        warnings.append(f"unknown field {name!r} ignored" + (f": {hint}" if "did you mean" in hint else ""))
    unknown = dict.fromkeys(str(unknown) for prompt in prompts for unknown in prompt.unknown)
    return warnings + [f"not in the vocabulary: {character}" for character in unknown][:10]


def _content(content: str | list[dict[str, Any]] | None) -> str:
    """The text of a chat message; of a list, the text of its parts."""
    if not isinstance(content, list):
        return content or ""
    parts = [part.get("text") for part in content if part.get("type") == "text"]
    _require(all(isinstance(part, str) for part in parts), "messages", "messages: a part of type text requires text")
    return "".join(part for part in parts if isinstance(part, str))
