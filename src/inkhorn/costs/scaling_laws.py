"""Scaling laws: the best model size and amount of text for a compute budget (Hoffmann et al. 2022, "Chinchilla").

Training a model of N parameters on D tokens takes about 6 N D FLOPs. The same budget can train a large model on little
text or a small model on much. Two rules for the optimum:
  rule of thumb     20 tokens per parameter
  fitted loss       L(N, D) = E + A / N^alpha + B / D^beta, in nats per token: the entropy of the text, and what a
                    finite model and finite data add

The laws say how to divide a budget; they do not predict your loss. They were fitted to web text with a vocabulary of
32,000 tokens, one epoch, and models of 70 million to 16 billion parameters. Another text or vocabulary changes E most
of all (character models have quite other losses), and repeated epochs are worth less than new text. A model that will
generate much should be smaller than the training optimum, and be trained for longer.
"""

from dataclasses import dataclass

from inkhorn.errors import require

TOKENS_PER_PARAMETER = 20  # the rule of thumb: 20 to 22 throughout Hoffmann et al.'s table 3
FITTED = (70_000_000, 16_000_000_000)  # number of parameters of the smallest and the largest fitted model


@dataclass(frozen=True)
class Fit:
    """A fitted loss L(N, D) = e + a / N^alpha + b / D^beta."""

    name: str  # its source
    e: float  # irreducible loss in nats per token
    a: float  # coefficient of the term in parameters N
    b: float  # coefficient of the term in tokens D
    alpha: float  # exponent of N
    beta: float  # exponent of D

    def loss(self, parameters: float, tokens: float) -> float:
        """Loss in nats per token of a model of this size after this many different tokens."""
        require(parameters > 0 and tokens > 0, f"a loss needs parameters and tokens, not {parameters:g} and {tokens:g}")
        return self.e + self.a / parameters**self.alpha + self.b / tokens**self.beta

    def best(self, flops: float) -> tuple[float, float]:
        """The (N, D) with 6 N D = flops and the lowest loss.

        At the optimum alpha A / N^alpha = beta B / D^beta, which with D = flops / 6 N gives N in closed form.
        """
        require(flops > 0, f"a budget must be above 0 FLOPs, not {flops:g}")
        balance = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        parameters = balance * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return parameters, flops / (6 * parameters)


HOFFMANN = Fit("Hoffmann et al. 2022", e=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28)
"""the paper's own, its equation 10"""
BESIROGLU = Fit("Besiroglu et al. 2024", e=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658)
"""a new fit to the data of the paper's figure 4, closer to the rule of thumb than the paper's own"""
FITS = (HOFFMANN, BESIROGLU)


def rule_of_thumb(flops: float) -> tuple[float, float]:
    """(N, D) with D = 20 N and 6 N D = flops."""
    require(flops > 0, f"a budget must be above 0 FLOPs, not {flops:g}")
    parameters = (flops / (6 * TOKENS_PER_PARAMETER)) ** 0.5
    return parameters, TOKENS_PER_PARAMETER * parameters
