"""Validating the interventions of a request."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from anyio.to_thread import run_sync

from inkhorn.config.bounds import field_specs
from inkhorn.config.interventions import Intervention
from inkhorn.errors import UsageError
from inkhorn.inference.edits import Edits
from inkhorn.inference.outputs import Prompt
from inkhorn.server.context import AppContext
from inkhorn.server.errors import ApiError
from inkhorn.server.served_model import ServedModel

if TYPE_CHECKING:
    from inkhorn.server.schemas.requests import InterventionRequest


async def resolve_edits(
    requested: "Sequence[InterventionRequest] | None",
    prompts: Sequence[Prompt],
    model: ServedModel,
    context: AppContext,
) -> list[Edits | None]:
    """The edits for each prompt; empty if nothing is changed. Raises ApiError."""
    if not requested:
        return []
    interventions = parse_interventions(requested)

    def resolve() -> list[Edits | None]:
        return [model.resolver.resolve(interventions, len(prompt.token_ids)) for prompt in prompts]

    # A patch is a forward pass of the NumPy model: these run one at a time, as explanations.
    try:
        return await run_sync(resolve, limiter=context.explain_limiter)
    except UsageError as error:
        raise ApiError(400, str(error), param="interventions") from None


def parse_interventions(requested: "Sequence[InterventionRequest]") -> list[Intervention]:
    """The interventions of a request body. Raises ApiError."""
    found = []
    for index, each in enumerate(requested):
        given = {name: value for name in field_specs(Intervention) if (value := getattr(each, name)) is not None}
        if isinstance(given.get("vector"), list):
            given["vector"] = tuple(map(float, given["vector"]))
        try:
            found.append(Intervention(**given))
        except UsageError as error:
            raise ApiError(400, f"interventions[{index}].{error}", param="interventions") from None
    return found
