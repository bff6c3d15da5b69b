"""Settings of the web page: the sampling parameters with their bounds, and what it says of each model."""

from collections.abc import Mapping
from typing import Any

from inkhorn.config.bounds import json_schema
from inkhorn.config.sampling import OPENAI_RANGES, SamplingParams
from inkhorn.web.facts import PageFacts


def page_settings(models: Mapping[str, PageFacts]) -> dict[str, Any]:
    """The object that the server sends as `GET /api/settings` and an exported site has as `settings` in model.json.

    `sampling` maps each sampling parameter to a JSON Schema: type, minimum, exclusiveMinimum, maximum, enum, default
    and description, of which those that apply are present. `models` has the `PageFacts` of each model by its name.
    """
    facts = {name: model.to_json() for name, model in models.items()}
    return {"sampling": json_schema(SamplingParams, OPENAI_RANGES), "models": facts}
