"""`POST /v1/responses`: OpenAI's Responses API for plain text. The input is joined and continued as text."""

import secrets
import time
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from inkhorn.inference.outputs import Completion, RequestOutput
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.context import Context, RequestContext
from inkhorn.server.errors import ApiError
from inkhorn.server.generation import GenerationJob, ResponseFormat, generate
from inkhorn.server.logprobs import chat_logprobs
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT, GENERATION_RESPONSES
from inkhorn.server.schemas import responses_api
from inkhorn.server.schemas.requests import SAMPLING_FIELDS, ChatRequest
from inkhorn.server.schemas.responses_api import LOGPROBS, InputItem, ResponsesRequest
from inkhorn.server.streaming import encode_json, sse_event
from inkhorn.server.unsupported import refuse_unsupported
from inkhorn.server.validation import chat_job, unknown_fields, valid_unicode

router = APIRouter(tags=["generation"], dependencies=API_KEY_AND_RATE_LIMIT)

_TEXT_PARTS = ("input_text", "output_text", "text")


@router.post("/v1/responses", response_model=responses_api.Response, responses=GENERATION_RESPONSES)
async def create_response(body: ResponsesRequest, request: Request, context: Context) -> Response:
    """Continue a text. With `stream`, send the events of OpenAI's Responses API. Responses are not stored."""
    job = await responses_job(body, context)
    return await generate(job, ResponsesFormat(job, body), request, context)


async def responses_job(request: ResponsesRequest, context: RequestContext) -> GenerationJob:
    """Validate a request, as a chat completion with the same text. Raises ApiError."""
    refuse_unsupported(request.model_extra or {})
    if (request.model_extra or {}).get("prompt") is not None:
        message = "prompt: this server has no stored prompts: send the text as input"
        raise ApiError(400, message, param="prompt", code="unsupported_parameter")
    if request.n not in (None, 1):
        raise ApiError(400, "n: a response has one output: send several requests", param="n")
    if request.text is not None and request.text.format not in (None, {"type": "text"}):
        refuse_unsupported({"response_format": request.text.format}, "text.format as ")
    items = [InputItem(content=request.input or "")] if isinstance(request.input, str | None) else request.input
    texts = [request.instructions, *(_text(index, item) for index, item in enumerate(items))]
    wants_logprobs = LOGPROBS in (request.include or ())
    if request.top_logprobs and not wants_logprobs:
        message = f"top_logprobs requires include: [{LOGPROBS!r}]"
        raise ApiError(400, message, param="top_logprobs")
    sampling = {name: getattr(request, name) for name in SAMPLING_FIELDS}
    chat = ChatRequest(
        messages=[{"content": "\n\n".join(filter(None, texts))}],  # type: ignore[list-item]
        model=request.model,
        stream=request.stream,
        max_completion_tokens=request.max_output_tokens,
        logprobs=wants_logprobs,
        top_logprobs=request.top_logprobs if wants_logprobs else None,
        interventions=request.interventions,
        **sampling,
    )
    try:
        job = await chat_job(chat, context)
    except ApiError as error:
        renamed = {"max_completion_tokens": "max_output_tokens", "messages": "input", "prompt": "input"}
        for name, ours in renamed.items():
            if error.param == name:
                error.param, error.message = ours, error.message.replace(name, ours)
        raise
    length, limit = job.prompt_tokens, job.model.config.block_size
    if request.truncation == "disabled" and length > limit:
        message = f"the input has {length:,} tokens, more than the context of {limit:,}; truncation auto continues it"
        raise ApiError(400, message, param="input", code="context_length_exceeded")
    job.warnings[:0] = unknown_fields(request)
    return job


def _text(index: int, item: InputItem) -> str:
    where = f"input[{index}]"
    if item.type != "message":
        message = f"{where}: items of type {item.type[:100]!r} are not supported: these models read text messages only"
        raise ApiError(400, message, param="input")
    if not isinstance(item.content, list):
        return item.content or ""
    texts = []
    for number, part in enumerate(item.content):
        if part.get("type", "text") not in _TEXT_PARTS or not isinstance(part.get("text"), str):
            kind = str(part.get("type"))[:100]
            message = (
                f"{where}.content[{number}]: a part of type {kind!r} is not supported: these models read text only"
            )
            raise ApiError(400, message, param="input")
        texts.append(part["text"])
    return "".join(texts)


class ResponsesFormat(ResponseFormat):
    """OpenAI's response objects, and the events of a stream."""

    def __init__(self, job: GenerationJob, request: ResponsesRequest) -> None:
        super().__init__(job)
        self._item_id = f"msg_{secrets.token_hex(24)}"
        self._place = {"item_id": self._item_id, "output_index": 0, "content_index": 0}
        self._number = 0
        self._text, self._logprobs, self._finish_reason = "", list[dict[str, Any]](), "stop"
        self._response = {
            "id": f"resp_{secrets.token_hex(24)}",
            "object": "response",
            "created_at": int(time.time()),
            "completed_at": None,
            "status": "in_progress",
            "error": None,
            "incomplete_details": None,
            "instructions": request.instructions and valid_unicode(request.instructions),
            "max_output_tokens": job.params.max_tokens,
            "metadata": {valid_unicode(name): valid_unicode(text) for name, text in (request.metadata or {}).items()},
            "model": job.model.id,
            "output": [],
            "parallel_tool_calls": False,
            "previous_response_id": None,
            "store": False,
            "temperature": job.params.temperature,
            "text": {"format": {"type": "text"}},
            "tool_choice": "none",
            "tools": [],
            "top_logprobs": job.logprobs or 0,
            "top_p": job.params.top_p,
            "truncation": request.truncation or "auto",
            "usage": None,
        } | job.notices

    def response(self, completions: Sequence[Completion]) -> dict[str, Any]:
        [completion] = completions
        self._add(completion)
        return self._ended(completion.num_tokens)

    def opening(self) -> bytes:
        return b"".join(
            (
                self._event("response.created", response=self._response),
                self._event("response.in_progress", response=self._response),
                self._event("response.output_item.added", output_index=0, item=self._item("in_progress", [])),
                self._event("response.content_part.added", **self._place, part=self._part("", [])),
            )
        )

    def event(self, index: int, output: RequestOutput, handle: RequestHandle) -> bytes:  # noqa: ARG002
        logprobs = self._add(output)
        if not output.text and not logprobs:
            return b""
        return self._event("response.output_text.delta", **self._place, delta=output.text, logprobs=logprobs)

    def closing(self, generated: int) -> bytes:
        response = self._ended(generated)
        [item] = response["output"]
        done = {"text": self._text, "logprobs": self._logprobs}
        return b"".join(
            (
                self._event("response.output_text.done", **self._place, **done),
                self._event("response.content_part.done", **self._place, part=item["content"][0]),
                self._event("response.output_item.done", output_index=0, item=item),
                self._event(f"response.{response['status']}", response=response),
            )
        )

    def failure(self, error: ApiError) -> bytes:
        problem = {"code": "server_error", "message": error.message}
        item = self._item("incomplete", [self._part(self._text, self._logprobs)])
        failed = self._response | {"status": "failed", "error": problem, "output": [item]}
        return self._event("response.failed", response=failed)

    def _add(self, output: Completion | RequestOutput) -> list[dict[str, Any]]:
        """Add new tokens to the text; returns their log probabilities."""
        logprobs: list[dict[str, Any]] = []
        if self.job.logprobs is not None:
            logprobs = chat_logprobs(self.job.model, output.token_ids, output.logprobs)["content"]
        self._text += output.text
        self._logprobs += logprobs
        self._finish_reason = output.finish_reason or self._finish_reason
        return logprobs

    def _ended(self, generated: int) -> dict[str, Any]:
        cut = self._finish_reason == "length"
        status = "incomplete" if cut else "completed"
        usage = {
            "input_tokens": self.job.prompt_tokens,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": generated,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.job.prompt_tokens + generated,
        }
        return self._response | {
            "status": status,
            "completed_at": None if cut else int(time.time()),
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self._item(status, [self._part(self._text, self._logprobs)])],
            "usage": usage,
        }

    def _item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        return {"id": self._item_id, "type": "message", "role": "assistant", "status": status, "content": content}

    @staticmethod
    def _part(text: str, logprobs: list[dict[str, Any]]) -> dict[str, Any]:
        return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}

    def _event(self, kind: str, **fields: Any) -> bytes:
        data = {"type": kind, "sequence_number": self._number, **fields}
        self._number += 1
        return f"event: {kind}\n".encode() + sse_event(encode_json(data))
