"""What clients ask about models and their tokens."""

from typing import Any

from fastapi import APIRouter

from inkhorn.inference.engine import Engine
from inkhorn.server.errors import RESPONSES, ApiError
from inkhorn.server.generation import find_model
from inkhorn.server.model_registry import Models, ServedModel
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import DetokenizeRequest, TokenizeRequest
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.web.settings import page_settings


def vocabulary_routes(models: Models) -> APIRouter:
    """The routes."""
    router = APIRouter(responses=RESPONSES, tags=["models"])

    @router.get("/v1/models", response_model=responses.ModelList)
    async def list_models() -> dict[str, Any]:
        """The models that are served."""
        return {"object": "list", "data": [describe(model) for model in models.values()]}

    @router.get("/v1/models/{model_id:path}", response_model=responses.Model)
    async def retrieve_model(model_id: str) -> dict[str, Any]:
        """One of them."""
        return describe(find_model(model_id, models))

    @router.get("/api/settings", response_model=responses.PageSettings)
    async def settings() -> dict[str, Any]:
        """Sampling parameters with their bounds, defaults and descriptions, each as a JSON Schema."""
        return page_settings()

    @router.post("/tokenize", response_model=responses.Tokens, response_model_exclude_none=True)
    def tokenize(body: TokenizeRequest) -> dict[str, Any]:
        """The token ids of a text."""
        model = find_model(body.model, models)
        try:
            tokens = model.engine.tokenizer.encode(body.prompt).tolist()
        except UnicodeEncodeError:
            raise ApiError(400, "prompt: it holds half of a character (a lone surrogate)", param="prompt") from None
        found: dict[str, Any] = {"count": len(tokens), "max_model_len": model.config.block_size, "tokens": tokens}
        return found | ({"token_strs": [model.token_texts[t] for t in tokens]} if body.return_token_strs else {})

    @router.post("/detokenize", response_model=responses.Text)
    def detokenize(body: DetokenizeRequest) -> dict[str, Any]:
        """The text of some token ids."""
        engine: Engine = find_model(body.model, models).engine
        most = engine.tokenizer.vocab_size
        for token in body.tokens:
            if token >= most:
                raise ApiError(400, f"tokens: there is no token {token}, ids are 0 to {most - 1}", param="tokens")
        return {"prompt": engine.tokenizer.decode(body.tokens)}

    @router.get("/tokenizer_info", response_model=responses.TokenizerInfo)
    async def tokenizer_info(model: str | None = None) -> dict[str, Any]:
        """What a client must know to prepare token ids itself."""
        found = find_model(model, models)
        special = END_OF_TEXT if found.engine.tokenizer.eos_id is not None else None
        return {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "vocab_size": found.config.vocab_size,
            "model_max_length": found.config.block_size,
            "eos_token": special,
            "bos_token": special,
            "pad_token": special,
        }

    return router


def describe(model: ServedModel) -> dict[str, Any]:
    """A model as OpenAI lists it, and its shape."""
    config = model.config
    return {
        "id": model.id,
        "object": "model",
        "created": model.created,
        "owned_by": "inkhorn",
        "max_model_len": config.block_size,
        "fingerprint": model.fingerprint,
        "meta": {
            "n_layer": config.n_layer,
            "n_head": config.n_head,
            "n_embd": config.n_embd,
            "block_size": config.block_size,
            "n_vocab": config.vocab_size,
            "n_params": config.num_parameters,
            "backend": model.engine.backend.name,
        },
    }
