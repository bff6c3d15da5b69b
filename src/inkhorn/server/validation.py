"""Validating a generation request against the model and the server's limits."""

import asyncio
import re
from collections.abc import Sequence
from heapq import nsmallest
from typing import Any

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.outputs import Prompt
from inkhorn.inference.sequence import window_start
from inkhorn.server.context import RequestContext
from inkhorn.server.errors import ApiError
from inkhorn.server.generation import GenerationJob
from inkhorn.server.interventions import resolve_edits
from inkhorn.server.schemas.fields import MAX_NAME, Body
from inkhorn.server.schemas.requests import (
    SAMPLING_FIELDS,
    ChatRequest,
    CompletionRequest,
    SamplingRequest,
)
from inkhorn.server.served_model import ServedModel
from inkhorn.server.settings import Limits, Settings
from inkhorn.server.unsupported import refuse_unsupported

DEFAULT_MAX_TOKENS, DEFAULT_CHAT_MAX_TOKENS = 16, 512
MAX_WARNINGS = 20
MAX_BYTES_PER_TOKEN = 16
"""bound on the text of a token, to reject a long prompt before tokenizing it"""


async def completion_job(request: CompletionRequest, context: RequestContext) -> GenerationJob:
    """Validate a completion request. Raises ApiError."""
    refuse_unsupported(request.model_extra or {})
    model, settings = await context.use_model(request.model), context.settings
    n = 1 if request.n is None else request.n
    best_of = n if request.best_of is None else request.best_of
    _require(best_of >= n, "best_of", f"best_of ({best_of}) must be at least n ({n})")
    _require(not (request.stream and best_of > n), "best_of", "best_of cannot be combined with stream")
    given = _prompt_list(request)
    _check_choices(len(given), best_of, settings.limits)
    prompts = await asyncio.to_thread(_prompts, given, model, settings)
    _check_lengths(prompts, settings.limits)
    default = _default_max_tokens(request, DEFAULT_MAX_TOKENS, settings.limits)
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
        edits=await resolve_edits(request.interventions, prompts, model, context),
        stream=bool(request.stream),
        include_usage=_include_usage(request),
        warnings=_warnings(request, prompts, model),
        prompt_changes=await asyncio.to_thread(_prompt_changes, prompts, model),
    )


async def chat_job(request: ChatRequest, context: RequestContext) -> GenerationJob:
    """Validate a chat completion request. Raises ApiError."""
    refuse_unsupported(request.model_extra or {})
    for index, message in enumerate(request.messages):
        refuse_unsupported(message.model_extra or {}, f"messages[{index}].")
    model, settings = await context.use_model(request.model), context.settings
    n = 1 if request.n is None else request.n
    text = "\n\n".join(filter(None, (_content(i, each.content) for i, each in enumerate(request.messages))))
    _check_choices(1, n, settings.limits)
    prompts = await asyncio.to_thread(lambda: [_text_prompt(text, model, settings)])
    _check_lengths(prompts, settings.limits)
    max_tokens = request.max_tokens if request.max_completion_tokens is None else request.max_completion_tokens
    if max_tokens is None:
        max_tokens = _default_max_tokens(request, DEFAULT_CHAT_MAX_TOKENS, settings.limits)
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
        edits=await resolve_edits(request.interventions, prompts, model, context),
        stream=bool(request.stream),
        include_usage=_include_usage(request),
        warnings=_warnings(request, prompts, model),
        prompt_changes=await asyncio.to_thread(_prompt_changes, prompts, model),
    )


def _default_max_tokens(request: SamplingRequest, default: int, limits: Limits) -> int:
    return min(default, limits.max_tokens) if request.max_words is None else limits.max_tokens


def _require(ok: bool, param: str, message: str) -> None:
    if not ok:
        raise ApiError(400, message, param=param)


def _prompt_list(request: CompletionRequest) -> list[str] | list[list[int]]:
    given: Any = request.prompt
    if given is None or isinstance(given, str):
        return [given or ""]
    _require(len(given) > 0, "prompt", "prompt is an empty list: give a string or at least one token id")
    prompts: list[str] | list[list[int]] = [given] if isinstance(given[0], int) else given
    return prompts


def _prompts(given: list[str] | list[list[int]], model: ServedModel, settings: Settings) -> list[Prompt]:
    return [
        _text_prompt(each, model, settings) if isinstance(each, str) else _token_prompt(each, model, settings.limits)
        for each in given
    ]


def _text_prompt(text: str, model: ServedModel, settings: Settings) -> Prompt:
    limit = settings.limits.max_prompt_tokens * MAX_BYTES_PER_TOKEN
    message = f"the prompt has {len(text):,} characters; this server accepts at most {limit:,}"
    _require(len(text) <= limit, "prompt", message)
    try:
        return model.engine.encode_prompt(text, settings.on_unknown)
    except UnicodeEncodeError:
        raise ApiError(400, "prompt: contains a lone surrogate, which is not valid Unicode", param="prompt") from None


def _token_prompt(ids: Sequence[int], model: ServedModel, limits: Limits) -> Prompt:
    _require(len(ids) > 0, "prompt", "prompt contains an empty list of token ids: give at least one")
    _check_length(len(ids), limits)
    vocab_size = model.engine.tokenizer.vocab_size
    invalid = next((token for token in ids if token >= vocab_size), None)
    _require(invalid is None, "prompt", f"prompt: invalid token id {invalid}; the ids are 0 to {vocab_size - 1}")
    return Prompt(model.engine.tokenizer.decode(ids), tuple(ids), ())


def _prompt_changes(prompts: Sequence[Prompt], model: ServedModel) -> list[dict[str, Any]]:
    """A `PromptChange` for each prompt that the model does not read as it was given."""
    changes = []
    for index, prompt in enumerate(prompts):
        # Some tokenizers, such as GPT-1's, change case and spacing.
        text = model.engine.tokenizer.decode(prompt.token_ids) if prompt.text else ""
        if prompt.unknown or text != prompt.text:
            characters = [
                {"character": valid_unicode(each.character), "replacement": each.replacement} for each in prompt.unknown
            ]
            changes.append({"index": index, "text": text, "characters": characters})
    return changes


def valid_unicode(text: str) -> str:
    """A text with its lone surrogates replaced, which JSON can spell but UTF-8 cannot encode."""
    return re.sub("[\ud800-\udfff]", "\ufffd", text)


def _check_lengths(prompts: Sequence[Prompt], limits: Limits) -> None:
    for prompt in prompts:
        _check_length(len(prompt.token_ids), limits)


def _check_length(length: int, limits: Limits) -> None:
    if length > limits.max_prompt_tokens:
        message = f"the prompt has {length:,} tokens; this server accepts at most {limits.max_prompt_tokens:,}"
        raise ApiError(400, message, param="prompt", code="context_length_exceeded")


def _check_choices(num_prompts: int, best_of: int, limits: Limits) -> None:
    choices = num_prompts * best_of
    message = f"{num_prompts} prompts with {best_of} choices each are {choices} choices; the limit is"
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
    values |= {"stop_token_ids": tuple(values.get("stop_token_ids", ())), "top_p": values.get("top_p", 1.0)}
    if values["top_p"] == 0:  # only the most likely token
        values |= {"temperature": 0.0, "top_p": 1.0}
    if request.seed == -1:  # what clients send for a random seed
        del values["seed"]
    elif request.seed is not None:
        values["seed"] = request.seed % 2**64
    try:
        return SamplingParams(**values)
    except UsageError as error:
        raise ApiError(400, str(error), param=str(error).split(" ")[0]) from None


def _logit_bias(request: SamplingRequest, model: ServedModel) -> dict[int, float]:
    vocab_size, bias = model.config.vocab_size, {}
    for key, value in (request.logit_bias or {}).items():
        message = f"logit_bias: invalid token id {key!r}; the ids are 0 to {vocab_size - 1}"
        _require(int(key) < vocab_size, "logit_bias", message)  # the schema has checked that it is a short number
        bias[int(key)] = value
    return bias


def _include_usage(request: SamplingRequest) -> bool:
    options = request.stream_options
    _require(options is None or bool(request.stream), "stream_options", "stream_options requires stream: true")
    return options is not None and options.include_usage


def _warnings(request: SamplingRequest, prompts: Sequence[Prompt], model: ServedModel) -> list[str]:
    """What the request asks for and the answer does not take into account."""
    warnings = unknown_fields(request)
    block_size, overflow = model.config.block_size, request.context_overflow or SamplingParams.context_overflow
    for number, prompt in enumerate(prompts, 1):
        if start := window_start(len(prompt.token_ids), block_size, overflow):
            which = f"prompt {number}" if len(prompts) > 1 else "the prompt"
            warnings.append(
                f"{which} has {len(prompt.token_ids):,} tokens, more than the model's context of {block_size:,}: "
                f"it is continued from its last {len(prompt.token_ids) - start:,} tokens"
            )
    unknown = dict.fromkeys(str(unknown) for prompt in prompts for unknown in prompt.unknown)
    warnings += [f"not in the vocabulary: {character}" for character in unknown]
    return shorten(warnings)


def shorten(warnings: list[str]) -> list[str]:
    """The first warnings, and how many more there are."""
    more = len(warnings) - MAX_WARNINGS
    return warnings if more <= 0 else [*warnings[:MAX_WARNINGS], f"and {more} more warnings"]


def unknown_fields(body: Body, prefix: str = "") -> list[str]:
    """A warning for each field of a request body, and of the objects in it, that its schema does not have."""
    known, extra = type(body).model_fields, body.model_extra or {}
    warnings: list[str] = []
    for name in nsmallest(MAX_WARNINGS, extra):
        shown = prefix + (name if len(name) <= MAX_NAME else f"{name[:MAX_NAME]}...")
        hint = nearest(name, known) if len(name) <= MAX_NAME else ""
        warnings.append(f"unknown field {shown!r} ignored" + (f": {hint}" if "did you mean" in hint else ""))
    if len(extra) > MAX_WARNINGS:
        warnings.append(f"{len(extra) - MAX_WARNINGS} more unknown fields ignored")
    for name in known:
        value = getattr(body, name)
        if isinstance(value, Body):
            warnings += unknown_fields(value, f"{prefix}{name}.")
        elif isinstance(value, list) and value and isinstance(value[0], Body):
            for index, item in enumerate(value):
                if item.model_extra:
                    warnings += unknown_fields(item, f"{prefix}{name}[{index}].")
    return warnings


def _content(index: int, content: str | list[dict[str, Any]] | None) -> str:
    """The text of a chat message; of a list, the text of its parts."""
    if not isinstance(content, list):
        return content or ""
    texts = []
    for number, part in enumerate(content):
        kind, where = part.get("type"), f"messages[{index}].content[{number}]"
        message = f"{where}: parts of type {str(kind)[:MAX_NAME]!r} are not supported; these models read text only"
        _require(kind == "text", "messages", message)
        text = part.get("text")
        _require(isinstance(text, str), "messages", f"{where}: a part of type text requires text")
        texts.append(str(text))
    return "".join(texts)
