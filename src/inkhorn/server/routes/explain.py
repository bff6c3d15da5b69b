"""Inspection: what the model computes over a text, and which of its parts matter for the last token."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import CheckpointError, TokenizerError, UsageError
from inkhorn.inference.explain import MAX_POSITIONS
from inkhorn.inference.explain import explain as explain_tokens
from inkhorn.inference.outputs import Prompt
from inkhorn.inspection.attribution import attribution
from inkhorn.inspection.importance import importance
from inkhorn.server.context import AppContext, Context
from inkhorn.server.errors import ApiError, error_responses
from inkhorn.server.interventions import resolve_edits
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import ExplainRequest, ImportanceRequest, SnapshotRequest
from inkhorn.server.served_model import ServedModel
from inkhorn.server.streaming import with_timeout
from inkhorn.server.validation import shorten, unknown_fields
from inkhorn.server.web_ui import atlas_address, shows_atlas

MAX_WAITING = 16
MAX_BYTES_PER_TOKEN = 32
"""bound on the text of a token, to cut a long text before tokenizing it"""

router = APIRouter(tags=["inspection"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.post("/api/explain", responses=error_responses(400, 401, 404, 408, 413, 429), response_model=None)
async def explain(body: ExplainRequest, context: Context) -> dict[str, Any]:
    """Inspect the model on a text: attention weights, logit lens, residual stream and next-token probabilities."""
    model = await context.use_model(body.model)
    prompt = await _encode(body, MAX_POSITIONS, model, context)
    [edits] = await resolve_edits(body.interventions, [prompt], model, context) or [None]
    tokenizer = model.engine.tokenizer

    def run() -> dict[str, Any]:
        return explain_tokens(model.reference, tokenizer, prompt.token_ids, body.layer, edits, body.head).to_json()

    return _answer(body, model, await _run(run, context))


@router.post("/api/importance", responses=error_responses(400, 401, 404, 408, 413, 429), response_model=None)
async def parts(body: ImportanceRequest, context: Context) -> dict[str, Any]:
    """Say which heads and MLPs matter for the last token of a text.

    `effects`: how the log-probability of the token changes if a head, a layer's attention or an MLP is switched off at
    the last 40 tokens. `direct`: the share of each part in the token's logit (direct logit attribution), null for
    a GPT-1.
    """
    model = await context.use_model(body.model)
    prompt = await _encode(body, model.config.block_size + 1, model, context)
    if len(prompt.token_ids) < 2:
        raise ApiError(400, "text: give at least two tokens: the last one is examined", param="text")
    [edits] = await resolve_edits(body.interventions, [prompt], model, context) or [None]

    def run() -> dict[str, Any]:
        effects = importance(model.reference, prompt.token_ids, edits).to_json()
        is_linear = model.config.pre_norm
        direct = attribution(model.reference, prompt.token_ids, edits).to_json() if is_linear else None
        return {"effects": effects, "direct": direct}

    return _answer(body, model, await _run(run, context))


@router.get("/api/atlas", responses=error_responses(401, 404, 429))
async def atlas(context: Context, model: str | None = None) -> responses.Atlas:
    """Get the head atlas: how much every attention head looks at the tokens of each behaviour.

    `page` is the address of the atlas as a page, null if the server does not show it.
    """
    entry = await context.models.find(model)
    page = atlas_address(entry.id) if shows_atlas(context.settings) else None
    return responses.Atlas(model=entry.id, page=page, **(await run_sync(entry.atlas)).summary())


@router.post("/api/snapshot", responses=error_responses(400, 401, 404, 408, 413, 429), response_model=None)
async def snapshot(body: SnapshotRequest, context: Context) -> dict[str, Any]:
    """Show a snapshot of the training run that the model comes from.

    `text`: what it writes after the prompt. `explain`: its activations over the prompt, as those of `/api/explain`.
    """
    model = await context.use_model(body.model)
    params = SamplingParams(seed=body.seed, max_tokens=body.max_tokens)

    def run() -> dict[str, Any]:
        return model.snapshots.look(body.step, body.text, params, body.layer, context.settings.on_unknown)

    try:
        answer = await _run(run, context)
    except CheckpointError as error:
        raise ApiError(500, model.snapshots.public_message(error)) from None
    except UnicodeEncodeError:
        raise ApiError(400, "text: contains a lone surrogate, which is not valid Unicode", param="text") from None
    return _answer(body, model, answer)


async def _encode(
    body: ExplainRequest | ImportanceRequest, max_tokens: int, model: ServedModel, context: AppContext
) -> Prompt:
    """Encode the end of a text, after the start token if the request wants it."""
    engine, end = model.engine, body.text[-max_tokens * MAX_BYTES_PER_TOKEN :]

    def encode() -> Prompt:
        prompt = engine.encode_prompt(end, context.settings.on_unknown)
        if not body.add_special_tokens or not prompt.text:  # an empty prompt is the start token already
            return prompt
        return replace(prompt, token_ids=engine.encode_prompt("").token_ids + prompt.token_ids)

    try:
        return await run_sync(encode)
    except UnicodeEncodeError:
        raise ApiError(400, "text: contains a lone surrogate, which is not valid Unicode", param="text") from None


async def _run(run: Callable[[], dict[str, Any]], context: AppContext) -> dict[str, Any]:
    """Run in a thread, one at a time, beside generation."""
    load = context.explain_limiter.statistics()
    if (waiting := load.borrowed_tokens + load.tasks_waiting) >= MAX_WAITING:
        message = f"{waiting} explain requests are waiting: retry later"
        raise ApiError(429, message, code="queue_full", headers={"Retry-After": "1"})
    thread = run_sync(run, limiter=context.explain_limiter, abandon_on_cancel=True)
    try:
        return await with_timeout(context.settings.limits.max_seconds, thread)
    except (UsageError, TokenizerError) as error:
        raise ApiError(400, str(error)) from None


def _answer(
    body: ExplainRequest | ImportanceRequest | SnapshotRequest, model: ServedModel, answer: dict[str, Any]
) -> dict[str, Any]:
    warnings = shorten(unknown_fields(body))
    return {"model": model.id} | answer | ({"warnings": warnings} if warnings else {})
