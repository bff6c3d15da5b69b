"""`Intervention`: a change to one activation while a model runs.

Each field declares its bounds, default and help once; the server's request schema derives its own from here.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from inkhorn.config.bounds import MAX_COUNT, Range, validate
from inkhorn.config.model import Architecture
from inkhorn.errors import UsageError, require

Component = Literal["head", "attn", "mlp", "layer", "resid"]
Action = Literal["zero", "scale", "mean", "patch", "add"]

MAX_INTERVENTIONS = 256
"""Most interventions of a request."""
MAX_VECTOR = 1e6
"""Largest number in a vector: far beyond any activation, and its square is still a float32."""
MAX_VECTOR_LENGTH = 65536
"""Longest vector."""


@dataclass(frozen=True, kw_only=True)
class Intervention:
    """A change to one activation, at every position or, for a patch, at one.

    Without interventions, or with a scale of 1, not a bit of a text changes.
    """

    component: Component
    """head: the output of one attention head; attn, mlp: what attention or the MLP adds to the residual stream;
    layer: both; resid: the residual stream before a layer"""
    layer: Annotated[int, Range(ge=0, le=MAX_COUNT)]
    """the layer, from 0; for resid, the number of layers is the stream after the last one"""
    head: Annotated[int | None, Range(ge=0, le=MAX_COUNT)] = None
    """the head, from 0; for the component head only"""
    action: Action = "zero"
    """zero: switch off; scale: multiply by factor; mean: replace by its mean over a reference text (inkhorn inspect);
    patch: replace by its value at a position of another prompt; add: add factor times a vector"""
    factor: Annotated[float, Range(ge=-1000, le=1000)] = 1.0
    """for scale and add"""
    vector: str | tuple[float, ...] | None = None
    """for add: the name of a steering vector (inkhorn steer), or its numbers"""
    prompt: Annotated[str | None, Range(le=100_000)] = None
    """for patch: the prompt whose activation is used"""
    source_position: Annotated[int, Range(ge=-MAX_COUNT, le=MAX_COUNT)] = -1
    """for patch: the token of that prompt, from 0; -1 is the last one"""
    position: Annotated[int, Range(ge=-MAX_COUNT, le=MAX_COUNT)] = -1
    """for patch: the token of the request's prompt that is changed, from 0; -1 is the last one"""

    def __post_init__(self) -> None:
        validate(self)
        if (self.head is not None) != (self.component == "head"):
            raise UsageError(
                "head: the component head needs the number of the head"
                if self.head is None
                else f"head: the component {self.component} has no heads: use the component head"
            )
        for name, action in (("vector", "add"), ("prompt", "patch")):
            given = getattr(self, name) is not None
            require(given == (self.action == action), f"{name}: needed for the action {action}, and only for it")
        if self.component == "layer":
            allowed = self.action in ("zero", "scale", "mean")
            require(allowed, f"action: a layer cannot be changed by {self.action}: use attn, mlp or resid")
        if self.vector is not None and not isinstance(self.vector, str):
            self._check_vector(self.vector)

    @staticmethod
    def _check_vector(vector: tuple[float, ...]) -> None:
        require(isinstance(vector, tuple), "vector must be a name or a tuple of numbers")
        count = len(vector)
        require(
            0 < count <= MAX_VECTOR_LENGTH, f"vector: it has {count:,} numbers; it needs 1 to {MAX_VECTOR_LENGTH:,}"
        )
        for number in vector:
            valid = isinstance(number, int | float) and -MAX_VECTOR <= number <= MAX_VECTOR
            require(valid, f"vector: its numbers must be between {-MAX_VECTOR:g} and {MAX_VECTOR:g}, not {number!r}")

    def check(self, config: Architecture) -> None:
        """Raise UsageError if the model has no such layer, head or width."""
        layers = config.n_layer + (self.component == "resid")
        message = f"layer: {self.component} has layers 0 to {layers - 1} in this model, not {self.layer}"
        require(self.layer < layers, message)
        heads = config.n_head
        message = f"head: this model has heads 0 to {heads - 1} in each layer, not {self.head}"
        require(self.head is None or self.head < heads, message)
        if isinstance(self.vector, tuple):
            size = self.width(config)
            message = f"vector: it has {len(self.vector):,} numbers; this activation has {size:,}"
            require(len(self.vector) == size, message)

    def width(self, config: Architecture) -> int:
        """How many numbers the activation has at one position."""
        return config.n_embd // config.n_head if self.component == "head" else config.n_embd
