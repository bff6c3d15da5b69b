"""From a request to texts being written: its fields checked against the model and the limits, its prompts submitted."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError, nearest
from inkhorn.inference.outputs import Prompt
from inkhorn.inference.stream import Handle
from inkhorn.server.errors import ApiError, from_exception
from inkhorn.server.model_registry import Models, ServedModel
from inkhorn.server.schemas.requests import SAMPLING_FIELDS, ChatRequest, CompletionRequest, SamplingRequest
from inkhorn.server.settings import Settings

DEFAULT_TOKENS, DEFAULT_CHAT_TOKENS = 16, 512


@dataclass
class Job:
    """Some prompts, and how each is to be continued.

    Attributes:
        model: who writes.
        prompts: each with the number of tokens that are its text's own: an empty text starts from a token that is not.
        params: how.
        n: how many texts of each are sent.
        candidates: how many are written.
        logprobs: how many of the likeliest tokens are told with each; None: nothing is told.
        echo: the prompt is sent too.
        silent: nothing is to be written: the one token that is drawn to score the prompt is not sent.
        stream: as it is written.
        include_usage: a stream ends with a count of the tokens.
        warnings: what the client should know.

    """

    model: ServedModel
    prompts: list[Prompt]
    params: SamplingParams
    n: int
    candidates: int
    logprobs: int | None
    echo: bool = False
    silent: bool = False
    stream: bool = False
    include_usage: bool = False
    warnings: list[str] = field(default_factory=list)

    def submit(self) -> list[Handle]:
        """Have all texts written: prompt by prompt, each one's candidates in order."""
        handles: list[Handle] = []
        try:
            for prompt in self.prompts:
                for choice in range(self.candidates):
                    scored = self.echo and self.logprobs is not None
                    logprobs = 0 if self.logprobs is None and self.candidates > self.n else self.logprobs
                    handles.append(
                        self.model.engine.submit(prompt, self.params, choice, logprobs=logprobs, prompt_logprobs=scored)
                    )
        except BaseException:
            for handle in handles:
                handle.abort()
            raise
        return handles

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(len(prompt.ids) for prompt in self.prompts)


async def completion_job(request: CompletionRequest, models: Models, settings: Settings) -> Job:
    """A completion request, checked. Raises ApiError."""
    model = find_model(request.model, models)
    n = 1 if request.n is None else request.n
    candidates = n if request.best_of is None else request.best_of
    _require(
        candidates >= n, "best_of", f"best_of is {candidates}, below n, {n}: it is how many are written to choose from"
    )
    _require(not (request.stream and candidates > n), "best_of", "best_of and stream do not go together: drop one")
    prompts = await asyncio.to_thread(_prompts, request, model, settings)
    _check_amounts(prompts, candidates, settings)
    default = settings.limits.max_tokens if request.max_words is not None else DEFAULT_TOKENS
    tokens = default if request.max_tokens is None else request.max_tokens
    echo = bool(request.echo)
    params = _sampling(request, model, max(tokens, 1), "max_tokens", settings)
    stream, usage = _stream(request)
    warnings = _warnings(request, prompts)
    return Job(model, prompts, params, n, candidates, request.logprobs, echo, tokens == 0, stream, usage, warnings)


async def chat_job(request: ChatRequest, models: Models, settings: Settings) -> Job:
    """A chat request, checked. Raises ApiError."""
    model = find_model(request.model, models)
    n = 1 if request.n is None else request.n
    text = "\n\n".join(filter(None, (_content(message.content) for message in request.messages)))
    prompts = await asyncio.to_thread(lambda: [_text_prompt(text, model, settings)])
    _check_amounts(prompts, n, settings)
    asked = request.max_completion_tokens if request.max_completion_tokens is not None else request.max_tokens
    default = settings.limits.max_tokens if request.max_words is not None else DEFAULT_CHAT_TOKENS
    params = _sampling(request, model, default if asked is None else asked, "max_completion_tokens", settings)
    _require(
        request.top_logprobs is None or bool(request.logprobs),
        "top_logprobs",
        "top_logprobs needs logprobs: true beside it",
    )
    logprobs = (request.top_logprobs or 0) if request.logprobs else None
    stream, usage = _stream(request)
    warnings = _warnings(request, prompts)
    return Job(model, prompts, params, n, n, logprobs, stream=stream, include_usage=usage, warnings=warnings)


def find_model(name: str | None, models: Models) -> ServedModel:
    """The model that a request means; ApiError 404 if there is none of that name."""
    model = models.find(name)
    if model is None:
        message = f"there is no model {name!r} here: {models.suggest(str(name))}"
        raise ApiError(404, message, param="model", code="model_not_found")
    return model


def _require(ok: bool, param: str, message: str) -> None:
    if not ok:
        raise ApiError(400, message, param=param)


def _prompts(request: CompletionRequest, model: ServedModel, settings: Settings) -> list[Prompt]:
    given: Any = request.prompt
    if given is None or isinstance(given, str):
        return [_text_prompt(given or "", model, settings)]
    _require(len(given) > 0, "prompt", "prompt is an empty list: give a text, or at least one token id")
    if isinstance(given[0], int):
        given = [given]
    of_text = isinstance(given[0], str)
    return [_text_prompt(p, model, settings) if of_text else _ids_prompt(p, model) for p in given]


def _text_prompt(text: str, model: ServedModel, settings: Settings) -> Prompt:
    # Before it is taken apart: no vocabulary has more tokens than a text has bytes, and the check must be cheap.
    bound = settings.limits.max_prompt_tokens * 16
    _require(
        len(text) <= bound, "prompt", f"the prompt has {len(text):,} characters, this server takes {bound:,} at most"
    )
    try:
        return model.engine.prompt(text, settings.on_unknown)
    except UnicodeEncodeError:
        raise ApiError(400, "prompt: it holds half of a character (a lone surrogate)", param="prompt") from None


def _ids_prompt(ids: Sequence[int], model: ServedModel) -> Prompt:
    _require(len(ids) > 0, "prompt", "prompt holds an empty list of token ids: give at least one")
    vocab_size = model.engine.tokenizer.vocab_size
    wrong = next((i for i in ids if i >= vocab_size), None)
    _require(wrong is None, "prompt", f"prompt: this model has no token {wrong}, its ids are 0 to {vocab_size - 1}")
    return Prompt(model.engine.tokenizer.decode(ids), tuple(ids), ())


def _check_amounts(prompts: Sequence[Prompt], candidates: int, settings: Settings) -> None:
    limits = settings.limits
    longest = max(len(prompt.ids) for prompt in prompts)
    if longest > limits.max_prompt_tokens:
        message = f"the prompt has {longest:,} tokens, this server takes {limits.max_prompt_tokens:,} at most"
        raise ApiError(400, message, param="prompt", code="context_length_exceeded")
    texts = len(prompts) * candidates
    _require(
        texts <= limits.max_choices,
        "n",
        f"{len(prompts)} prompts with {candidates} texts each are {texts} texts, this server writes at most "
        f"{limits.max_choices} for a request",
    )


def _sampling(
    request: SamplingRequest, model: ServedModel, max_tokens: int, name: str, settings: Settings
) -> SamplingParams:
    most = settings.limits.max_tokens
    _require(max_tokens <= most, name, f"{name} is {max_tokens:,}, this server writes at most {most:,} for a text")
    bias = {}
    for key, value in (request.logit_bias or {}).items():
        ok = key.isascii() and key.isdigit() and int(key) < model.config.vocab_size
        _require(
            ok, "logit_bias", f"logit_bias: {key!r} is no token id of this model, 0 to {model.config.vocab_size - 1}"
        )
        bias[int(key)] = value
    stop = (request.stop,) if isinstance(request.stop, str) else tuple(request.stop or ())
    _require("" not in stop, "stop", "stop: a stop string must not be empty")

    values = {name: value for name in SAMPLING_FIELDS if (value := getattr(request, name)) is not None}
    values |= {"logit_bias": bias, "stop": stop, "max_tokens": max_tokens}
    values |= {"temperature": values.get("temperature", 1.0), "top_k": max(values.get("top_k", 0), 0)}
    values |= {"stop_token_ids": tuple(values.get("stop_token_ids", ()))}
    if request.seed is not None:
        values["seed"] = request.seed % 2**64
    try:
        return SamplingParams(**values)
    except UsageError as error:
        raise ApiError(400, str(error), param=str(error).split(" ")[0]) from None


def _stream(request: SamplingRequest) -> tuple[bool, bool]:
    options = request.stream_options
    _require(options is None or bool(request.stream), "stream_options", "stream_options needs stream: true beside it")
    return bool(request.stream), options is not None and options.include_usage


def _warnings(request: SamplingRequest, prompts: Sequence[Prompt]) -> list[str]:
    known = type(request).model_fields
    told = [f"unknown field {name!r} was ignored: {nearest(name, known)}" for name in request.unknown_fields]
    told = [text if "did you mean" in text else text.partition(":")[0] for text in told]
    seen = dict.fromkeys(str(unknown) for prompt in prompts for unknown in prompt.unknown)
    return told + [f"the model has never seen {unknown}" for unknown in seen][:10]


def _content(content: str | list[dict[str, Any]] | None) -> str:
    """A message's text; of a list, its parts of text."""
    if isinstance(content, list):
        parts = [part.get("text") for part in content if part.get("type") == "text"]
        _require(all(isinstance(part, str) for part in parts), "messages", "messages: a part of type text needs a text")
        return "".join(part for part in parts if isinstance(part, str))
    return content or ""


def event(data: dict[str, Any]) -> bytes:
    """An event of a stream."""
    return b"data: " + json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace") + b"\n\n"


def error_event(error: BaseException) -> bytes:
    """The event that tells of a failure amid a stream."""
    return event(from_exception(error).body())
