"""The served models, their tokenizers, and the settings of the web UI."""

import asyncio
from contextlib import suppress
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter

from inkhorn.config.model import ModelConfig
from inkhorn.errors import InkhornError
from inkhorn.server.context import AppContext, Context
from inkhorn.server.errors import ApiError, error_responses
from inkhorn.server.model_entry import ModelEntry
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import DetokenizeRequest, TokenizeRequest
from inkhorn.server.validation import shorten, unknown_fields
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.web.facts import PageFacts
from inkhorn.web.settings import page_settings

router = APIRouter(tags=["models"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.get("/v1/models", responses=error_responses(401, 429))
async def list_models(context: Context) -> responses.ModelList:
    """List the served models, loaded or not."""
    await context.models.refresh()
    return responses.ModelList(object="list", data=await _describe(list(context.models), context))


@router.get("/v1/models/{model_id:path}", responses=error_responses(401, 404, 429))
async def retrieve_model(model_id: str, context: Context) -> responses.Model:
    """Describe one model."""
    [model] = await _describe([await context.models.find(model_id)], context)
    return model


@router.get("/api/settings", responses=error_responses(401, 429))
async def settings(context: Context) -> responses.PageSettings:
    """List the sampling parameters, each as a JSON Schema, and what the web UI says of each model."""
    entries = list(context.models)

    def pages() -> dict[str, PageFacts]:
        found = {}
        for entry in entries:
            with suppress(InkhornError):
                found[entry.id] = entry.page()
        return found

    return responses.PageSettings(**page_settings(await asyncio.to_thread(pages)))


@router.post("/tokenize", response_model_exclude_none=True, responses=error_responses(400, 401, 404, 413, 429))
async def tokenize(body: TokenizeRequest, context: Context) -> responses.Tokens:
    """Tokenize a text. Characters outside the vocabulary are treated as in prompts."""
    model = await context.use_model(body.model)

    def encode() -> tuple[list[int], list[str], list[str] | None]:
        text, unknown = model.engine.tokenizer.normalize(body.prompt, context.settings.on_unknown)
        tokens = model.engine.tokenizer.encode(text).tolist()
        texts = [model.token_texts[token] for token in tokens] if body.return_token_strs else None
        return tokens, [f"not in the vocabulary: {each}" for each in unknown], texts

    tokens, unknown, texts = await run_sync(encode)
    return responses.Tokens(
        count=len(tokens),
        max_model_len=model.config.block_size,
        tokens=tokens,
        token_strs=texts,
        warnings=shorten([*unknown_fields(body), *unknown]) or None,
    )


@router.post("/detokenize", response_model_exclude_none=True, responses=error_responses(400, 401, 404, 413, 429))
async def detokenize(body: DetokenizeRequest, context: Context) -> responses.Text:
    """Decode token ids."""
    tokenizer = (await context.use_model(body.model)).engine.tokenizer
    largest = max(body.tokens, default=0)
    if largest >= tokenizer.vocab_size:
        message = f"tokens: invalid token id {largest}; the ids are 0 to {tokenizer.vocab_size - 1}"
        raise ApiError(400, message, param="tokens")
    warnings = shorten(unknown_fields(body)) or None
    return responses.Text(prompt=await run_sync(tokenizer.decode, body.tokens), warnings=warnings)


@router.get("/tokenizer_info", responses=error_responses(401, 404, 429))
async def tokenizer_info(context: Context, model: str | None = None) -> responses.TokenizerInfo:
    """Describe a tokenizer, for clients that tokenize themselves."""
    served = await context.use_model(model)
    special = END_OF_TEXT if served.engine.tokenizer.eos_id is not None else None
    return responses.TokenizerInfo(
        tokenizer_class="PreTrainedTokenizerFast",
        vocab_size=served.config.vocab_size,
        model_max_length=served.config.block_size,
        eos_token=special,
        bos_token=special,
        pad_token=special,
    )


async def _describe(entries: list[ModelEntry], context: AppContext) -> list[responses.Model]:
    """Describe models; of those that are not loaded, the files are read in a thread."""

    def shapes() -> list[ModelConfig | str]:
        return [_shape(entry) for entry in entries]

    described = []
    for entry, shape in zip(entries, await asyncio.to_thread(shapes), strict=True):
        model, error = entry.model, entry.error
        backend = None if model is None else model.engine.backend.name
        if isinstance(shape, str):
            error = error or shape
        described.append(
            responses.Model(
                id=entry.id,
                object="model",
                created=entry.created,
                owned_by="inkhorn",
                max_model_len=None if isinstance(shape, str) else shape.block_size,
                fingerprint=None if model is None else model.fingerprint,
                meta=None if isinstance(shape, str) else _meta(shape, backend),
                state="failed" if entry.state == "unloaded" and error else entry.state,
                pinned=context.models.is_pinned(entry),
                memory_bytes=context.models.memory(entry),
                error=error,
            )
        )
    return described


def _shape(entry: ModelEntry) -> ModelConfig | str:
    """A model's shape, or why it cannot be read."""
    try:
        return entry.read_config()
    except InkhornError as error:
        return entry.public_message(error)


_META = ("model_type", "n_layer", "n_head", "n_embd", "block_size")


def _meta(config: ModelConfig, backend: str | None) -> responses.ModelMeta:
    shape: dict[str, Any] = {name: getattr(config, name) for name in _META}
    return responses.ModelMeta(**shape, n_vocab=config.vocab_size, n_params=config.num_parameters, backend=backend)
