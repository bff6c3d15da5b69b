"""Command-line flags from dataclasses: tyro reads the fields, their types, defaults and docstrings."""

import io
import re
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from inspect import cleandoc
from typing import Any, TypeVar

import tyro

from inkhorn.config.bounds import FieldError, validate
from inkhorn.errors import UsageError, require

T = TypeVar("T")

_TYPE_NAMES = {"<class 'int'>": "an integer", "<class 'float'>": "a number"}
"""How tyro names a type, and how the user reads it."""


def default(text: str | None = "", *, name: str | None = None, alias: str | None = None) -> Any:
    """Annotation of a field: how the help shows its default (None: its value; empty: not at all), and its names."""
    hint = None if text is None else f"(default: {text})" if text else ""
    return tyro.conf.arg(name=name, aliases=None if alias is None else [alias], help_behavior_hint=hint)


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def exclusive(args: Any, one: str, other: str) -> None:
    """Raise UsageError if two flags that exclude each other are given."""
    both = all(getattr(args, name) not in (None, False) for name in (one, other))
    require(not both, f"give either {flag(one)} or {flag(other)}, not both")


def parse(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None, example: str = "") -> T:
    """Build a dataclass from flags; prints the help or the error and exits, with 2 for an error.

    A value outside the `Range` of its field, or one that `kind` itself rejects, is a UsageError that names the flag. A
    field that may be None is so only by default: the word None on the command line is a string or a file name like any
    other.

    Args:
        kind: the dataclass; its docstring is the command's description.
        argv: the words after the command.
        prog: the command, as shown in the usage line.
        default: values of the flags that are not given, instead of the fields' own defaults.
        example: a command line shown below the description.
    """
    options: dict[str, Any] = {} if default is None else {"default": default}
    if example:
        options["description"] = f"{cleandoc(kind.__doc__ or '')}\n\nExample: {example}"
    errors = io.StringIO()
    try:
        with redirect_stderr(errors):
            args: T = tyro.cli(kind, args=list(argv), prog=prog, config=(tyro.conf.DisallowNone,), **options)
        validate(args)
    except (SystemExit, UsageError) as error:
        cause: BaseException | None = error  # tyro prints a UsageError of a dataclass in a box of its own and exits
        while cause is not None and not isinstance(cause, UsageError):
            cause = cause.__context__
        if cause is None:
            text = errors.getvalue()
            for name, noun in _TYPE_NAMES.items():
                text = text.replace(name, noun.ljust(len(name)))  # of the same width, for the frame around the message
            print(text, end="", file=sys.stderr)
            raise
        message = str(cause)
        if isinstance(cause, FieldError):
            message = re.sub(r"^\w+", lambda name: flag(name[0]), message)
        raise UsageError(f"{message} (see {prog} --help)") from None
    return args
