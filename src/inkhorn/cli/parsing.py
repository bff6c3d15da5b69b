"""Command-line flags from dataclasses: tyro reads the fields, their types, defaults and docstrings."""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from inspect import cleandoc
from typing import Any, TypeVar

import tyro

from inkhorn.errors import UsageError

T = TypeVar("T")


def default(text: str = "") -> Any:
    """Annotation of an optional field whose default in the help is `text` rather than None; nothing if empty."""
    return tyro.conf.arg(help_behavior_hint=f"(default: {text})" if text else "")


def parse(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None, example: str = "") -> T:
    """Build a dataclass from flags; prints the help or the error and exits, with 2 for an error.

    A value that `kind` itself rejects is a UsageError. A field that may be None is so only by default: the word None on
    the command line is a string or a file name like any other.

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
            return tyro.cli(kind, args=list(argv), prog=prog, config=(tyro.conf.DisallowNone,), **options)
    except SystemExit as leaving:
        cause = leaving.__context__  # tyro prints a UsageError of a dataclass in a box of its own and exits
        while cause is not None and not isinstance(cause, UsageError):
            cause = cause.__context__
        if cause is not None:
            raise UsageError(f"{cause} (see {prog} --help)") from None
        print(errors.getvalue(), end="", file=sys.stderr)  # noqa: T201
        raise
