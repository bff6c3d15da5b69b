"""The served models, their tokenizers, and the settings of the web UI."""

from typing import Any

from fastapi import APIRouter

from inkhorn.server.context import Context
from inkhorn.server.errors import ApiError, error_responses
from inkhorn.server.model_registry import ServedModel
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import DetokenizeRequest, TokenizeRequest
from inkhorn.server.validation import shorten, unknown_fields
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.web.settings import page_settings

router = APIRouter(tags=["models"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.get("/v1/models", responses=error_responses(401, 429))
async def list_models(context: Context) -> responses.ModelList:
    """List the served models."""
    return responses.ModelList(object="list", data=[_describe(model) for model in context.models.values()])


@router.get("/v1/models/{model_id:path}", responses=error_responses(401, 404, 429))
async def retrieve_model(model_id: str, context: Context) -> responses.Model:
    """Describe one model."""
    return _describe(context.models.lookup(model_id))


@router.get("/api/settings", responses=error_responses(401, 429))
async def settings(context: Context) -> responses.PageSettings:
    """List the sampling parameters, each as a JSON Schema, and what the web UI says of each model."""
    return responses.PageSettings(**page_settings({model.id: model.page for model in context.models.values()}))


@router.post("/tokenize", response_model_exclude_none=True, responses=error_responses(400, 401, 404, 413, 429))
def tokenize(body: TokenizeRequest, context: Context) -> responses.Tokens:
    """Tokenize a text. Characters outside the vocabulary are treated as in prompts."""
    model = context.models.lookup(body.model)
    text, unknown = model.engine.tokenizer.normalize(body.prompt, context.settings.on_unknown)
    tokens = model.engine.tokenizer.encode(text).tolist()
    texts = [model.token_texts[token] for token in tokens] if body.return_token_strs else None
    return responses.Tokens(
        count=len(tokens),
        max_model_len=model.config.block_size,
        tokens=tokens,
        token_strs=texts,
        warnings=shorten([*unknown_fields(body), *(f"not in the vocabulary: {each}" for each in unknown)]) or None,
    )


@router.post("/detokenize", response_model_exclude_none=True, responses=error_responses(400, 401, 404, 413, 429))
def detokenize(body: DetokenizeRequest, context: Context) -> responses.Text:
    """Decode token ids."""
    tokenizer = context.models.lookup(body.model).engine.tokenizer
    largest = max(body.tokens, default=0)
    if largest >= tokenizer.vocab_size:
        message = f"tokens: invalid token id {largest}; the ids are 0 to {tokenizer.vocab_size - 1}"
        raise ApiError(400, message, param="tokens")
    warnings = shorten(unknown_fields(body)) or None
    return responses.Text(prompt=tokenizer.decode(body.tokens), warnings=warnings)


@router.get("/tokenizer_info", responses=error_responses(401, 404, 429))
async def tokenizer_info(context: Context, model: str | None = None) -> responses.TokenizerInfo:
    """Describe a tokenizer, for clients that tokenize themselves."""
    served = context.models.lookup(model)
    special = END_OF_TEXT if served.engine.tokenizer.eos_id is not None else None
    return responses.TokenizerInfo(
        tokenizer_class="PreTrainedTokenizerFast",
        vocab_size=served.config.vocab_size,
        model_max_length=served.config.block_size,
        eos_token=special,
        bos_token=special,
        pad_token=special,
    )


def _describe(model: ServedModel) -> responses.Model:
    config = model.config
    meta: dict[str, Any] = {name: getattr(config, name) for name in ("n_layer", "n_head", "n_embd", "block_size")}
    return responses.Model(
        id=model.id,
        object="model",
        created=model.created,
        owned_by="inkhorn",
        max_model_len=config.block_size,
        fingerprint=model.fingerprint,
        meta=responses.ModelMeta(
            **meta,
            n_vocab=config.vocab_size,
            n_params=config.num_parameters,
            backend=model.engine.backend.name,
        ),
    )
