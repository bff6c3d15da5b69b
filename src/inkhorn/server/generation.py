"""Running a generation request: from a job to its response."""

import asyncio
import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from itertools import repeat
from typing import Any

from fastapi import Request
from fastapi.responses import JSONResponse, Response, StreamingResponse

from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.edits import Edits
from inkhorn.inference.outputs import Completion, Prompt, RequestOutput
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.context import AppContext
from inkhorn.server.errors import CLIENT_CLOSED_REQUEST, ApiError
from inkhorn.server.metrics import SequenceMeter
from inkhorn.server.served_model import ServedModel
from inkhorn.server.streaming import DONE, cancel_on_disconnect, collect, encode_json, event_stream, sse_event

STREAM_HEADERS = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


@dataclass
class GenerationJob:
    """A validated generation request. The fields named as those of the API have the same meaning."""

    model: ServedModel
    prompts: list[Prompt]
    params: SamplingParams
    n: int
    best_of: int
    logprobs: int | None
    """number of most likely tokens reported for each token; None reports no log probabilities"""
    echo: bool = False
    score_only: bool = False
    """score the prompt and return no generated text (max_tokens 0)"""
    edits: list[Edits | None] = field(default_factory=list)
    """changes to activations, for each prompt; empty if there are none"""
    stream: bool = False
    include_usage: bool = False
    warnings: list[str] = field(default_factory=list)
    """for the client, such as unknown fields"""
    prompt_changes: list[dict[str, Any]] = field(default_factory=list)
    """the prompts that the model cannot read as they were given (`PromptChange`)"""

    def submit(self) -> list[RequestHandle]:
        """Submit all sequences to the engine: those of the first prompt, then those of the next."""
        handles: list[RequestHandle] = []
        try:
            for prompt, edits in zip(self.prompts, self.edits or repeat(None), strict=False):
                for choice in range(self.best_of):
                    score_prompt = self.echo and self.logprobs is not None
                    logprobs = 0 if self.logprobs is None and self.best_of > self.n else self.logprobs
                    handles.append(
                        self.model.engine.submit(
                            prompt, self.params, choice, logprobs=logprobs, prompt_logprobs=score_prompt, edits=edits
                        )
                    )
        except BaseException:
            for handle in handles:
                handle.abort()
            raise
        return handles

    def usage(self, generated: int) -> dict[str, int]:
        """The `usage` object for a number of generated tokens."""
        prompt, completion = self.prompt_tokens, 0 if self.score_only else generated
        return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}

    @property
    def notices(self) -> dict[str, Any]:
        """What the client should know of its request, by the name of the field in a response."""
        notices = {"warnings": self.warnings, "prompt_changes": self.prompt_changes}
        return {name: entries for name, entries in notices.items() if entries}

    @property
    def prompt_tokens(self) -> int:
        return sum(len(prompt.token_ids) for prompt in self.prompts)


class ResponseFormat(ABC):
    """How an endpoint presents a job's output, whole or as the events of a stream (`EventFormat`)."""

    def __init__(self, job: GenerationJob) -> None:
        self.job = job

    @abstractmethod
    def response(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The response that is not streamed."""

    def opening(self) -> bytes:
        return b""

    @abstractmethod
    def event(self, index: int, output: RequestOutput, handle: RequestHandle) -> bytes: ...

    @abstractmethod
    def closing(self, generated: int) -> bytes: ...

    @abstractmethod
    def failure(self, error: ApiError) -> bytes: ...


class ChoicesFormat(ResponseFormat):
    """The objects of completions and chat completions, which have choices. A stream ends with [DONE]."""

    def __init__(self, job: GenerationJob, id_prefix: str, kind: str) -> None:
        super().__init__(job)
        self._started: set[int] = set()
        self._notices = job.notices
        self._envelope = {
            "id": f"{id_prefix}-{secrets.token_hex(12)}",
            "object": kind,
            "created": int(time.time()),
            "model": job.model.id,
            "system_fingerprint": job.model.fingerprint,
        }
        # What all events of a stream have in common is encoded once.
        self._event_start = f'{encode_json(self._envelope)[:-1]},"choices":['
        self._event_end = f"""]{',"usage":null' if job.include_usage else ""}"""

    @abstractmethod
    def choices(self, completions: Sequence[Completion]) -> list[dict[str, Any]]:
        """The choices of a response that is not streamed."""

    @abstractmethod
    def delta(self, index: int, output: RequestOutput, handle: RequestHandle, *, first: bool) -> str:
        """The choice of an event in JSON: new tokens of the sequence with this index."""

    def response(self, completions: Sequence[Completion]) -> dict[str, Any]:
        usage = self.job.usage(sum(completion.num_tokens for completion in completions))
        return self._envelope | {"choices": self.choices(completions), "usage": usage} | self._notices

    def event(self, index: int, output: RequestOutput, handle: RequestHandle) -> bytes:
        choice = self.delta(index, output, handle, first=index not in self._started)
        self._started.add(index)
        end = self._event_end
        if self._notices:  # with the first chunk only
            end += f",{encode_json(self._notices)[1:-1]}"
            self._notices = {}
        return sse_event(f"{self._event_start}{choice}{end}}}")

    def closing(self, generated: int) -> bytes:
        if not self.job.include_usage:
            return DONE
        return sse_event(encode_json(self._envelope | {"choices": [], "usage": self.job.usage(generated)})) + DONE

    def failure(self, error: ApiError) -> bytes:
        return sse_event(encode_json(error.body())) + DONE


async def generate(job: GenerationJob, form: ResponseFormat, request: Request, context: AppContext) -> Response:
    """Run a job and return its response, streamed or not."""
    log_fields: dict[str, Any] = request.state.log_fields
    log_fields |= {"model": job.model.id, "prompt_tokens": job.prompt_tokens}
    if context.settings.log_prompts:
        log_fields["prompts"] = [prompt.text for prompt in job.prompts]
    meters = [SequenceMeter(context.metrics, job.model.id) for _ in range(len(job.prompts) * job.best_of)]

    def generated() -> int:
        return sum(meter.tokens for meter in meters)

    handles = job.submit()
    prompt_sizes = (len(prompt.token_ids) for prompt in job.prompts)
    context.metrics.observe_request(job.model.id, prompt_sizes, job.n, job.params.max_tokens or 0)
    if job.stream:
        events = event_stream(handles, meters, context.settings, form)

        async def logged(events: AsyncGenerator[bytes, None]) -> AsyncIterator[bytes]:
            try:
                async with aclosing(events):
                    async for event in events:
                        yield event
            finally:
                log_fields["completion_tokens"] = generated()

        return StreamingResponse(logged(events), media_type="text/event-stream", headers=STREAM_HEADERS)
    completions = await cancel_on_disconnect(request, collect(handles, meters, context.settings))
    log_fields["completion_tokens"] = generated()
    if completions is None:
        return Response(status_code=CLIENT_CLOSED_REQUEST)
    # In a thread: the log-probabilities of many long prompts would hold up all other requests.
    return await asyncio.to_thread(lambda: JSONResponse(form.response(completions)))
