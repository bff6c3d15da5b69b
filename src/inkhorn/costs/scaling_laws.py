"""How large a model, and how much text, for a given amount of computing (Hoffmann et al. 2022, "Chinchilla").

Training a model of N parameters on D tokens takes about 6 N D FLOPs. The same FLOPs buy a large model that sees
little, or a small one that sees much. Two answers to where the best lies between:
  a rule of thumb   20 tokens for each parameter
  a fitted loss     L(N, D) = E + A / N^alpha + B / D^beta, in nats per token: how surprising language itself is,
                    what too small a model adds, and what too little text adds

What they are good for: where to put the next FLOP. What they are not: a forecast of your loss. They were fitted on
web text in a vocabulary of 32,000 pieces, each token seen about once, by models from 70 million to 16 billion
parameters. Another text or vocabulary moves E most of all (characters have a loss of their own), and a text read many
times is worth less than as many tokens read once. And what is best to train is not best to use: a model that will
write much should be smaller, and see more.
"""

from dataclasses import dataclass

from inkhorn.errors import require

TOKENS_PER_PARAMETER = 20
"""the rule of thumb: 20 to 22 throughout Hoffmann et al.'s table 3"""
FITTED = (70_000_000, 16_000_000_000)
"""parameters of the smallest and the largest model that the fits have seen"""


@dataclass(frozen=True)
class Fit:
    """A loss over parameters N and tokens D.

    Attributes:
        name: whose.
        e: nats per token that remain however large both are.
        a: numerator of the parameters' term.
        b: numerator of the tokens' term.
        alpha: exponent of N.
        beta: exponent of D.

    """

    name: str
    e: float
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats per token of a model so large that has seen so many tokens, each about once."""
        require(parameters > 0 and tokens > 0, f"a loss needs parameters and tokens, not {parameters:g} and {tokens:g}")
        return self.e + self.a / parameters**self.alpha + self.b / tokens**self.beta

    def best(self, flops: float) -> tuple[float, float]:
        """(N, D) with 6 N D = flops whose loss is the lowest: where neither could give a FLOP to the other with profit.

        There alpha A / N^alpha = beta B / D^beta, which with D = flops / 6 N gives N in closed form.
        """
        require(flops > 0, f"a budget must be above 0 FLOPs, not {flops:g}")
        balance = (self.alpha * self.a / (self.beta * self.b)) ** (1 / (self.alpha + self.beta))
        parameters = balance * (flops / 6) ** (self.beta / (self.alpha + self.beta))
        return parameters, flops / (6 * parameters)


HOFFMANN = Fit("Hoffmann et al. 2022", e=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28)
"""the paper's own, its equation 10"""
BESIROGLU = Fit("Besiroglu et al. 2024", e=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658)
"""fitted again to the points of the paper's figure 4; it agrees better with the rule of thumb than the paper's fit"""
FITS = (HOFFMANN, BESIROGLU)


def rule_of_thumb(flops: float) -> tuple[float, float]:
    """(N, D) with D = 20 N and 6 N D = flops."""
    require(flops > 0, f"a budget must be above 0 FLOPs, not {flops:g}")
    parameters = (flops / (6 * TOKENS_PER_PARAMETER)) ** 0.5
    return parameters, TOKENS_PER_PARAMETER * parameters
