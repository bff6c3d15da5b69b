"""Log-probabilities of the tokens of many texts at once.

Rows of a batch are padded on the right. A causal model does not see what follows a token, so each row gives the
same log-probabilities as alone.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from inkhorn.evaluation.loss import MAX_ACTIVATION_BYTES, max_rows
from inkhorn.hardware.device import Hardware
from inkhorn.hardware.memory import free_bytes
from inkhorn.model import GPT

_WIDTH_MULTIPLE = 16  # tokens: few distinct widths help the allocator


@dataclass(frozen=True)
class Window:
    """Token ids for one forward pass, at most block_size + 1 of them, of which `ids[first:]` are scored."""

    ids: tuple[int, ...]
    first: int


@dataclass(frozen=True)
class TokenScores:
    """Of each scored token: its log-probability in nats, and whether it is the most probable one."""

    logprobs: tuple[float, ...]
    greedy: tuple[bool, ...]

    @property
    def total(self) -> float:
        """Log-probability of all scored tokens, in nats."""
        return sum(self.logprobs)


def rolling_windows(ids: Sequence[int], first: int, block_size: int) -> tuple[Window, ...]:
    """Windows that score each of `ids[first:]` once, with as much context as block_size allows.

    One window scores up to block_size tokens. Further windows start at the token before the first one that they
    score; the last window reaches back as far as it can. lm-eval rolls over texts and truncates contexts this way.

    Args:
        ids: (n,) context and text.
        first: number of context tokens, at least 1.
        block_size: context length of the model.
    """
    ends = [*range(first + block_size, len(ids), block_size), len(ids)] if first < len(ids) else []
    windows, scored = [], first
    for end in ends:
        start = max(0, end - block_size - 1)
        windows.append(Window(tuple(ids[start:end]), scored - start))
        scored = end
    return tuple(windows)


@torch.no_grad()
def score_windows(
    model: GPT,
    windows: Sequence[Window],
    hardware: Hardware,
    batch_size: int = 64,
    progress: Callable[[int], None] = lambda _: None,
) -> list[TokenScores]:
    """Score windows in batches of similar length; each gives the same result as alone up to float32 rounding.

    Args:
        model: in eval mode, on the hardware's device.
        windows: in any order; results come in the same order.
        batch_size: most rows at a time; fewer where memory requires it.
        progress: called with the number of windows scored since the last call.
    """
    order = sorted(range(len(windows)), key=lambda i: len(windows[i].ids), reverse=True)  # most memory first
    limit = MAX_ACTIVATION_BYTES
    if hardware.device.type == "cuda":
        limit = max(limit, int(free_bytes(hardware.device) / 8))
    scores: list[TokenScores | None] = [None] * len(windows)
    while order:
        longest = len(windows[order[0]].ids) - 1
        width = min(-(-longest // _WIDTH_MULTIPLE) * _WIDTH_MULTIPLE, model.config.block_size)
        rows = max_rows(replace(model.config, block_size=width), batch_size, limit)
        batch, order = order[:rows], order[rows:]
        for i, scored in zip(batch, _forward(model, [windows[i] for i in batch], width, hardware), strict=True):
            scores[i] = scored
        progress(len(batch))
    return [scored for scored in scores if scored is not None]


def _forward(model: GPT, windows: list[Window], width: int, hardware: Hardware) -> list[TokenScores]:
    """Score one batch of windows of at most width + 1 ids each."""
    padded = torch.zeros(len(windows), width, dtype=torch.long)  # (B, width)
    for i, window in enumerate(windows):
        padded[i, : len(window.ids) - 1] = torch.tensor(window.ids[:-1])
    with hardware.autocast():
        logits, _ = model(padded.to(hardware.device))  # (B, width, V)
    scores = []
    for row, window in zip(logits, windows, strict=True):  # one by one: a float32 copy of all logits may not fit
        targets = torch.tensor(window.ids[window.first :], device=row.device)  # (t,)
        logprobs = row[window.first - 1 : len(window.ids) - 1].float().log_softmax(dim=-1)  # (t, V)
        greedy = logprobs.argmax(dim=-1) == targets  # (t,)
        target_logprobs = logprobs.gather(1, targets[:, None])[:, 0]  # (t,)
        scores.append(TokenScores(tuple(target_logprobs.tolist()), tuple(greedy.tolist())))
    return scores


def join_scores(parts: Sequence[TokenScores]) -> TokenScores:
    """The scores of consecutive windows as one."""
    return TokenScores(
        tuple(value for part in parts for value in part.logprobs), tuple(flag for part in parts for flag in part.greedy)
    )
