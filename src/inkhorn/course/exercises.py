"""What the exercise of each chapter is checked for.

A check calls the chapter's code on small inputs, once in the course's own file and once in the learner's. The result of
the first is what is expected of the second, so that the answer is written down once, in the chapter.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from inkhorn.config.model import ModelConfig


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
    4: (
        Check(
            "attention_weights(q, k)",
            lambda chapter: chapter.attention_weights(torch.randn(2, 4, 8), torch.randn(2, 4, 8)),
            "Row t has a weight for each of the tokens 0 to t, and each row must sum to 1",
        ),
        Check(
            "the sums of the rows of attention_weights(q, k)",
            lambda chapter: chapter.attention_weights(torch.randn(3, 5, 2), torch.randn(3, 5, 2)).sum(dim=-1),
            "Each row must sum to 1: mask before softmax, not after, and apply softmax along the last dimension",
        ),
        Check(
            "attention_weights of equal scores",
            lambda chapter: chapter.attention_weights(torch.zeros(1, 4, 2), torch.randn(1, 4, 2)),
            "With equal scores each token averages the tokens so far, as in chapter 3",
        ),
        Check(
            "attention_weights of large queries and keys",
            lambda chapter: chapter.attention_weights(4 * torch.randn(1, 3, 64), torch.randn(1, 3, 64)),
            "Divide the scores by sqrt(hs), and do it before softmax",
        ),
    ),
    5: (
        Check(
            "split_heads(x, 2)",
            lambda chapter: chapter.split_heads(torch.arange(24.0).view(1, 3, 8), 2),
            "Head 0 has the first C / nh numbers of every token. A view as (B, nh, T, hs) mixes up tokens: view as "
            "(B, T, nh, hs) first, then transpose",
        ),
        Check(
            "split_heads(x, 1)",
            lambda chapter: chapter.split_heads(torch.randn(2, 3, 4), 1),
            "A single head has all the numbers",
        ),
        Check(
            "LanguageModel(5)(idx)",
            lambda chapter: chapter.LanguageModel(5)(torch.tensor([[0, 1, 4], [3, 2, 2]])),
            "The shapes fit, but heads and tokens are mixed up",
        ),
    ),
    6: (
        Check(
            "LanguageModel(5)(idx)",
            lambda chapter: chapter.LanguageModel(5)(torch.tensor([[0, 1, 4], [3, 2, 2]])),
            "Add the result of each layer to x, attention first: the MLP must see what attention has added",
        ),
        Check(
            "LanguageModel(5)(idx) if both c_proj are zero",
            lambda chapter: _without_layers(chapter.LanguageModel(5))(torch.tensor([[0, 1, 4]])),
            "If attention and MLP add nothing, x must reach the head as it was: x = x + ..., not x = ...",
        ),
    ),
    7: (
        Check(
            "LayerNorm()(x)",
            lambda chapter: _layer_norm(chapter)(5 + 3 * torch.randn(2, 3, chapter.n_embd)),
            "Each token has a mean and a variance of its own: dim=-1, keepdim=True. The variance is a mean: divide by "
            "C, not by C - 1",
        ),
        Check(
            "the mean of LayerNorm()(x)",
            lambda chapter: chapter.LayerNorm()(7 + torch.randn(1, 2, chapter.n_embd)).mean(dim=-1),
            "Before weight and bias have been trained, each token's numbers have mean 0",
        ),
        Check(
            "LayerNorm()(equal numbers)",
            lambda chapter: chapter.LayerNorm()(torch.ones(1, 1, chapter.n_embd)),
            "Equal numbers have variance 0: add 1e-5 inside the root, so that nothing is divided by 0",
        ),
    ),
    8: (
        Check(
            "GPT(5)(idx)",
            lambda chapter: chapter.GPT(5)(torch.tensor([[0, 1, 4], [3, 2, 2]])),
            "Token and position embeddings, then every block in order, then ln_f, then lm_head",
        ),
        Check(
            "GPT(5)(one token)",
            lambda chapter: chapter.GPT(5)(torch.tensor([[3]])),
            "Position 0 has an embedding, too",
        ),
    ),
    9: (
        Check(
            "rate(step) during warmup",
            lambda chapter: [chapter.rate(step) for step in (1, 10, 25, chapter.warmup_steps)],
            "Step s of the warmup has the rate s / warmup_steps",
        ),
        Check(
            "rate(step) after warmup",
            lambda chapter: [chapter.rate(step) for step in range(chapter.warmup_steps + 1, chapter.steps)],
            "Half a cosine: (1 + cos(pi * progress)) / 2 falls from 1 to 0 while progress rises from 0 to 1",
        ),
        Check(
            "rate(steps)",
            lambda chapter: chapter.rate(chapter.steps),
            "The last step has the rate 0",
        ),
    ),
    10: (
        Check(
            "the logits after tokens one by one",
            lambda chapter: _one_by_one(chapter, [3, 1, 4, 1, 5]),
            "Each new token must see the keys and values of all tokens before it, and its own",
        ),
        Check(
            "the logits after two pieces",
            lambda chapter: _in_pieces(chapter, [[3, 1, 4], [1, 5]]),
            "Cached keys and values come first, and after every call the cache must hold all of them",
        ),
        Check(
            "generate(model, idx, 6)",
            lambda chapter: chapter.generate(_tiny(chapter), torch.tensor([[3, 1]]), 6),
            "The text must be that of generate_slowly",
        ),
    ),
}


def _gradient(loss_of: Callable[[torch.Tensor], torch.Tensor]) -> torch.Tensor:
    """The gradient of a loss of logits (1, 2, 5)."""
    logits = torch.randn(1, 2, 5, requires_grad=True)
    (gradient,) = torch.autograd.grad(loss_of(logits), logits)
    return gradient


def _without_layers(model: Any) -> Any:
    """The model with attention and MLP that add nothing."""
    for layer in (model.attn.c_proj, model.mlp.c_proj):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    return model


def _layer_norm(chapter: Any) -> Any:
    """A layer norm with random weight and bias."""
    norm = chapter.LayerNorm()
    with torch.no_grad():
        norm.weight.normal_()
        norm.bias.normal_()
    return norm


def _tiny(chapter: Any) -> Any:
    """A small random model of chapter 10."""
    return chapter.GPT(ModelConfig(vocab_size=7, block_size=12, n_layer=2, n_head=2, n_embd=8))


def _in_pieces(chapter: Any, pieces: list[list[int]]) -> torch.Tensor:
    """The logits of all tokens, (1, S, V), from one call for each piece."""
    model = _tiny(chapter)
    caches: list[dict[str, torch.Tensor]] = [{} for _ in model.h]
    return torch.cat([model(torch.tensor([piece]), caches) for piece in pieces], dim=1)


def _one_by_one(chapter: Any, ids: list[int]) -> torch.Tensor:
    return _in_pieces(chapter, [[token] for token in ids])
