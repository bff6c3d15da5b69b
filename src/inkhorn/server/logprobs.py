"""Log probabilities in the formats of OpenAI's completions and chat completions."""

import codecs
from collections.abc import Sequence
from typing import Any

from inkhorn.inference.outputs import Prompt
from inkhorn.inference.sampling import TokenLogprobs
from inkhorn.server.served_model import ServedModel


class LogprobsFormatter:
    """Makes the `logprobs` objects of one sequence, chunk by chunk, with continuous text offsets.

    With `echo`, the first object includes the prompt's tokens. `top` is that of `GenerationJob.logprobs`.
    """

    def __init__(self, model: ServedModel, prompt: Prompt, top: int | None, *, echo: bool) -> None:
        self._texts, self._prompt, self._top = model.token_texts, prompt, top
        self._echo_pending = echo and bool(prompt.text)
        self._offset = 0 if echo else len(prompt.text)
        # Offsets count characters of the text: a token that begins in the middle of a character has the offset of that
        # character.
        self._token_bytes = model.engine.tokenizer.token_bytes
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def format(
        self, tokens: Sequence[tuple[int, TokenLogprobs | None]], prompt_logprobs: Sequence[TokenLogprobs | None]
    ) -> dict[str, Any] | None:
        """The object of the next tokens of the sequence; None if no log probabilities were requested."""
        if self._top is None:
            return None
        if self._echo_pending:
            tokens = [*zip(self._prompt.token_ids, prompt_logprobs, strict=True), *tokens]
        self._echo_pending = False
        found: dict[str, Any] = {"tokens": [], "token_logprobs": [], "top_logprobs": [], "text_offset": []}
        for token, entry in tokens:
            text = self._texts[token]
            found["tokens"].append(text)
            found["token_logprobs"].append(entry and entry.logprob)
            found["top_logprobs"].append(entry and self._top_logprobs(text, entry))
            found["text_offset"].append(self._offset)
            self._offset += len(self._decoder.decode(self._token_bytes[token]))
        return found

    def _top_logprobs(self, text: str, entry: TokenLogprobs) -> dict[str, float]:
        """The most likely tokens by text, and the token itself. Of tokens with the same text the likeliest counts."""
        found: dict[str, float] = {}
        for token, logprob in entry.top[: self._top]:
            found.setdefault(self._texts[token], logprob)
        found.setdefault(text, entry.logprob)
        return found


def chat_logprobs(model: ServedModel, token_ids: Sequence[int], logprobs: Sequence[TokenLogprobs]) -> dict[str, Any]:
    """The `logprobs` object of chat completions for some tokens."""
    texts, token_bytes = model.token_texts, model.engine.tokenizer.token_bytes

    def entry(token: int, logprob: float) -> dict[str, Any]:
        return {"token": texts[token], "logprob": logprob, "bytes": list(token_bytes[token])}

    content = []
    for token_id, of_token in zip(token_ids, logprobs, strict=False):
        top = [entry(token, logprob) for token, logprob in of_token.top]
        content.append(entry(token_id, of_token.logprob) | {"top_logprobs": top})
    return {"content": content, "refusal": None}
