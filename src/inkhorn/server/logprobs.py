"""The odds of tokens in OpenAI's two forms, that of completions and that of chat."""

from collections.abc import Sequence
from typing import Any

from inkhorn.inference.backends.base import TokenLogprobs
from inkhorn.inference.outputs import Piece
from inkhorn.server.model_registry import ServedModel


class LogprobsWriter:
    """Makes the object `logprobs` of a text, piece by piece: its offsets go on where they ended.

    Args:
        model: whose tokens.
        top: how many of the likeliest are told.
        offset: where the text begins, in characters from the prompt's first.

    """

    def __init__(self, model: ServedModel, top: int, offset: int) -> None:
        self._texts, self._top, self._offset = model.token_texts, top, offset

    def write(self, tokens: Sequence[int], odds: Sequence[TokenLogprobs | None]) -> dict[str, list[Any]]:
        """The object for some tokens: None stands where nothing came before a token."""
        texts = [self._texts[token] for token in tokens]
        offsets = []
        for text in texts:
            offsets.append(self._offset)
            self._offset += len(text)
        return {
            "tokens": texts,
            "token_logprobs": [None if o is None else o.logprob for o in odds],
            "top_logprobs": [
                None if o is None else self._likeliest(text, o) for text, o in zip(texts, odds, strict=True)
            ],
            "text_offset": offsets,
        }

    def _likeliest(self, text: str, odds: TokenLogprobs) -> dict[str, float]:
        """The likeliest by their texts, and the token itself. Of two tokens with one text the likelier is told."""
        found: dict[str, float] = {}
        for token, logprob in odds.top[: self._top]:
            found.setdefault(self._texts[token], logprob)
        found.setdefault(text, odds.logprob)
        return found


def chat_logprobs(model: ServedModel, pieces: Sequence[Piece]) -> dict[str, Any]:
    """The odds of a message's tokens."""
    texts, raw = model.token_texts, model.engine.tokenizer.token_bytes

    def told(token: int, logprob: float) -> dict[str, Any]:
        return {"token": texts[token], "logprob": logprob, "bytes": list(raw[token])}

    content = []
    for piece in pieces:
        if piece.token is not None and piece.logprobs is not None:
            likeliest = [told(token, logprob) for token, logprob in piece.logprobs.top]
            content.append(told(piece.token, piece.logprobs.logprob) | {"top_logprobs": likeliest})
    return {"content": content, "refusal": None}
