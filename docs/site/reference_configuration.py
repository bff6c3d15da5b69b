"""The reference of the configuration, from the dataclasses: fields, types, bounds, defaults and their help."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args, get_origin

from markdown_table import code, plain, table

from inkhorn.config.bounds import MAX_COUNT, FieldSpec, field_specs
from inkhorn.config.interventions import Intervention
from inkhorn.config.model import Architecture, ModelConfig
from inkhorn.config.sampling import SamplingParams
from inkhorn.config.train import TrainConfig
from inkhorn.server.settings import Limits, ServerConfig

CLASSES: dict[type, str] = {
    SamplingParams: "Parameters of a request: keyword arguments of `generate` and `stream` in Python, flags of "
    "`inkhorn generate`, and fields of a request to the server.",
    Intervention: "An element of `interventions`, in Python and in a request.",
    ModelConfig: "What `config.json` of a checkpoint describes.",
    Architecture: "The part of it that `inkhorn train` has flags for.",
    TrainConfig: "Flags of `inkhorn train`; the defaults of a recipe differ. A run records them in `run.json`.",
    ServerConfig: "Flags of `inkhorn serve`.",
    Limits: "Limits of the server, which are flags, too.",
}

ENVIRONMENT = {
    "INKHORN_API_KEY": "API keys of `inkhorn serve`, separated by commas, in addition to `--api-key`",
    "INKHORN_BACKEND": "`native` or `numpy`: the inference backend; without it, the kernel if it can be used",
    "INKHORN_CACHE": "folder for downloads and tokenized texts; without it, the user's cache folder",
    "INKHORN_ISA": "instruction set of the kernel; without it, the best one; `inkhorn info` shows which is in use",
    "INKHORN_PORT": "port of `inkhorn serve` without `--port`",
}
"""The environment variables that the package and the kernel read."""

_INTRODUCTION = """# Configuration

Each setting is a field of a frozen dataclass. The same declaration makes the flag of the command
line, the field of the API and the control on the web page. A value outside the bounds is an error that
names the field, the value and the bounds.
"""


def page() -> str:
    """The page in Markdown."""
    parts = [_INTRODUCTION]
    for cls, purpose in CLASSES.items():
        parts.append(f"## {cls.__name__}\n\n{purpose} Declared in `{cls.__module__}`.\n")
        rows = [
            [code(spec.name), code(_type(spec.type)), _bounds(spec), _default(spec), plain(spec.help)]
            for spec in field_specs(cls).values()
        ]
        parts.append(table(["field", "type", "bounds", "default", "meaning"], rows) + "\n")
    parts.append("## Environment variables\n")
    parts.append(table(["variable", "meaning"], [[code(name), text] for name, text in ENVIRONMENT.items()]) + "\n")
    return "\n".join(parts)


def _type(kind: Any) -> str:
    """A type as a reader writes it: the values of a Literal, and no modules."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Literal:
        return " | ".join(map(repr, args))
    if origin is tuple:
        return f"list of {_type(args[0])}"
    if origin is Mapping:
        return f"{_type(args[0])} to {_type(args[1])}"
    if origin is Annotated:
        return _type(args[0])
    if args:
        return " | ".join(map(_type, args))
    return getattr(kind, "__name__", str(kind))


def _bounds(spec: FieldSpec) -> str:
    if spec.range is None:
        return ""
    bounds = dataclasses.replace(spec.range, le=None) if spec.range.le == MAX_COUNT else spec.range
    unit = "" if spec.type in (int, float) else " characters" if spec.type is str else " entries"
    return f"{bounds}{unit}"


def _default(spec: FieldSpec) -> str:
    if spec.default is dataclasses.MISSING:
        return "required"
    if dataclasses.is_dataclass(spec.default):
        return code(type(spec.default).__name__)
    if spec.default is None or spec.default in ("", (), {}):
        return "none"
    return code(spec.default if not isinstance(spec.default, tuple) else ", ".join(map(str, spec.default)))
