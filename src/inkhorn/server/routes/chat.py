"""`POST /v1/chat/completions`, for clients that support only chat. The messages are joined and continued as text."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from inkhorn.inference.outputs import Completion, RequestOutput
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.context import Context
from inkhorn.server.generation import ChoicesFormat, GenerationJob, generate
from inkhorn.server.logprobs import chat_logprobs
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT, GENERATION_RESPONSES
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import ChatRequest
from inkhorn.server.streaming import encode_json
from inkhorn.server.validation import chat_job

router = APIRouter(tags=["generation"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.post("/v1/chat/completions", response_model=responses.ChatCompletion, responses=GENERATION_RESPONSES)
async def create_chat_completion(body: ChatRequest, request: Request, context: Context) -> Response:
    """Complete chat messages. The models are not chat-tuned: the messages are concatenated and completed as text."""
    job = await chat_job(body, context)
    return await generate(job, ChatFormat(job), request, context)


class ChatFormat(ChoicesFormat):
    """OpenAI's chat completion objects."""

    def __init__(self, job: GenerationJob) -> None:
        super().__init__(job, "chatcmpl", "chat.completion.chunk" if job.stream else "chat.completion")

    def choices(self, completions: Sequence[Completion]) -> list[dict[str, Any]]:
        return [self._choice(index, completion) for index, completion in enumerate(completions)]

    def _choice(self, index: int, completion: Completion) -> dict[str, Any]:
        return {
            "index": index,
            "message": {"role": "assistant", "content": completion.text, "refusal": None},
            "logprobs": self._logprobs(completion),
            "finish_reason": completion.finish_reason,
        }

    def delta(self, index: int, output: RequestOutput, handle: RequestHandle, *, first: bool) -> str:  # noqa: ARG002
        role = '"role":"assistant",' if first else ""
        logprobs = "null" if self.job.logprobs is None else encode_json(self._logprobs(output))
        finish_reason = "null" if output.finish_reason is None else f'"{output.finish_reason}"'
        return (
            f'{{"index":{index},"delta":{{{role}"content":{encode_json(output.text)}}},'
            f'"logprobs":{logprobs},"finish_reason":{finish_reason}}}'
        )

    def _logprobs(self, output: Completion | RequestOutput) -> dict[str, Any] | None:
        return None if self.job.logprobs is None else chat_logprobs(self.job.model, output.token_ids, output.logprobs)
