"""`POST /v1/completions`: a job's texts, whole or as events, in OpenAI's form."""

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Any

from inkhorn.inference.outputs import Completion, Piece, Prompt
from inkhorn.inference.stream import Handle
from inkhorn.server.generation import Job, error_event, event
from inkhorn.server.logprobs import LogprobsWriter
from inkhorn.server.metrics import TextMeter
from inkhorn.server.settings import Settings
from inkhorn.server.streaming import read_together, read_whole, too_long, within

DONE = b"data: [DONE]\n\n"
PING = b": ping\n\n"


def usage(job: Job, written: int) -> dict[str, int]:
    """The tokens of a request."""
    total = job.prompt_tokens + written
    return {"prompt_tokens": job.prompt_tokens, "completion_tokens": written, "total_tokens": total}


def head(job: Job, prefix: str, kind: str) -> dict[str, Any]:
    """What every object of an answer begins with."""
    return {
        "id": f"{prefix}-{secrets.token_hex(12)}",
        "object": kind,
        "created": int(time.time()),
        "model": job.model.id,
        "system_fingerprint": job.model.fingerprint,
    }


async def write_whole(job: Job, settings: Settings, meters: Sequence[TextMeter]) -> list[Completion]:
    """All of a job's texts; ApiError when they take too long."""
    handles = job.submit()
    try:
        return await within(settings.limits.max_seconds, read_whole(handles, settings.gather_seconds, meters))
    except* Exception as errors:
        raise errors.exceptions[0] from None
    finally:
        for handle in handles:
            handle.abort()


async def whole(job: Job, settings: Settings, meters: Sequence[TextMeter]) -> dict[str, Any]:
    """The answer to a request without stream."""
    texts = await write_whole(job, settings, meters)
    choices: list[dict[str, Any]] = []
    for number, prompt in enumerate(job.prompts):
        candidates = texts[number * job.candidates : (number + 1) * job.candidates]
        if job.candidates > job.n:
            candidates = sorted(candidates, key=_likelihood, reverse=True)[: job.n]
        choices += [_choice(job, number * job.n + i, prompt, text) for i, text in enumerate(candidates)]
    written = 0 if job.silent else sum(text.tokens for text in texts)
    answer = head(job, "cmpl", "text_completion") | {"choices": choices, "usage": usage(job, written)}
    return answer | ({"warnings": job.warnings} if job.warnings else {})


def _likelihood(text: Completion) -> float:
    """By which the best of several is told: the mean of its tokens' log-probabilities."""
    return sum(odds.logprob for odds in text.logprobs) / max(len(text.logprobs), 1)


def _choice(job: Job, index: int, prompt: Prompt, text: Completion) -> dict[str, Any]:
    told = TextTeller(job, prompt)
    tokens, odds = ((), ()) if job.silent else (text.ids, text.logprobs)
    return {
        "index": index,
        "text": (prompt.text if job.echo else "") + ("" if job.silent else text.text),
        "logprobs": told.logprobs(tokens, odds, text.prompt_logprobs),
        "finish_reason": "length" if job.silent else text.finish_reason,
    }


class TextTeller:
    """Tells the odds of one text's tokens, piece by piece.

    Args:
        job: of which it is one.
        prompt: that it continues.

    """

    def __init__(self, job: Job, prompt: Prompt) -> None:
        self._job, self._prompt, self._begun = job, prompt, False
        offset = 0 if job.echo else len(prompt.text)
        self._writer = None if job.logprobs is None else LogprobsWriter(job.model, job.logprobs, offset)

    def logprobs(self, tokens: Sequence[int], odds: Sequence[Any], before: Sequence[Any]) -> dict[str, Any] | None:
        """The object for these tokens, after the prompt's own the first time, if the prompt is told; or None."""
        if self._writer is None:
            return None
        if self._job.echo and not self._begun and self._prompt.text:
            tokens, odds = (*self._prompt.ids, *tokens), (*before, *odds)
        self._begun = True
        return self._writer.write(tokens, odds)


async def stream(
    job: Job, handles: Sequence[Handle], settings: Settings, meters: Sequence[TextMeter]
) -> AsyncGenerator[bytes, None]:
    """The events of an answer. Closing the iterator gives the texts up."""
    first = head(job, "cmpl", "text_completion")
    tellers = [TextTeller(job, prompt) for prompt in job.prompts for _ in range(job.n)]
    begun = [False] * len(handles)
    extra: dict[str, Any] = {"warnings": job.warnings} if job.warnings else {}

    def told(number: int, pieces: list[Piece]) -> dict[str, Any]:
        nonlocal extra
        text = "" if job.silent else "".join(piece.text for piece in pieces)
        if job.echo and not begun[number]:
            text = job.prompts[number // job.n].text + text
        begun[number] = True
        drawn = [] if job.silent else [piece for piece in pieces if piece.token is not None]
        tokens, odds = [piece.token or 0 for piece in drawn], [piece.logprobs for piece in drawn]
        reason = pieces[-1].finish_reason
        choice = {
            "index": number,
            "text": text,
            "logprobs": tellers[number].logprobs(tokens, odds, handles[number].prompt_logprobs),
            "finish_reason": "length" if job.silent and reason else reason,
        }
        chunk = first | {"choices": [choice]} | ({"usage": None} if job.include_usage else {}) | extra
        extra = {}
        return chunk

    async with aclosing(events(job, handles, settings, meters, told, first)) as chunks:
        async for chunk in chunks:
            yield chunk


async def events(
    job: Job,
    handles: Sequence[Handle],
    settings: Settings,
    meters: Sequence[TextMeter],
    told: Callable[[int, list[Piece]], dict[str, Any]],
    first: dict[str, Any],
) -> AsyncGenerator[bytes, None]:
    """The events of any stream: one for each batch of pieces, as `told` makes them, then the usage, then the end."""
    deadline = asyncio.get_running_loop().time() + settings.limits.max_seconds
    together = read_together(handles, settings.gather_seconds, meters, settings.ping_seconds)
    try:
        async with aclosing(together) as batches:
            async for batch in batches:
                yield PING if batch is None else event(told(*batch))
                if asyncio.get_running_loop().time() > deadline:
                    raise too_long(settings.limits.max_seconds)
    except Exception as error:
        yield error_event(error)
    else:
        if job.include_usage:
            written = 0 if job.silent else sum(meter.tokens for meter in meters)
            yield event(first | {"choices": [], "usage": usage(job, written)})
    yield DONE
