"""The log-probabilities that a model gives to the tokens of texts, many texts at once.

A causal model does not see what stands to the right, so rows of a batch are padded there and come out as if alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from inkhorn.evaluation.loss import LARGEST_ACTIVATION, rows_at_once
from inkhorn.hardware.device import Hardware
from inkhorn.hardware.memory import free_bytes
from inkhorn.model import GPT

_ROUND = 16  # tokens; few different widths are kinder to allocators than one for each length


@dataclass(frozen=True)
class Row:
    """Token ids that fit into one forward pass, at most block_size + 1 of them, of which `ids[first:]` are scored."""

    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class Passage:
    """A text to score, as the rows that score each of its tokens once.

    Attributes:
        rows: in reading order; none if there is nothing to score.
        cut: whether its context was longer than the block and lost its beginning.

    """

    rows: tuple[Row, ...]
    cut: bool = False


@dataclass(frozen=True)
class Score:
    """What a model says of each scored token: its log-probability in nats, and whether it is the likeliest one."""

    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]

    @property
    def total(self) -> float:
        """Log-probability of all of them, in nats."""
        return sum(self.logprobs)


def rolling(ids: Sequence[int], first: int, block_size: int) -> tuple[Row, ...]:
    """The rows that score `ids[first:]`, each with as much before it as the block holds.

    Up to block_size tokens are scored by one row. Further rows begin with the token before the first that they score;
    the last one reaches back as far as it can. This is how lm-eval rolls over a text, and how it cuts a context.

    Args:
        ids: context and text, n in all.
        first: how many of them are context, at least 1.
        block_size: most tokens that the model sees.

    """
    ends = [*range(first + block_size, len(ids), block_size), len(ids)] if first < len(ids) else []
    rows, done = [], first
    for end in ends:
        begin = max(0, end - block_size - 1)
        rows.append(Row(tuple(ids[begin:end]), done - begin))
        done = end
    return tuple(rows)


@torch.no_grad()
def score(model: GPT, passages: Sequence[Passage], hardware: Hardware, batch_size: int = 64) -> list[Score]:
    """Score passages together; each comes out as it would alone, up to the rounding of float32.

    Args:
        model: in eval mode, on the hardware's device.
        passages: rows of like length are best given together.
        hardware: where the model is, and in which precision.
        batch_size: most rows at a time; fewer where memory asks for it.

    """
    rows = [row for passage in passages for row in passage.rows]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i].ids), reverse=True)  # the longest first: it needs most
    largest = max(LARGEST_ACTIVATION, int(free_bytes(hardware.device) / 8)) if hardware.device.type == "cuda" else None
    found: list[Score | None] = [None] * len(rows)
    while order:
        longest = len(rows[order[0]].ids) - 1
        width = min(-(-longest // _ROUND) * _ROUND, model.config.block_size)
        at_once = rows_at_once(replace(model.config, block_size=width), batch_size, largest)
        batch, order = order[:at_once], order[at_once:]
        for i, scored in zip(batch, _forward(model, [rows[i] for i in batch], width, hardware), strict=True):
            found[i] = scored
    scores = iter(found)
    return [_joined([next(scores) for _ in passage.rows]) for passage in passages]


def _forward(model: GPT, rows: list[Row], width: int, hardware: Hardware) -> list[Score]:
    """Score the rows of one batch, of at most width + 1 ids each."""
    padded = torch.zeros(len(rows), width, dtype=torch.long)
    for i, row in enumerate(rows):
        padded[i, : len(row.ids) - 1] = torch.tensor(row.ids[:-1])
    with hardware.autocast():
        logits, _ = model(padded.to(hardware.device))  # (B, width, V)
    scores = []
    for own, row in zip(logits, rows, strict=True):  # one by one: a float32 copy of all logits may not fit
        targets = torch.tensor(row.ids[row.first :], device=own.device)  # (t,)
        odds = own[row.first - 1 : len(row.ids) - 1].float().log_softmax(dim=-1)  # (t, V)
        logprobs = odds.gather(1, targets[:, None])[:, 0]  # (t,)
        greedy = odds.argmax(dim=-1) == targets  # (t,)
        scores.append(Score(tuple(logprobs.tolist()), tuple(greedy.tolist())))
    return scores


def _joined(parts: Sequence[Score | None]) -> Score:
    """The scores of a passage's rows as one."""
    whole = [part for part in parts if part is not None]
    logprobs = tuple(value for part in whole for value in part.logprobs)
    return Score(logprobs, tuple(value for part in whole for value in part.greedy))
