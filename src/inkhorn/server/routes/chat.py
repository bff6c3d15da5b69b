"""`POST /v1/chat/completions`: for clients that know only chat. The messages, joined, are continued like any text."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from inkhorn.inference.outputs import Completion, Piece
from inkhorn.inference.stream import Handle
from inkhorn.server.generation import Job
from inkhorn.server.logprobs import chat_logprobs
from inkhorn.server.metrics import TextMeter
from inkhorn.server.routes.completions import events, head, usage, write_whole
from inkhorn.server.settings import Settings


async def whole(job: Job, settings: Settings, meters: Sequence[TextMeter]) -> dict[str, Any]:
    """The answer to a request without stream."""
    texts = await write_whole(job, settings, meters)
    answer = head(job, "chatcmpl", "chat.completion") | {
        "choices": [_choice(job, i, text) for i, text in enumerate(texts)],
        "usage": usage(job, sum(text.tokens for text in texts)),
    }
    return answer | ({"warnings": job.warnings} if job.warnings else {})


def _choice(job: Job, index: int, text: Completion) -> dict[str, Any]:
    pieces = [Piece("", token, None, odds) for token, odds in zip(text.ids, text.logprobs, strict=False)]
    return {
        "index": index,
        "message": {"role": "assistant", "content": text.text, "refusal": None},
        "logprobs": None if job.logprobs is None else chat_logprobs(job.model, pieces),
        "finish_reason": text.finish_reason,
    }


async def stream(
    job: Job, handles: Sequence[Handle], settings: Settings, meters: Sequence[TextMeter]
) -> AsyncGenerator[bytes, None]:
    """The events of an answer. Closing the iterator gives the texts up."""
    first = head(job, "chatcmpl", "chat.completion.chunk")
    begun = [False] * len(handles)

    def told(number: int, pieces: list[Piece]) -> dict[str, Any]:
        delta: dict[str, Any] = {} if begun[number] else {"role": "assistant"}
        begun[number] = True
        choice = {
            "index": number,
            "delta": delta | {"content": "".join(piece.text for piece in pieces)},
            "logprobs": None if job.logprobs is None else chat_logprobs(job.model, pieces),
            "finish_reason": pieces[-1].finish_reason,
        }
        return first | {"choices": [choice]} | ({"usage": None} if job.include_usage else {})

    async with aclosing(events(job, handles, settings, meters, told, first)) as chunks:
        async for chunk in chunks:
            yield chunk
