"""Bounds and help of config fields, declared once where the field is declared.

A field states its bounds in its annotation and its help in the docstring below it:

    @dataclass(frozen=True, kw_only=True)
    class Config:
        top_p: Annotated[float, Range(gt=0, le=1)] = 1.0
        \"\"\"nucleus sampling threshold\"\"\"

        def __post_init__(self) -> None:
            validate(self)

`validate` checks an instance. tyro makes command-line flags of the same fields; `field_specs` and `json_schema` give
them to the server's request schema and to the web page.
"""

import ast
import dataclasses
import inspect
import math
import operator
import textwrap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from inkhorn.errors import UsageError

MAX_COUNT = 2**31 - 1
"""The largest number of anything that is counted: the kernel counts in 32 bits."""


class FieldError(UsageError):
    """A field is outside its limits. The message starts with the field's name."""


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values that a number may take, or the length of a string, tuple or mapping; metadata of `Annotated`."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def __contains__(self, value: float) -> bool:
        return all(getattr(operator, name)(value, bound) for name, bound in self.constraints().items())

    def __str__(self) -> str:
        if self.ge is not None and self.le is not None:
            return f"between {self.ge} and {self.le}"
        words = {"gt": "greater than", "ge": "at least", "lt": "less than", "le": "at most"}
        return " and ".join(f"{words[name]} {bound}" for name, bound in self.constraints().items())

    def requirement(self, value: float) -> str:
        """What a value outside the range must be. A limit that nobody comes near is named only to who exceeds it."""
        if self.ge is not None and self.le == MAX_COUNT:
            return f"at least {self.ge}" if value < self.ge else f"at most {self.le}"
        return str(self)

    def constraints(self) -> dict[str, float]:
        """The bounds that are set, under pydantic's names."""
        return {name: bound for name, bound in vars(self).items() if bound is not None}


@dataclass(frozen=True)
class FieldSpec:
    name: str  # the field's name
    type: Any  # the annotation without its `Annotated` and `None`
    optional: bool  # whether None is allowed
    range: Range | None  # the bounds of a number or of a length; None if there are none
    default: Any  # the default, or `dataclasses.MISSING`
    help: str  # the field's docstring, on one line


def validate(instance: Any) -> None:
    """Check every field of a dataclass instance against its annotation.

    Raises:
        FieldError: names the first field that is wrong, its value and the limits.
    """
    for name, annotation in _split_annotations(instance.__class__).items():
        _check(name, getattr(instance, name), *annotation)


@cache
def field_specs(cls: type) -> Mapping[str, FieldSpec]:
    """The declared fields of a dataclass by name, in order."""
    annotations, docs, specs = _split_annotations(cls), _docstrings(cls), {}
    for field in dataclasses.fields(cls):
        kind, optional, bounds = annotations[field.name]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        specs[field.name] = FieldSpec(field.name, kind, optional, bounds, default, docs.get(field.name, ""))
    return specs


def json_schema(cls: type, ranges: Mapping[str, Range] | None = None) -> dict[str, dict[str, Any]]:
    """The fields as JSON Schema properties: type, bounds, enum, default and description.

    Args:
        ranges: narrower bounds for some fields, by name.
    """
    properties = {}
    for spec in field_specs(cls).values():
        schema = _type_schema(Annotated[spec.type, (ranges or {}).get(spec.name, spec.range)])
        if spec.default is not dataclasses.MISSING:
            schema["default"] = list(spec.default) if isinstance(spec.default, tuple) else spec.default
        properties[spec.name] = schema | {"description": spec.help}
    return properties


_NOUNS = {int: "an integer", float: "a number", bool: "true or false", str: "a string"}
_JSON_TYPES = {int: "integer", float: "number", bool: "boolean", str: "string"}


def _check(name: str, value: Any, kind: Any, optional: bool, bounds: Range | None) -> None:
    if value is None and optional:
        return
    origin, args = get_origin(kind), get_args(kind)
    wanted: object = None
    if kind in _NOUNS:
        if type(value) is not kind and (kind is not float or type(value) is not int):
            wanted = _NOUNS[kind]
        elif kind is float and not math.isfinite(value):
            wanted = bounds or "finite"
        elif bounds is not None and not _is_sized(kind) and value not in bounds:
            wanted = bounds.requirement(value)
    elif origin is Literal and value not in args:
        wanted = f"one of {', '.join(map(str, args))}"
    elif origin is tuple and not isinstance(value, tuple | list):
        wanted = "a tuple"
    elif origin is Mapping and not isinstance(value, Mapping):
        wanted = "a mapping"
    if wanted is not None:
        raise FieldError(f"{name} must be {wanted}, not {value!r}")
    if bounds is not None and _is_sized(kind) and len(value) not in bounds:
        unit = "characters" if kind is str else "entries"
        raise FieldError(f"{name} has {len(value):,} {unit}; it must have {bounds}")
    if origin is tuple:
        for index, item in enumerate(value):
            _check(f"{name}[{index}]", item, *_split(args[0]))
    elif origin is Mapping:
        for key, item in value.items():
            _check(f"{name} key", key, *_split(args[0]))
            _check(f"{name}[{key!r}]", item, *_split(args[1]))
    # A value of another type, such as a nested dataclass, checks itself.


def _is_sized(kind: Any) -> bool:
    return kind is str or get_origin(kind) in (tuple, Mapping)


@cache
def _split(annotation: Any) -> tuple[Any, bool, Range | None]:
    """An annotation as (type, whether None is allowed, bounds)."""
    bounds = None
    while get_origin(annotation) is Annotated:
        bounds = next((item for item in annotation.__metadata__ if isinstance(item, Range)), bounds)
        annotation = annotation.__origin__
    if get_origin(annotation) not in (Union, UnionType):
        return annotation, False, bounds
    kinds = [kind for kind in get_args(annotation) if kind is not NoneType]
    optional = len(kinds) < len(get_args(annotation))
    if len(kinds) > 1:
        return Union[tuple(kinds)], optional, bounds  # noqa: UP007
    kind, _, inner = _split(kinds[0])
    return kind, optional, bounds or inner


@cache
def _split_annotations(cls: type) -> dict[str, tuple[Any, bool, Range | None]]:
    """The fields' annotations, split. An override without bounds keeps the inherited ones."""
    found: dict[str, tuple[Any, bool, Range | None]] = {}
    for base in _dataclasses(cls):
        own = get_type_hints(base, include_extras=True)
        for name in inspect.get_annotations(base):
            kind, optional, bounds = _split(own[name])
            found[name] = kind, optional, bounds or (found[name][2] if name in found else None)
    return {field.name: found[field.name] for field in dataclasses.fields(cls)}


@cache
def _docstrings(cls: type) -> dict[str, str]:
    """The string literals below the fields, which tyro reads as their help."""
    found = {}
    for base in _dataclasses(cls):
        [definition] = ast.parse(textwrap.dedent(inspect.getsource(base))).body
        assert isinstance(definition, ast.ClassDef)
        for field, below in zip(definition.body, definition.body[1:], strict=False):
            match field, below:
                case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                    found[name] = " ".join(text.split())
    return found


def _dataclasses(cls: type) -> Iterable[type]:
    return filter(dataclasses.is_dataclass, reversed(cls.__mro__))


def _type_schema(annotation: Any) -> dict[str, Any]:
    kind, _, bounds = _split(annotation)
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return {"type": "string", "enum": list(args)}
    limits = {} if bounds is None else bounds.constraints()
    if origin is tuple:
        return {"type": "array", "items": _type_schema(args[0])} | _length_schema(limits, "Items")
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _type_schema(args[1])} | _length_schema(limits, "Properties")
    if kind is str:
        return {"type": "string"} | _length_schema(limits, "Length")
    names = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
    return {"type": _JSON_TYPES[kind]} | {names[key]: bound for key, bound in limits.items()}


def _length_schema(limits: Mapping[str, float], noun: str) -> dict[str, Any]:
    return {f"{prefix}{noun}": limits[key] for key, prefix in (("ge", "min"), ("le", "max")) if key in limits}
