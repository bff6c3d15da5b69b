"""Bounds, defaults and help of config fields come from their one declaration."""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inkhorn.config.bounds import Range, field_specs, json_schema, validate
from inkhorn.config.sampling import OPENAI_RANGES, SamplingParams
from inkhorn.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class Config:
    """An example with each kind of field."""

    size: Annotated[int, Range(ge=1)] = 4
    """number of rows"""
    ratio: Annotated[float, Range(gt=0, lt=1)] = 0.5
    """a fraction,
    on two lines"""
    scale: float = 1.0
    limit: Annotated[int | None, Range(ge=0, le=9)] = None
    """maximum"""
    mode: Literal["fast", "exact"] = "fast"
    """how"""
    names: tuple[str, ...] = ()
    weights: Mapping[Annotated[int, Range(ge=0)], Annotated[float, Range(le=1)]] = field(default_factory=dict)
    enabled: bool = False

    def __post_init__(self) -> None:
        validate(self)


@dataclass(frozen=True, kw_only=True)
class Flags(Config):
    """Repeats an annotation, as a class of flags does to add an alias."""

    size: Annotated[int, "alias"] = Config.size


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 0}, "size must be at least 1, not 0"),
        ({"size": True}, "size must be an integer, not True"),
        ({"size": 2.0}, "size must be an integer, not 2.0"),
        ({"ratio": 0}, "ratio must be greater than 0 and less than 1, not 0"),
        ({"ratio": 1.0}, "ratio must be greater than 0 and less than 1, not 1.0"),
        ({"ratio": math.nan}, "ratio must be greater than 0 and less than 1, not nan"),
        ({"scale": math.inf}, "scale must be finite, not inf"),
        ({"scale": None}, "scale must be a number, not None"),
        ({"limit": 10}, "limit must be between 0 and 9, not 10"),
        ({"mode": "slow"}, "mode must be one of fast, exact, not 'slow'"),
        ({"names": "one"}, "names must be a tuple, not 'one'"),
        ({"names": ("one", 2)}, "names[1] must be a string, not 2"),
        ({"weights": 3}, "weights must be a mapping, not 3"),
        ({"weights": {-1: 0.0}}, "weights key must be at least 0, not -1"),
        ({"weights": {7: 1.5}}, "weights[7] must be at most 1, not 1.5"),
        ({"enabled": 1}, "enabled must be true or false, not 1"),
    ],
)
@pytest.mark.parametrize("cls", [Config, Flags])
def test_validate_names_field_value_and_limits(cls: type[Config], changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        cls(**changes)
    assert str(caught.value) == message


@given(st.integers(-3, 3), st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3), st.booleans(), st.booleans())
def test_range_contains(value: int, low: int | None, high: int | None, open_low: bool, open_high: bool) -> None:
    bounds = Range(**{"gt" if open_low else "ge": low, "lt" if open_high else "le": high})
    above = low is None or (value > low if open_low else value >= low)
    below = high is None or (value < high if open_high else value <= high)
    assert (value in bounds) == (above and below)


def test_field_specs() -> None:
    specs = field_specs(Config)
    assert list(specs) == [item.name for item in dataclasses.fields(Config)]
    assert (specs["size"].type, specs["size"].optional, specs["size"].default) == (int, False, 4)
    assert (specs["limit"].type, specs["limit"].optional, specs["limit"].range) == (int, True, Range(ge=0, le=9))
    assert specs["ratio"].help == "a fraction, on two lines"
    assert specs["scale"].help == ""
    assert specs["mode"].type == Literal["fast", "exact"]
    assert field_specs(Flags)["size"].range == Range(ge=1)


def test_json_schema_of_sampling_params() -> None:
    schema = json_schema(SamplingParams, OPENAI_RANGES)
    assert list(schema) == [item.name for item in dataclasses.fields(SamplingParams)]
    assert all(properties["description"] for properties in schema.values())
    temperature = schema["temperature"]
    assert (temperature["type"], temperature["minimum"], temperature["maximum"]) == ("number", 0, 2)
    assert temperature["default"] == SamplingParams.temperature
    assert schema["top_p"]["exclusiveMinimum"] == 0
    assert schema["context_overflow"]["enum"] == ["shift", "recompute", "stop"]
    assert schema["stop_token_ids"]["items"] == {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
    assert schema["logit_bias"]["additionalProperties"] == {"type": "number", "minimum": -100, "maximum": 100}


@dataclass(frozen=True, kw_only=True)
class Sized:
    """Bounds of lengths."""

    names: Annotated[tuple[Annotated[str, Range(le=3)], ...], Range(ge=1, le=2)] = ("a",)
    weights: Annotated[Mapping[int, float], Range(le=1)] = field(default_factory=dict)

    def __post_init__(self) -> None:
        validate(self)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"names": ()}, "names has 0 entries; it must have between 1 and 2"),
        ({"names": ("a",) * 3}, "names has 3 entries"),
        ({"names": ("abcd",)}, r"names\[0\] has 4 characters; it must have at most 3"),
        ({"weights": {1: 1.0, 2: 2.0}}, "weights has 2 entries; it must have at most 1"),
    ],
)
def test_bounds_of_lengths(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Sized(**changes)


def test_json_schema_of_lengths() -> None:
    schema = json_schema(Sized)
    items = {"type": "string", "maxLength": 3}
    assert schema["names"].items() >= {"minItems": 1, "maxItems": 2, "items": items}.items()
    assert schema["weights"]["maxProperties"] == 1


def test_sampling_params_are_bounded() -> None:
    """No number, and no list of token ids, may be so large that the kernel or the engine's thread suffers."""
    unbounded = []
    for spec in field_specs(SamplingParams).values():
        if spec.type in (int, float) or spec.name in ("logit_bias", "stop_token_ids"):
            limits = spec.range.constraints() if spec.range else {}
            unbounded += [] if {"le", "lt"} & limits.keys() else [spec.name]
    assert unbounded == []


@given(st.sampled_from([spec.name for spec in field_specs(SamplingParams).values() if spec.type is int]), st.integers())
def test_integers_beyond_32_bits_are_refused(name: str, value: int) -> None:
    largest = 2**64 - 1 if name == "seed" else 2**31 - 1
    if value > largest:
        with pytest.raises(UsageError, match=f"^{name} must be .*{largest}"):
            SamplingParams(**{name: value})  # type: ignore[arg-type]
