"""Inkhorn's models for the `llm` command: `llm -m inkhorn "ROMEO:"`."""

import dataclasses
from collections.abc import AsyncGenerator, Iterable, Iterator
from functools import lru_cache
from typing import Any

import llm
from pydantic import Field, create_model

import inkhorn
from inkhorn.config.bounds import field_specs

OPTIONS = (
    "max_tokens",
    "max_words",
    "end_at_sentence",
    "temperature",
    "top_k",
    "top_p",
    "min_p",
    "repetition_penalty",
    "seed",
    "stop",
)
"""Sampling parameters of Inkhorn that are options here; `stop` is one string."""


def _options() -> type[llm.Options]:
    """The options as llm wants them. Inkhorn declares their types, bounds and help; it also checks the bounds."""
    help_texts = {name: spec.help for name, spec in field_specs(inkhorn.SamplingParams).items()}
    types: dict[str, Any] = {"end_at_sentence": bool, "stop": str, "seed": int}
    types |= dict.fromkeys(("max_tokens", "max_words", "top_k"), int)
    fields: dict[str, Any] = {
        name: (types.get(name, float) | None, Field(default=None, description=help_texts[name])) for name in OPTIONS
    }
    what = "a checkpoint folder, a run folder or the name of a shipped model"
    fields["model"] = (str, Field(default="shakespeare", description=what))
    made: type[llm.Options] = create_model("Options", __base__=llm.Options, **fields)
    return made


@lru_cache(maxsize=4)
def _load(name: str) -> inkhorn.Model:
    try:
        return inkhorn.load(name)
    except inkhorn.InkhornError as error:
        raise llm.ModelError(str(error)) from None


def _request(prompt: llm.Prompt) -> tuple[inkhorn.Model, inkhorn.SamplingParams]:
    """The model and the sampling parameters that a prompt asks for."""
    if prompt.system:
        raise llm.ModelError("inkhorn has no system prompt: put the text into the prompt")
    given = {name: getattr(prompt.options, name) for name in OPTIONS}
    given = {name: value for name, value in given.items() if value is not None}
    if "stop" in given:
        given["stop"] = (given["stop"],)
    if not {"max_tokens", "max_words", "end_at_sentence"} & given.keys():
        given["max_tokens"] = 200
    try:
        params = dataclasses.replace(inkhorn.SamplingParams(), **given)
    except inkhorn.InkhornError as error:
        raise llm.ModelError(str(error)) from None
    return _load(prompt.options.model), params


class _Base:
    model_id = "inkhorn"
    can_stream = True
    supports_conversation = False
    Options = _options()

    def __str__(self) -> str:
        return f"Inkhorn: {self.model_id}"

    @staticmethod
    def _set_usage(response: Any, model: inkhorn.Model, prompt: str, sampled: int) -> None:
        text, _ = model.tokenizer.normalize(prompt)
        response.set_usage(input=len(model.tokenizer.encode(text)), output=sampled)


class Inkhorn(_Base, llm.Model):
    """A model that writes on when it is given a beginning."""

    def execute(
        self, prompt: llm.Prompt, stream: bool, response: llm.Response, conversation: llm.Conversation | None
    ) -> Iterator[str]:
        model, params = _request(prompt)
        sampled = 0
        pieces: list[str] = []
        for chunk in model.stream(prompt.prompt or "", params):
            sampled += chunk.token_id is not None
            if stream and chunk.text:
                yield chunk.text
            else:
                pieces.append(chunk.text)
        if not stream:
            yield "".join(pieces)
        self._set_usage(response, model, prompt.prompt or "", sampled)


class AsyncInkhorn(_Base, llm.AsyncModel):
    """The same for asyncio."""

    async def execute(
        self, prompt: llm.Prompt, stream: bool, response: llm.AsyncResponse, conversation: llm.AsyncConversation | None
    ) -> AsyncGenerator[str, None]:
        model, params = _request(prompt)
        sampled = 0
        async for chunk in model.astream(prompt.prompt or "", params):
            sampled += chunk.token_id is not None
            if chunk.text:
                yield chunk.text
        self._set_usage(response, model, prompt.prompt or "", sampled)


@llm.hookimpl
def register_models(register: Any, model_aliases: Iterable[Any]) -> None:  # noqa: ARG001
    """Add the model to llm."""
    register(Inkhorn(), AsyncInkhorn())
