"""Edits: interventions in the form that the backends apply, scale * x + vector at some positions."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import IntEnum

import numpy as np

from inkhorn.config.bounds import MAX_COUNT
from inkhorn.inference.numpy_model import Array, Hook, HookPoint


class Site(IntEnum):
    """The activations that an edit can change; the kernel's `ink_site`."""

    HEAD_OUT = 0  # (head_size): the output of one head, before c_proj
    ATTN_OUT = 1  # (n_embd): what attention adds to the residual stream
    MLP_OUT = 2  # (n_embd): what the MLP adds to the residual stream
    RESID = 3  # (n_embd): the residual stream before block `layer`; `n_layer` is after the last block


@dataclass(frozen=True, slots=True)
class Edit:
    """One activation becomes scale * x + vector at the tokens `first` <= position < `end` of the text."""

    site: Site
    layer: int
    head: int = 0  # HEAD_OUT only
    scale: float = 1.0
    vector: bytes | None = None  # float32
    first: int = 0
    end: int = MAX_COUNT

    @property
    def hook_name(self) -> str:
        """The name of the activation (`HookPoint`)."""
        if self.site == Site.RESID:
            return "blocks.0.hook_resid_pre" if self.layer == 0 else f"blocks.{self.layer - 1}.hook_resid_post"
        ends = {Site.HEAD_OUT: "attn.hook_z", Site.ATTN_OUT: "hook_attn_out", Site.MLP_OUT: "hook_mlp_out"}
        return f"blocks.{self.layer}.{ends[self.site]}"


@dataclass(frozen=True, eq=False)
class Edits:
    """The edits of a request, applied in order.

    Attributes:
        key: identifies them: sequences with other edits have other keys and values for the same tokens.
    """

    edits: tuple[Edit, ...]
    key: str = field(init=False)

    def __post_init__(self) -> None:
        digest = hashlib.sha256(repr(self.edits).encode()).hexdigest()
        object.__setattr__(self, "key", digest)

    def __iter__(self) -> Iterator[Edit]:
        return iter(self.edits)

    @property
    def are_local(self) -> bool:
        """Whether some edit concerns some positions only."""
        return any(edit.first > 0 or edit.end < MAX_COUNT for edit in self.edits)

    def shifted(self, start: int) -> tuple[Edit, ...]:
        """The edits for the text without its first `start` tokens."""
        moved = (replace(edit, first=max(edit.first - start, 0), end=edit.end - start) for edit in self.edits)
        return tuple(edit for edit in moved if edit.end > 0) if self.are_local else self.edits

    def hook(self, window_start: int = 0) -> Hook:
        """The edits as a hook of the NumPy model, whose context begins at this token of the text."""
        by_name: dict[str, list[Edit]] = {}
        for edit in self.edits:
            by_name.setdefault(edit.hook_name, []).append(edit)

        def apply(x: Array, point: HookPoint) -> Array | None:
            edits = by_name.get(point.name)
            if edits is None:
                return None
            x, start = x.copy(), window_start + point.position
            for edit in edits:
                rows = slice(max(edit.first - start, 0), max(edit.end - start, 0))
                part = x[rows, edit.head] if edit.site == Site.HEAD_OUT else x[rows]
                part *= np.float32(edit.scale)
                if edit.vector is not None:
                    part += np.frombuffer(edit.vector, np.float32)
            return x

        return apply
