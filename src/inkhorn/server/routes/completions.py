"""`POST /v1/completions`."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from inkhorn.inference.outputs import Completion, TokenChunk
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.server.context import Context
from inkhorn.server.errors import error_responses
from inkhorn.server.generation import GenerationJob, envelope, generate
from inkhorn.server.logprobs import LogprobsFormatter
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import CompletionRequest
from inkhorn.server.validation import completion_job

router = APIRouter(tags=["generation"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.post(
    "/v1/completions",
    response_model=responses.Completion,
    responses=responses.EVENT_STREAM | error_responses(400, 401, 404, 408, 413, 429, 503),
)
async def create_completion(body: CompletionRequest, request: Request, context: Context) -> Response:
    """Complete one or more prompts. With `stream`, send server-sent events that end with `data: [DONE]`."""
    job = await completion_job(body, context)
    return await generate(job, CompletionFormat(job), request, context)


class CompletionFormat:
    """The output of a job as OpenAI's text completion objects."""

    def __init__(self, job: GenerationJob) -> None:
        self._job, self._envelope = job, envelope(job, "cmpl", "text_completion")
        self._logprobs = [
            LogprobsFormatter(job.model, prompt, job.logprobs, echo=job.echo)
            for prompt in job.prompts
            for _ in range(job.n)
        ]
        self._started = [False] * len(self._logprobs)
        self._warnings: dict[str, Any] = {"warnings": job.warnings} if job.warnings else {}

    def response(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The body of a response that is not streamed."""
        job, choices = self._job, []
        for number in range(len(job.prompts)):
            candidates = list(completions[number * job.best_of : (number + 1) * job.best_of])
            if job.best_of > job.n:
                candidates = sorted(candidates, key=_mean_logprob, reverse=True)[: job.n]
            choices += [self._choice(number * job.n + i, completion) for i, completion in enumerate(candidates)]
        usage = job.usage(sum(completion.num_tokens for completion in completions))
        return self._envelope | {"choices": choices, "usage": usage} | self._warnings

    def _choice(self, index: int, completion: Completion) -> dict[str, Any]:
        job, prompt = self._job, self._job.prompts[index // self._job.n]
        tokens, logprobs = ((), ()) if job.score_only else (completion.token_ids, completion.logprobs)
        return {
            "index": index,
            "text": (prompt.text if job.echo else "") + ("" if job.score_only else completion.text),
            "logprobs": self._logprobs[index].format(tokens, logprobs, completion.prompt_logprobs),
            "finish_reason": "length" if job.score_only else completion.finish_reason,
        }

    def chunk(self, index: int, pieces: list[TokenChunk], handle: RequestHandle) -> dict[str, Any]:
        """An event of a stream."""
        job = self._job
        text = "" if job.score_only else "".join(piece.text for piece in pieces)
        if job.echo and not self._started[index]:
            text = job.prompts[index // job.n].text + text
        self._started[index] = True
        generated = [] if job.score_only else [piece for piece in pieces if piece.token_id is not None]
        tokens, logprobs = [piece.token_id or 0 for piece in generated], [piece.logprobs for piece in generated]
        reason = pieces[-1].finish_reason
        choice = {
            "index": index,
            "text": text,
            "logprobs": self._logprobs[index].format(tokens, logprobs, handle.prompt_logprobs),
            "finish_reason": "length" if job.score_only and reason else reason,
        }
        usage: dict[str, Any] = {"usage": None} if job.include_usage else {}
        warnings, self._warnings = self._warnings, {}  # with the first chunk only
        return self._envelope | {"choices": [choice]} | usage | warnings

    def usage_chunk(self, generated: int) -> dict[str, Any]:
        """The event with the token usage at the end of a stream."""
        return self._envelope | {"choices": [], "usage": self._job.usage(generated)}


def _mean_logprob(completion: Completion) -> float:
    """The mean log probability of a completion's tokens, by which best_of ranks."""
    return sum(entry.logprob for entry in completion.logprobs) / max(len(completion.logprobs), 1)
