"""The app: which path leads where. What is done there is in the rooms beside this one."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response, StreamingResponse
from fastapi.staticfiles import StaticFiles
from starlette.middleware.cors import CORSMiddleware
from starlette.middleware.gzip import GZipMiddleware

import inkhorn
from inkhorn.server.errors import RESPONSES, ApiError, add_handlers
from inkhorn.server.generation import Job, chat_job, completion_job
from inkhorn.server.metrics import Metrics, TextMeter
from inkhorn.server.middleware import Border
from inkhorn.server.model_registry import Models
from inkhorn.server.routes import chat, completions
from inkhorn.server.routes.explain import Looking
from inkhorn.server.routes.models import vocabulary_routes
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import ChatRequest, CompletionRequest, ExplainRequest
from inkhorn.server.settings import Settings
from inkhorn.server.streaming import unless_gone
from inkhorn.web import STATIC_DIR

GONE = 499
"""what the log says where the client has gone away; it gets no answer"""


def create_app(models: Models, settings: Settings | None = None) -> FastAPI:
    """The app for some models, which it leaves open at its end.

    Args:
        models: what is served.
        settings: keys, limits and the rest.

    """
    settings = settings or Settings()
    metrics, looking = Metrics(models), Looking()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        app.state.ready = True
        yield
        looking.close()

    about = "OpenAI's API over Inkhorn's engine. Every error has OpenAI's form."
    app = FastAPI(
        title="Inkhorn",
        version=inkhorn.__version__,
        description=about,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.ready = False
    add_handlers(app)
    app.include_router(_writing_routes(models, settings, metrics))
    app.include_router(vocabulary_routes(models))
    app.include_router(_state_routes(app, models, metrics))

    @app.post("/api/explain", responses=RESPONSES, response_model=None, tags=["inside"])
    async def explain(body: ExplainRequest) -> dict[str, Any]:
        """What goes on inside the model while it reads a text: attention, what each layer would say, the odds."""
        return await looking.explain(body, models, settings)

    if settings.page:

        @app.get("/docs", include_in_schema=False)
        async def docs() -> Response:
            return Response((STATIC_DIR / "docs.html").read_bytes(), media_type="text/html")

        app.mount("/", GZipMiddleware(StaticFiles(directory=STATIC_DIR, html=True)), name="page")
    if settings.cors_origins:
        app.add_middleware(
            CORSMiddleware, allow_origins=settings.cors_origins, allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    app.add_middleware(Border, settings=settings, metrics=metrics)
    return app


def _writing_routes(models: Models, settings: Settings, metrics: Metrics) -> APIRouter:
    router = APIRouter(responses=RESPONSES, tags=["writing"])
    stream_answer: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}}
    }

    def meters(job: Job) -> list[TextMeter]:
        sizes = (len(prompt.ids) for prompt in job.prompts)
        metrics.asked(job.model.id, sizes, job.n, job.params.max_tokens or 0)
        return [TextMeter(metrics, job.model.id) for _ in range(len(job.prompts) * job.candidates)]

    async def answer(job: Job, request: Request, room: Any) -> Response:
        facts: dict[str, Any] = request.scope["inkhorn.facts"]
        facts |= {"model": job.model.id, "prompt_tokens": job.prompt_tokens}
        if settings.log_prompts:
            facts["prompts"] = [prompt.text for prompt in job.prompts]
        counts = meters(job)
        if job.stream:
            handles = job.submit()
            events = room.stream(job, handles, settings, counts)
            headers = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}
            return StreamingResponse(_told(events, facts, counts), media_type="text/event-stream", headers=headers)
        found = await unless_gone(request, room.whole(job, settings, counts))
        facts["completion_tokens"] = sum(count.tokens for count in counts)
        return Response(status_code=GONE) if found is None else JSONResponse(found)

    @router.post("/v1/completions", response_model=responses.Completion, responses=stream_answer)
    async def create_completion(body: CompletionRequest, request: Request) -> Response:
        """Continue a text, or several. With `stream` the answer comes as events, ended by `data: [DONE]`."""
        return await answer(await completion_job(body, models, settings), request, completions)

    @router.post("/v1/chat/completions", response_model=responses.ChatCompletion, responses=stream_answer)
    async def create_chat_completion(body: ChatRequest, request: Request) -> Response:
        """Continue a talk's messages, joined, as a text: for clients that know only chat."""
        return await answer(await chat_job(body, models, settings), request, chat)

    return router


async def _told(
    events: AsyncGenerator[bytes, None], facts: dict[str, Any], counts: list[TextMeter]
) -> AsyncIterator[bytes]:
    """Events on their way out; the log learns how much was written."""
    try:
        async with aclosing(events) as chunks:
            async for chunk in chunks:
                yield chunk
    finally:
        facts["completion_tokens"] = sum(count.tokens for count in counts)


def _state_routes(app: FastAPI, models: Models, metrics: Metrics) -> APIRouter:
    router = APIRouter(tags=["state"])

    @router.get("/health", response_model=responses.Health)
    async def health() -> dict[str, str]:
        """Whether the server lives."""
        return {"status": "ok"}

    @router.get("/health/ready", response_model=responses.Health, responses={503: RESPONSES[503]})
    async def ready() -> dict[str, str]:
        """Whether it takes requests: not while it starts or stops, and not while its queue is full."""
        if not app.state.ready:
            raise ApiError(503, "the server is starting or stopping")
        for model in models.values():
            if model.engine.load[1] >= model.engine.limits.max_queue:
                raise ApiError(503, f"the queue of {model.id} is full", headers={"Retry-After": "1"})
        return {"status": "ok"}

    @router.get("/version", response_model=responses.Version)
    async def version() -> dict[str, str]:
        """Which Inkhorn this is."""
        return {"version": inkhorn.__version__}

    @router.get("/metrics", response_class=Response, responses={401: RESPONSES[401]})
    async def numbers() -> Response:
        """Numbers for Prometheus."""
        return Response(metrics.page(), media_type="text/plain; version=0.0.4; charset=utf-8")

    return router
