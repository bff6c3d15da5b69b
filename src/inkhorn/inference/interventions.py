"""From interventions, as users give them, to the edits that the backends apply."""

from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path

import numpy as np

from inkhorn.config.interventions import MAX_INTERVENTIONS, Intervention
from inkhorn.config.model import ModelConfig
from inkhorn.errors import UsageError, require
from inkhorn.inference.activation_files import read_means, read_steering
from inkhorn.inference.edits import Edit, Edits, Site
from inkhorn.inference.numpy_model import Array, NumpyModel
from inkhorn.inference.outputs import Prompt
from inkhorn.inference.run import RunResult, run

MAX_PATCH_PROMPTS = 8
"""Most different prompts whose activations a request patches in: each is a forward pass."""

_SITES = {"head": Site.HEAD_OUT, "attn": Site.ATTN_OUT, "mlp": Site.MLP_OUT, "resid": Site.RESID}


class InterventionResolver:
    """Resolves the interventions of requests to one model.

    Args:
        folder: the checkpoint, which may have mean activations and steering vectors.
        encode: encodes the prompt of a patch.
        reference: the NumPy model, which computes the activations of a patch.
    """

    def __init__(
        self,
        folder: Path,
        config: ModelConfig,
        encode: Callable[[str], Prompt],
        reference: Callable[[], NumpyModel],
    ) -> None:
        self._folder, self._config, self._encode, self._reference = folder, config, encode, reference
        self._steering: dict[str, tuple[Array, int]] = {}

    def resolve(self, interventions: Sequence[Intervention], num_prompt_tokens: int) -> Edits | None:
        """The edits for a prompt of so many tokens; None if nothing changes.

        Raises:
            UsageError: the model has no such layer, head or vector, or a position is outside its prompt.
        """
        count = len(interventions)
        require(count <= MAX_INTERVENTIONS, f"interventions: {count:,} are given; the limit is {MAX_INTERVENTIONS}")
        prompts = {each.prompt for each in interventions if each.prompt is not None}
        message = f"interventions: patches from {len(prompts)} prompts are given; the limit is {MAX_PATCH_PROMPTS}"
        require(len(prompts) <= MAX_PATCH_PROMPTS, message)
        edits: list[Edit] = []
        sources: dict[str, RunResult] = {}
        for index, intervention in enumerate(interventions):
            try:
                intervention.check(self._config)
                for site in self._sites(intervention):
                    edit = self._edit(intervention, site, num_prompt_tokens, sources)
                    if edit.scale != 1.0 or edit.vector is not None:
                        edits.append(edit)
            except UsageError as error:
                raise UsageError(f"interventions[{index}].{error}") from None
        return Edits(tuple(edits)) if edits else None

    @staticmethod
    def _sites(intervention: Intervention) -> Sequence[Site]:
        if intervention.component == "layer":
            return Site.ATTN_OUT, Site.MLP_OUT
        return (_SITES[intervention.component],)

    def _edit(self, wanted: Intervention, site: Site, num_prompt_tokens: int, sources: dict[str, RunResult]) -> Edit:
        layer, head = wanted.layer, wanted.head or 0
        edit = Edit(site, layer, head, scale=0.0)
        match wanted.action:
            case "zero":
                return edit
            case "scale":
                return Edit(site, layer, head, scale=wanted.factor)
            case "mean":
                mean = self._means[edit.hook_name]
                return Edit(site, layer, head, 0.0, _pack(mean[head] if site == Site.HEAD_OUT else mean))
            case "add":
                return Edit(site, layer, head, 1.0, _pack(self._vector(wanted) * np.float32(wanted.factor)))
            case "patch":
                position = _position(wanted.position, num_prompt_tokens, "position")
                value = self._activation(wanted, edit.hook_name, sources)
                vector = _pack(value[head] if site == Site.HEAD_OUT else value)
                return Edit(site, layer, head, 0.0, vector, position, position + 1)

    def _vector(self, wanted: Intervention) -> Array:
        if not isinstance(wanted.vector, str):
            return np.array(wanted.vector, np.float32)
        require(wanted.component == "resid", "component: a steering vector is added to the residual stream: use resid")
        if wanted.vector not in self._steering:
            self._steering[wanted.vector] = read_steering(self._folder, wanted.vector)
        vector, layer = self._steering[wanted.vector]
        require(layer == wanted.layer, f"layer: {wanted.vector} belongs to layer {layer}, not {wanted.layer}")
        return vector

    def _activation(self, wanted: Intervention, name: str, sources: dict[str, RunResult]) -> Array:
        """The value of an activation at a token of another prompt, whose run is kept in `sources`."""
        assert wanted.prompt is not None
        token_ids, block_size = self._encode(wanted.prompt).token_ids, self._config.block_size
        source = _position(wanted.source_position, len(token_ids), "source_position")
        start = max(0, len(token_ids) - block_size)  # what the model reads of a longer prompt
        message = f"source_position: token {source} is not among the last {block_size}, which the model reads"
        require(source >= start, message)
        if wanted.prompt not in sources:
            sources[wanted.prompt] = run(self._reference(), token_ids[start:], names=_is_editable)
        value: Array = sources[wanted.prompt][name][source - start]
        return value

    @cached_property
    def _means(self) -> Mapping[str, Array]:
        return read_means(self._folder)


def _position(position: int, length: int, name: str) -> int:
    """A position in a prompt, counted from its start; negative ones count from its end."""
    require(-length <= position < length, f"{name}: the prompt has {length} tokens, so there is no token {position}")
    return position % length


def _pack(values: Array) -> bytes:
    return np.asarray(values, np.float32).tobytes()


def _is_editable(name: str) -> bool:
    return name.endswith(("hook_z", "hook_attn_out", "hook_mlp_out", "hook_resid_pre", "hook_resid_post"))
