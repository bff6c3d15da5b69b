"""Log-probabilities of a given text, computed by the engine."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import require
from inkhorn.inference import display
from inkhorn.inference.engine import Engine
from inkhorn.inference.outputs import Prompt

if TYPE_CHECKING:
    from rich.text import Text


@dataclass(frozen=True)
class Score:
    """Log-probabilities (natural logarithm) of a text's tokens. A notebook shows the text shaded by surprisal.

    Attributes:
        tokens: the text of each token.
        token_ids: their ids.
        logprobs: log p(token | those before it); None for the first token.
    """

    tokens: tuple[str, ...]
    token_ids: tuple[int, ...]
    logprobs: tuple[float | None, ...]

    @property
    def total(self) -> float:
        """Log-probability of the text after its first token."""
        return sum(logprob for logprob in self.logprobs if logprob is not None)

    def __repr__(self) -> str:
        text = display.shorten("".join(self.tokens))
        return f"Score({text}, num_tokens={len(self.tokens)}, total={self.total:.2f})"

    def __rich__(self) -> "Text":
        return display.shaded_text(self.tokens, self.logprobs)

    def _repr_html_(self) -> str:
        return display.shaded_html(self.tokens, self.logprobs)


def score(engine: Engine, text: str) -> Score:
    """Score a text of any length, in windows of block_size tokens that overlap by half; see `Model.score`."""
    require(text != "", "there is nothing to score: the text is empty")
    prompt = engine.encode_prompt(text)
    token_ids, block_size = prompt.token_ids, engine.config.block_size
    require(block_size > 1, "a model with a block size of 1 cannot score a text")
    stride = block_size // 2
    params = SamplingParams(max_tokens=1, temperature=0)
    logprobs: list[float | None] = [None]
    # A window of block_size tokens scores all but its first; the next one starts a stride later.
    for start in range(0, max(1, len(token_ids) - block_size + stride), stride):
        window = Prompt("", token_ids[start : start + block_size])
        scores = engine.submit(window, params, prompt_logprobs=True).result().prompt_logprobs
        logprobs += [each.logprob for each in scores[len(logprobs) - start :] if each is not None]
    tokens = tuple(engine.tokenizer.token_bytes[i].decode("utf-8", "replace") for i in token_ids)
    return Score(tokens, token_ids, tuple(logprobs))
