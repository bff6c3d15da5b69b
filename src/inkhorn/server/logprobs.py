"""Log probabilities in the formats of OpenAI's completions and chat completions."""

from collections.abc import Sequence
from typing import Any

from inkhorn.inference.outputs import Prompt, TokenChunk
from inkhorn.inference.sampling import TokenLogprobs
from inkhorn.server.model_registry import ServedModel


class LogprobsFormatter:
    """Makes the `logprobs` objects of one sequence, chunk by chunk, with continuous text offsets.

    Args:
        model: the model.
        prompt: the prompt of the sequence.
        top: number of most likely tokens reported for each token; None: no log probabilities.
        echo: the first object includes the prompt's tokens.
    """

    def __init__(self, model: ServedModel, prompt: Prompt, top: int | None, *, echo: bool) -> None:
        self._texts, self._prompt, self._top = model.token_texts, prompt, top
        self._echo_pending = echo and bool(prompt.text)
        self._offset = 0 if echo else len(prompt.text)

    def format(
        self,
        tokens: Sequence[int],
        logprobs: Sequence[TokenLogprobs | None],
        prompt_logprobs: Sequence[TokenLogprobs | None],
    ) -> dict[str, Any] | None:
        """The object of the next tokens of the sequence; None if no log probabilities were requested."""
        if self._top is None:
            return None
        if self._echo_pending:
            tokens, logprobs = (*self._prompt.token_ids, *tokens), (*prompt_logprobs, *logprobs)
        self._echo_pending = False
        texts = [self._texts[token] for token in tokens]
        offsets = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        pairs = list(zip(texts, logprobs, strict=True))
        return {
            "tokens": texts,
            "token_logprobs": [None if entry is None else entry.logprob for entry in logprobs],
            "top_logprobs": [None if entry is None else self._top_logprobs(text, entry) for text, entry in pairs],
            "text_offset": offsets,
        }

    def _top_logprobs(self, text: str, entry: TokenLogprobs) -> dict[str, float]:
        """The most likely tokens by text, and the token itself. Of tokens with the same text the likeliest counts."""
        found: dict[str, float] = {}
        for token, logprob in entry.top[: self._top]:
            found.setdefault(self._texts[token], logprob)
        found.setdefault(text, entry.logprob)
        return found


def chat_logprobs(model: ServedModel, pieces: Sequence[TokenChunk]) -> dict[str, Any]:
    """The `logprobs` object of chat completions for some tokens."""
    texts, token_bytes = model.token_texts, model.engine.tokenizer.token_bytes

    def entry(token: int, logprob: float) -> dict[str, Any]:
        return {"token": texts[token], "logprob": logprob, "bytes": list(token_bytes[token])}

    content = []
    for piece in pieces:
        if piece.token_id is not None and piece.logprobs is not None:
            top = [entry(token, logprob) for token, logprob in piece.logprobs.top]
            content.append(entry(piece.token_id, piece.logprobs.logprob) | {"top_logprobs": top})
    return {"content": content, "refusal": None}
