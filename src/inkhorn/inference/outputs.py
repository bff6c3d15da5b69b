"""The engine's inputs and outputs: a prompt, chunks of generated text, and a completion."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING

from inkhorn.errors import InkhornError
from inkhorn.inference import display
from inkhorn.inference.sampling import TokenLogprobs
from inkhorn.inference.stopping import FinishReason
from inkhorn.tokenizer.normalize import UnknownCharacter

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True)
class Prompt:
    """An encoded prompt.

    Attributes:
        text: the text, after replacement of characters outside the vocabulary.
        token_ids: its tokens, at least one: an empty prompt becomes the beginning-of-text token.
        unknown: the characters that were replaced or dropped.
    """

    text: str
    token_ids: tuple[int, ...]
    unknown: tuple[UnknownCharacter, ...] = ()


@dataclass(frozen=True)
class TokenChunk:
    """One step of a streamed completion.

    Attributes:
        text: new text; empty while characters are held back, because they may belong to a stop string.
        token_id: the sampled token; None if the text ended without one.
        finish_reason: set on the last chunk.
        logprobs: log-probabilities at this token, if requested.
    """

    text: str
    token_id: int | None
    finish_reason: FinishReason | None
    logprobs: TokenLogprobs | None = None


@dataclass(slots=True)
class RequestOutput:
    """What one call of the engine added to a text: the new tokens, and the text that each released.

    `texts` has an entry for each token, and one more if the text ended without a token. `logprobs` is empty if none
    were requested.
    """

    texts: list[str]
    token_ids: list[int]
    finish_reason: FinishReason | None = None
    logprobs: list[TokenLogprobs] = field(default_factory=list)

    @property
    def text(self) -> str:
        """The new text."""
        return "".join(self.texts)

    def chunk(self, index: int) -> TokenChunk:
        """The chunk of one token."""
        return TokenChunk(
            self.texts[index],
            self.token_ids[index] if index < len(self.token_ids) else None,
            self.finish_reason if index == len(self.texts) - 1 else None,
            self.logprobs[index] if index < len(self.logprobs) else None,
        )

    def after(self, index: int) -> "RequestOutput":
        """The rest, without the first `index` tokens."""
        return RequestOutput(self.texts[index:], self.token_ids[index:], self.finish_reason, self.logprobs[index:])


@dataclass(frozen=True)
class Completion:
    """A generated text. A notebook shows it shaded by surprisal if log-probabilities were requested.

    Attributes:
        text: the text after the prompt.
        token_ids: the sampled tokens.
        finish_reason: "stop" (a stop string, stop token or end of sentence) or "length" (a limit was reached).
        logprobs: for each sampled token, if requested.
        prompt_logprobs: for each prompt token, if requested; None for the first token in the context window, which has
            no context, and for those before it.
        texts: the text that each sampled token added; joined, they are `text`. One more if the text ended without a
            token.
    """

    text: str
    token_ids: tuple[int, ...]
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprobs, ...] = ()
    prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()
    texts: tuple[str, ...] = ()

    @property
    def num_tokens(self) -> int:
        """Number of sampled tokens."""
        return len(self.token_ids)

    @classmethod
    def from_outputs(
        cls, outputs: Sequence[RequestOutput], prompt_logprobs: tuple[TokenLogprobs | None, ...] = ()
    ) -> "Completion":
        """Join the outputs of a text.

        Raises:
            InkhornError: the text has no end: its request was aborted.
        """
        finish_reason = outputs[-1].finish_reason if outputs else None
        if finish_reason is None:
            raise InkhornError("the request was aborted")
        texts = tuple(chain.from_iterable(output.texts for output in outputs))
        return cls(
            "".join(texts),
            tuple(chain.from_iterable(output.token_ids for output in outputs)),
            finish_reason,
            tuple(chain.from_iterable(output.logprobs for output in outputs)),
            prompt_logprobs,
            texts,
        )

    def __repr__(self) -> str:
        text = display.shorten(self.text)
        return f"Completion({text}, num_tokens={self.num_tokens}, finish_reason={self.finish_reason!r})"

    def __rich__(self) -> "Text":
        return display.shaded_text(self.texts, self._surprisal_logprobs())

    def _repr_html_(self) -> str:
        return display.shaded_html(self.texts, self._surprisal_logprobs())

    def _surprisal_logprobs(self) -> list[float | None]:
        """For each of `texts`; None without log-probabilities."""
        known: list[float | None] = [each.logprob for each in self.logprobs]
        return known + [None] * (len(self.texts) - len(known))
