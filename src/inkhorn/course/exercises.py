"""What the exercise of each chapter is checked for.

A check calls the chapter's code on small inputs, once in the course's own file and once in the learner's. The result of
the first is what is expected of the second, so that the answer is written down once, in the chapter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Check:
    """One call whose result must be the chapter's.

    Attributes:
        what: the call, as the learner sees it.
        result: makes the call with a chapter's module; random numbers are the same for both files.
        why: what is probably wrong if the result is not the expected one.
    """

    what: str
    result: Callable[[Any], Any]
    why: str


_COUNTS = torch.tensor([[0.0, 3.0, 1.0], [2.0, 0.0, 0.0], [5.0, 4.0, 0.0]])

CHECKS: dict[int, tuple[Check, ...]] = {
    1: (
        Check(
            "probabilities_of(counts)",
            lambda chapter: chapter.probabilities_of(_COUNTS),
            "Each row must sum to 1: dim=1 sums over a row, and keepdim=True keeps the shape (V, 1)",
        ),
        Check(
            "the sums of the rows of probabilities_of(counts)",
            lambda chapter: chapter.probabilities_of(_COUNTS).sum(dim=1),
            "Each row must sum to 1: divide by the sum after 1 was added, not before",
        ),
        Check(
            "probabilities_of(no counts)",
            lambda chapter: chapter.probabilities_of(torch.zeros(4, 4)),
            "Without any counts all tokens are equally probable: add 1 before dividing",
        ),
    ),
    2: (
        Check(
            "cross_entropy of equal logits",
            lambda chapter: chapter.cross_entropy(torch.zeros(1, 2, 4), torch.tensor([[0, 3]])),
            "With 4 equal logits each token has probability 1/4, and the loss is ln 4",
        ),
        Check(
            "cross_entropy(logits, targets)",
            lambda chapter: chapter.cross_entropy(torch.randn(2, 3, 5), torch.tensor([[0, 1, 2], [3, 4, 0]])),
            "The loss is the mean of -ln p of the targets; p is exp(logit) / sum of exp along the last dimension",
        ),
        Check(
            "cross_entropy of logits around 1,000",
            lambda chapter: chapter.cross_entropy(1000 + torch.randn(1, 2, 5), torch.tensor([[4, 2]])),
            "exp(1000) is infinite: subtract the largest logit of each row first",
        ),
        Check(
            "the gradient of cross_entropy",
            lambda chapter: _gradient(lambda logits: chapter.cross_entropy(logits, torch.tensor([[1, 2]]))),
            "The gradient must be (p - 1 for the target, p for the others) / number of tokens",
        ),
    ),
    3: (
        Check(
            "average_weights(4)",
            lambda chapter: chapter.average_weights(4),
            "Row t has 1 / (t + 1) for tokens 0 to t and 0 for later ones: each row must sum to 1",
        ),
        Check(
            "average_weights(1)",
            lambda chapter: chapter.average_weights(1),
            "The first token can only look at itself",
        ),
        Check(
            "LanguageModel(5)(idx)",
            lambda chapter: chapter.LanguageModel(5)(torch.tensor([[0, 1, 4], [3, 2, 2]])),
            "Each token's logits come from the average of the embeddings so far",
        ),
    ),
}


def _gradient(loss_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The gradient of a loss of logits (1, 2, 5)."""
    logits = torch.randn(1, 2, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(logits), logits)
    return gradient
