"""The measured effect of a steering vector: what generated texts are like at several strengths."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from inkhorn.config.sampling import SamplingParams
from inkhorn.errors import UsageError
from inkhorn.inference.edits import Edit, Edits, Site
from inkhorn.inference.engine import Engine
from inkhorn.inference.numpy_model import Array
from inkhorn.inference.outputs import Prompt
from inkhorn.inference.scoring import score

SEED = 1
TEMPERATURE = 0.8
NUM_WORDS = 80
"""Words of a generated text."""

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_OPENS_LINE = re.compile(r"""[\s'"‘“(\[-]*""")


@dataclass(frozen=True)
class Effect:
    """What the texts generated with a factor times the vector are like.

    Attributes:
        factor: of the vector.
        verse: share of the lines that begin with a capital letter, among those that continue a paragraph, as lines of
            verse do; None if there is no such line.
        typical: among the words that are typical of one of the two kinds of text, the share of those that are typical
            of the positive one; None without such a word.
        perplexity: per token, of the texts according to the model without the vector: larger if it finds them strange;
            None if the texts are empty.
    """

    factor: float
    verse: float | None
    typical: float | None
    perplexity: float | None

    def to_json(self) -> dict[str, Any]:
        """The fields, rounded to three decimals."""
        return {name: None if x is None else round(x, 3) for name, x in asdict(self).items()}


def measure(
    engine: Engine, layer: int, vector: Array, factors: Sequence[float], words: "TypicalWords", num_samples: int
) -> Iterator[Effect]:
    """The effect of each factor, over `num_samples` texts of 80 words from an empty prompt at temperature 0.8.

    The seed is fixed, so that the texts of all factors are drawn with the same random numbers.
    """
    params = SamplingParams(max_words=NUM_WORDS, max_tokens=20 * NUM_WORDS, temperature=TEMPERATURE, seed=SEED)
    prompt = _start(engine)
    for factor in factors:
        scaled = (vector * np.float32(factor)).astype(np.float32)
        edits = Edits((Edit(Site.RESID, layer, vector=scaled.tobytes()),)) if factor else None
        handles = engine.submit_many(prompt, params, num_samples, edits=[edits])
        texts = [handle.result().text for handle in handles]
        yield Effect(factor, _verse_share(texts), words.share(texts), _perplexity(engine, texts))


def _start(engine: Engine) -> Prompt:
    """An empty prompt, or a line break for a model without a start token."""
    try:
        return engine.encode_prompt("")
    except UsageError:
        return engine.encode_prompt("\n")


def _perplexity(engine: Engine, texts: Sequence[str]) -> float | None:
    total, count = 0.0, 0
    for text in filter(None, texts):
        found = score(engine, text)
        total, count = total + found.total, count + len(found.token_ids) - 1
    return math.exp(-total / count) if count else None


def _verse_share(texts: Sequence[str]) -> float | None:
    lines = [line for text in texts for line in continuing_lines(text)]
    capital = sum(line[_OPENS_LINE.match(line).end() :][:1].isupper() for line in lines)  # type: ignore[union-attr]
    return capital / len(lines) if lines else None


def continuing_lines(text: str) -> list[str]:
    """The lines that continue a paragraph: not its first one, nor the first one below a speaker's name."""
    found, previous = [], ""
    for line in text.split("\n"):
        if line.strip() and previous.strip() and not previous.endswith(":"):
            found.append(line)
        previous = line
    return found


class TypicalWords:
    """The words that are typical of one of two texts: at least three times as frequent there, and not rare.

    Names of speakers, on lines that end with a colon, do not count.
    """

    def __init__(self, positive: str, negative: str, ratio: float = 3.0, least: int = 5) -> None:
        counts = [Counter(_words(text)) for text in (positive, negative)]
        sizes = [sum(count.values()) + 1 for count in counts]

        def typical(of: int) -> frozenset[str]:
            one, other = counts[of], counts[1 - of]
            rate = ratio * sizes[of] / sizes[1 - of]
            return frozenset(word for word, n in one.items() if n >= least and n >= rate * (other[word] + 1))

        self.positive, self.negative = typical(0), typical(1)

    def share(self, texts: Sequence[str]) -> float | None:
        """The share of the positive ones among the typical words of texts; None without any."""
        counts = [0, 0]
        for word in (word for text in texts for word in _words(text)):
            counts[0] += word in self.positive
            counts[1] += word in self.negative
        return counts[0] / sum(counts) if sum(counts) else None


def _words(text: str) -> Iterator[str]:
    for line in text.split("\n"):
        if not line.endswith(":"):
            yield from (word.lower() for word in _WORD.findall(line))
