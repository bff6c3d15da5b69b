"""Types of request fields, and request fields made from the declarations of config dataclasses."""

import re
from collections.abc import Mapping
from dataclasses import MISSING
from types import NoneType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    WithJsonSchema,
)
from pydantic_core import PydanticCustomError

from inkhorn.config.bounds import MAX_COUNT, FieldSpec, Range
from inkhorn.config.interventions import MAX_VECTOR, MAX_VECTOR_LENGTH
from inkhorn.config.sampling import OPENAI_RANGES

MAX_ENTRIES = 10_000
"""Most messages, parts of a message, and prompts of a request."""
MAX_STOP_STRINGS = 64
"""Most stop strings; OpenAI allows 4, lm-eval sends more."""
MAX_NAME = 256
"""Longest name of a model, in characters."""


def integral(value: object) -> object:
    """2.0 is an integer, as in JSON Schema."""
    return int(value) if type(value) is float and value.is_integer() else value


def _integers(values: object) -> object:
    if isinstance(values, list) and float in set(map(type, values)):
        return [integral(value) for value in values]
    return values


TokenId = Annotated[StrictInt, Field(ge=0, le=MAX_COUNT)]
ModelName = Annotated[StrictStr, Field(max_length=MAX_NAME)]
TokenIds = Annotated[
    list[TokenId],
    Field(max_length=2**21, fail_fast=True),  # more do not fit the default limit of a body
    BeforeValidator(_integers),  # last, so that a list that is too long is refused before its items are checked
]


def _token_id_key(value: str) -> str:
    if not re.fullmatch(_TOKEN_ID, value):
        raise PydanticCustomError("token_id", "invalid token id {value}", {"value": repr(value[:MAX_NAME])})
    return value


_TOKEN_ID = "[0-9]{1,10}"
TokenIdKey = Annotated[
    str, AfterValidator(_token_id_key), WithJsonSchema({"type": "string", "pattern": f"^{_TOKEN_ID}$"})
]
Stop = StrictStr | Annotated[list[StrictStr], Field(max_length=MAX_STOP_STRINGS, fail_fast=True)]
Number = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Vector = (
    Annotated[StrictStr, Field(max_length=MAX_NAME)]
    | Annotated[
        list[Annotated[Number, Field(ge=-MAX_VECTOR, le=MAX_VECTOR)]],
        Field(min_length=1, max_length=MAX_VECTOR_LENGTH, fail_fast=True),
    ]
)

_RANGES = OPENAI_RANGES | {
    "top_k": Range(ge=-1, le=MAX_COUNT),  # vLLM's -1 for no limit
    "top_p": Range(ge=0, le=1),  # 0 is greedy, as in other servers
    "seed": Range(ge=-(2**63), le=2**64 - 1),  # -1 for a random seed, and signed seeds
}
"""Bounds of the API that differ from those of SamplingParams."""
_DEFAULTS = {"temperature": 1.0}
"""Defaults of the API that differ from those of SamplingParams."""
_TYPES: dict[Any, Any] = {int: StrictInt, float: Number, bool: StrictBool, str: StrictStr}


def request_type(spec: FieldSpec) -> Any:
    """The type of a sampling parameter in JSON; null means the default."""
    if spec.name == "stop":
        return Stop | None
    kind = spec.type
    if spec.name == "vector":
        return Vector | None
    if get_origin(kind) is tuple:
        return (
            Annotated[list[TokenId], Field(max_length=_max_length(spec), fail_fast=True), BeforeValidator(_integers)]
            | None
        )
    if isinstance(origin := get_origin(kind), type) and issubclass(origin, Mapping):
        bias: Range = get_args(get_args(kind)[1])[1]
        biases = dict[TokenIdKey, Annotated[Number, Field(**bias.constraints())]]
        return Annotated[biases, Field(max_length=_max_length(spec))] | None
    if kind is str:
        return Annotated[StrictStr, Field(max_length=_max_length(spec))] | None
    number = _TYPES.get(kind, kind)
    bounds = _RANGES.get(spec.name, spec.range)
    if kind in (int, float) and bounds is not None:
        limits: dict[str, Any] = {**bounds.constraints()}
        number = Annotated[number, Field(**limits)]
    return (Annotated[number, BeforeValidator(integral)] if kind is int else number) | None


def _max_length(spec: FieldSpec) -> int:
    assert spec.range is not None
    return int(spec.range.constraints()["le"])


def request_field(spec: FieldSpec) -> tuple[Any, Any]:
    default = _DEFAULTS.get(spec.name, spec.default)
    if default is MISSING:
        kinds = [kind for kind in get_args(request_type(spec)) if kind is not NoneType]
        return Union[tuple(kinds)], Field(description=spec.help)  # noqa: UP007
    simple = not isinstance(default, tuple | Mapping)
    return request_type(spec), Field(default if simple else None, description=spec.help)


class Body(BaseModel):
    """A request body, or an object in one. Unknown fields are ignored, and reported as warnings."""

    model_config = ConfigDict(extra="allow")
