"""`POST /v1/completions`."""

from collections.abc import Sequence
from itertools import repeat
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import Response

from inkhorn.inference.outputs import Completion, RequestOutput
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.inference.sampling import TokenLogprobs
from inkhorn.server.context import Context
from inkhorn.server.generation import ChoicesFormat, GenerationJob, generate
from inkhorn.server.logprobs import LogprobsFormatter
from inkhorn.server.routes import API_KEY_AND_RATE_LIMIT, GENERATION_RESPONSES
from inkhorn.server.schemas import responses
from inkhorn.server.schemas.requests import CompletionRequest
from inkhorn.server.streaming import encode_json
from inkhorn.server.validation import completion_job

router = APIRouter(tags=["generation"], dependencies=API_KEY_AND_RATE_LIMIT)


@router.post("/v1/completions", response_model=responses.Completion, responses=GENERATION_RESPONSES)
async def create_completion(body: CompletionRequest, request: Request, context: Context) -> Response:
    """Complete one or more prompts. With `stream`, send server-sent events that end with `data: [DONE]`."""
    job = await completion_job(body, context)
    return await generate(job, CompletionFormat(job), request, context)


class CompletionFormat(ChoicesFormat):
    """OpenAI's text completion objects."""

    def __init__(self, job: GenerationJob) -> None:
        super().__init__(job, "cmpl", "text_completion")
        self._logprobs = [
            LogprobsFormatter(job.model, prompt, job.logprobs, echo=job.echo)
            for prompt in job.prompts
            for _ in range(job.n)
        ]

    def choices(self, completions: Sequence[Completion]) -> list[dict[str, Any]]:
        job, choices = self.job, []
        for number in range(len(job.prompts)):
            candidates = list(completions[number * job.best_of : (number + 1) * job.best_of])
            if job.best_of > job.n:
                candidates = sorted(candidates, key=_mean_logprob, reverse=True)[: job.n]
            for index, each in enumerate(candidates, number * job.n):
                tokens = list(zip(each.token_ids, each.logprobs or repeat(None), strict=False))
                choices.append(self._choice(index, each.text, tokens, each.prompt_logprobs, each.finish_reason))
        return choices

    def delta(self, index: int, output: RequestOutput, handle: RequestHandle, *, first: bool) -> str:
        finish_reason = output.finish_reason
        if first or self.job.logprobs is not None or self.job.score_only:
            tokens = list(zip(output.token_ids, output.logprobs or repeat(None), strict=False))
            choice = self._choice(index, output.text, tokens, handle.prompt_logprobs, finish_reason, first=first)
            return encode_json(choice)
        text, reason = encode_json(output.text), "null" if finish_reason is None else f'"{finish_reason}"'
        return f'{{"index":{index},"text":{text},"logprobs":null,"finish_reason":{reason}}}'

    def _choice(
        self,
        index: int,
        text: str,
        tokens: Sequence[tuple[int, TokenLogprobs | None]],
        prompt_logprobs: Sequence[TokenLogprobs | None],
        finish_reason: str | None,
        *,
        first: bool = True,
    ) -> dict[str, Any]:
        job = self.job
        if job.score_only:
            text, tokens, finish_reason = "", (), finish_reason and "length"
        return {
            "index": index,
            "text": job.prompts[index // job.n].text + text if job.echo and first else text,
            "logprobs": self._logprobs[index].format(tokens, prompt_logprobs),
            "finish_reason": finish_reason,
        }


def _mean_logprob(completion: Completion) -> float:
    """The mean log probability of a completion's tokens, by which best_of ranks."""
    return sum(entry.logprob for entry in completion.logprobs) / max(len(completion.logprobs), 1)
