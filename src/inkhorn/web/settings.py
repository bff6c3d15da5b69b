"""Settings of the web page: the sampling parameters with their bounds, defaults and help."""

from typing import Any

from inkhorn.config.bounds import json_schema
from inkhorn.config.sampling import OPENAI_RANGES, SamplingParams


def page_settings() -> dict[str, Any]:
    """The object that the server sends as `GET /api/settings` and an exported site has as `settings` in model.json.

    `sampling` maps each sampling parameter to a JSON Schema: type, minimum, exclusiveMinimum, maximum, enum, default
    and description, of which those that apply are present.
    """
    return {"sampling": json_schema(SamplingParams, OPENAI_RANGES)}
