"""`POST /v1/chat/completions`, for clients that support only chat. The messages are joined and continued as text."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from inkhorn.inference.outputs import Completion, TokenChunk
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.context import Context
from inkhorn.server.errors import error_responses
from inkhorn.server.generation import GenerationJob, envelope, generate
from inkhorn.server.logprobs import chat_logprobs
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import ChatRequest
from inkhorn.server.validation import chat_job

router = APIRouter(tags=["generation"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.post(
    "/v1/chat/completions",
    response_model=responses.ChatCompletion,
    responses=responses.EVENT_STREAM | error_responses(400, 401, 404, 408, 413, 429, 503),
)
async def create_chat_completion(body: ChatRequest, request: Request, context: Context) -> Response:
    """Complete chat messages. The models are not chat-tuned: the messages are concatenated and completed as text."""
    job = await chat_job(body, context)
    return await generate(job, ChatFormat(job), request, context)


class ChatFormat:
    """The output of a job as OpenAI's chat completion objects."""

    def __init__(self, job: GenerationJob) -> None:
        self._job = job
        self._envelope = envelope(job, "chatcmpl", "chat.completion.chunk" if job.stream else "chat.completion")
        self._started = [False] * job.n

    def response(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        choices = [self._choice(index, completion) for index, completion in enumerate(completions)]
        usage = self._job.usage(sum(completion.num_tokens for completion in completions))
        warnings: dict[str, Any] = {"warnings": self._job.warnings} if self._job.warnings else {}
        return self._envelope | {"choices": choices, "usage": usage} | warnings

    def _choice(self, index: int, completion: Completion) -> dict[str, Any]:
        tokens = zip(completion.token_ids, completion.logprobs, strict=False)
        pieces = [TokenChunk("", token, None, logprobs) for token, logprobs in tokens]
        return {
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "logprobs": self._format_logprobs(pieces),
            "finish_reason": completion.finish_reason,
        }

    def chunk(self, index: int, pieces: list[TokenChunk], handle: RequestHandle) -> dict[str, Any]:  # noqa: ARG002
        """An event of a stream."""
        role = {} if self._started[index] else {"role": "assistant"}
        self._started[index] = True
        choice = {
            "index": index,
            "delta": role | {"content": "".join(piece.text for piece in pieces)},
            "logprobs": self._format_logprobs(pieces),
            "finish_reason": pieces[-1].finish_reason,
        }
        usage: dict[str, Any] = {"usage": None} if self._job.include_usage else {}
        return self._envelope | {"choices": [choice]} | usage

    def usage_chunk(self, generated: int) -> dict[str, Any]:
        """The event with the token usage at the end of a stream."""
        return self._envelope | {"choices": [], "usage": self._job.usage(generated)}

    def _format_logprobs(self, pieces: Sequence[TokenChunk]) -> dict[str, Any] | None:
        return None if self._job.logprobs is None else chat_logprobs(self._job.model, pieces)
