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
import textwrap
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from inkhorn.errors import UsageError, require


@dataclass(frozen=True, kw_only=True)
class Range:
    """The values a number may take; metadata of an `Annotated` field."""

    gt: float | None = None
    ge: float | None = None
    lt: float | None = None
    le: float | None = None

    def __contains__(self, value: float) -> bool:
        return (
            (self.gt is None or value > self.gt)
            and (self.ge is None or value >= self.ge)
            and (self.lt is None or value < self.lt)
            and (self.le is None or value <= self.le)
        )

    def __str__(self) -> str:
        if self.ge is not None and self.le is not None:
            return f"between {self.ge} and {self.le}"
        words = {"greater than": self.gt, "at least": self.ge, "less than": self.lt, "at most": self.le}
        return " and ".join(f"{word} {bound}" for word, bound in words.items() if bound is not None)

    def constraints(self) -> dict[str, float]:
        """The bounds that are set, under pydantic's names."""
        return {name: bound for name, bound in dataclasses.asdict(self).items() if bound is not None}


@dataclass(frozen=True, kw_only=True)
class FieldSpec:
    """One declared field.

    Attributes:
        name: the field's name.
        type: the annotation without its `Annotated` and `None`.
        optional: whether None is allowed.
        range: the bounds of a number; None if it has none.
        default: the default, or `dataclasses.MISSING`.
        help: the field's docstring, on one line.
    """

    name: str
    type: Any
    optional: bool
    range: Range | None
    default: Any
    help: str


def validate(instance: Any) -> None:
    """Check every field of a dataclass instance against its annotation.

    Raises:
        UsageError: names the first field that is wrong, its value and the limits.
    """
    for name, check in _checks(instance.__class__):
        check(name, getattr(instance, name))


@cache
def field_specs(cls: type) -> Mapping[str, FieldSpec]:
    """The declared fields of a dataclass by name, in order."""
    annotations, docs, specs = _split_annotations(cls), _docstrings(cls), {}
    for field in dataclasses.fields(cls):
        kind, optional, bounds = annotations[field.name]
        default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
        specs[field.name] = FieldSpec(
            name=field.name,
            type=kind,
            optional=optional,
            range=bounds,
            default=default,
            help=docs.get(field.name, ""),
        )
    return specs


def json_schema(cls: type, ranges: Mapping[str, Range] | None = None) -> dict[str, dict[str, Any]]:
    """The fields as JSON Schema properties: type, bounds, enum, default and description.

    Args:
        cls: the dataclass.
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


Check = Callable[[str, Any], None]
"""Raises UsageError for a value, whose name is given for the message, that is not allowed."""


@cache
def _checks(cls: type) -> tuple[tuple[str, Check], ...]:
    """The fields of a dataclass with their checks, made once because requests are validated in the serving path."""
    return tuple((name, _check_of(*annotation)) for name, annotation in _split_annotations(cls).items())


def _check_of(kind: Any, optional: bool, bounds: Range | None) -> Check:
    check = _check_of_type(kind, bounds)
    return (lambda name, value: None if value is None else check(name, value)) if optional else check


def _check_of_type(kind: Any, bounds: Range | None) -> Check:
    origin, args = get_origin(kind), get_args(kind)
    if kind in _NOUNS:
        return _scalar_check(kind, bounds)
    if origin is Literal:
        choices = ", ".join(map(str, args))
        return lambda name, value: require(value in args, f"{name} must be one of {choices}, not {value!r}")
    if origin is tuple and args[-1] is ...:
        return _tuple_check(_check_of(*_split(args[0])))
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return _mapping_check(_check_of(*_split(args[0])), _check_of(*_split(args[1])))
    return lambda _, __: None  # another type, such as a nested dataclass, which checks itself


def _scalar_check(kind: type, bounds: Range | None) -> Check:
    accepted = (int, float) if kind is float else (kind,)

    def check(name: str, value: Any) -> None:
        if type(value) not in accepted:
            raise UsageError(f"{name} must be {_NOUNS[kind]}, not {value!r}")
        if kind is float and not math.isfinite(value):
            raise UsageError(f"{name} must be {bounds or 'finite'}, not {value}")
        if bounds is not None and value not in bounds:
            raise UsageError(f"{name} must be {bounds}, not {value}")

    return check


def _tuple_check(check_item: Check) -> Check:
    def check(name: str, value: Any) -> None:
        require(isinstance(value, tuple | list), f"{name} must be a tuple, not {value!r}")
        for index, item in enumerate(value):
            check_item(f"{name}[{index}]", item)

    return check


def _mapping_check(check_key: Check, check_value: Check) -> Check:
    def check(name: str, value: Any) -> None:
        require(isinstance(value, Mapping), f"{name} must be a mapping, not {value!r}")
        for key, item in value.items():
            check_key(f"{name} key", key)
            check_value(f"{name}[{key!r}]", item)

    return check


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
    if origin is tuple:
        return {"type": "array", "items": _type_schema(args[0])}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type_schema(args[1])}
    names = {"gt": "exclusiveMinimum", "ge": "minimum", "lt": "exclusiveMaximum", "le": "maximum"}
    limits = {} if bounds is None else bounds.constraints()
    return {"type": _JSON_TYPES[kind]} | {names[key]: bound for key, bound in limits.items()}
