"""Command-line flags from dataclasses: tyro reads the fields, their types, defaults and docstrings."""

import io
import re
import shutil
import sys
import textwrap
from collections.abc import Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import fields, is_dataclass
from inspect import cleandoc
from typing import Any, TypeVar

import tyro

from inkhorn.cli.usage_errors import one_line
from inkhorn.config.bounds import FieldError, validate
from inkhorn.errors import UsageError, require

T = TypeVar("T")

_BOX = ("\u2502", "\u256d", "\u2570", " ", "-")  # how a line of options starts


def default(text: str | None = "", *, name: str | None = None, alias: str | None = None) -> Any:
    """Annotation of a field: how the help shows its default (None: its value; empty: not at all), and its names."""
    hint = None if text is None else f"(default: {text})" if text else ""
    return tyro.conf.arg(name=name, aliases=None if alias is None else [alias], help_behavior_hint=hint)


def _without_none(text: str) -> str:
    """A help text with blanks in place of "(default: None)", which may be on two lines of a box."""
    return re.sub(r"\(default:([\s\u2502|]+)None\)", lambda match: " " * 9 + match[1] + " " * 5, text)


def flag(name: str) -> str:
    """The flag of a field."""
    return "--" + name.replace("_", "-")


def exclusive(args: Any, one: str, other: str) -> None:
    """Raise UsageError if two flags that exclude each other are given."""
    both = all(getattr(args, name) not in (None, False) for name in (one, other))
    require(not both, f"give either {flag(one)} or {flag(other)}, not both")


def parse(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None, example: str = "") -> T:
    """Build a dataclass from flags; prints the help and exits if it is asked for.

    A word that cannot be parsed is a UsageError on one line; so is a value outside the `Range` of its field, or one
    that `kind` itself rejects. A field that may be None is so only by default: the word None on the command line is a
    string or a file name like any other.

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
    output, errors = _Capture(), io.StringIO()  # tyro's colors on a terminal are lost: it ignores NO_COLOR
    try:
        with redirect_stdout(output), redirect_stderr(errors):
            args: T = tyro.cli(kind, args=list(argv), prog=prog, config=(tyro.conf.DisallowNone,), **options)
        validate(args)
    except (SystemExit, UsageError) as error:
        cause: BaseException | None = error  # tyro prints a UsageError of a dataclass in a box of its own and exits
        while cause is not None and not isinstance(cause, UsageError):
            cause = cause.__context__
        if cause is None and isinstance(error, SystemExit) and not error.code:
            print(_wrap(_without_none(output.getvalue())), end="")
            raise
        message = one_line(errors.getvalue(), argv, _flags(kind)) if cause is None else str(cause)
        if isinstance(cause, FieldError):
            message = re.sub(r"^\w+", lambda name: flag(name[0]), message)
        raise UsageError(f"{message} (see {prog} --help)") from None
    return args


class _Capture(io.StringIO):
    """Standard output in memory, with the encoding of the real one, from which tyro chooses the characters of boxes."""

    def __init__(self) -> None:
        super().__init__()
        self._encoding: str | None = getattr(sys.stdout, "encoding", None)

    @property
    def encoding(self) -> str | None:  # type: ignore[override]
        return self._encoding


def _wrap(text: str) -> str:
    """A help text with the description, which tyro prints on one line per paragraph, wrapped to the terminal."""
    width = shutil.get_terminal_size().columns
    return "\n".join(line if line.startswith(_BOX) else textwrap.fill(line, width) for line in text.split("\n"))


def _flags(kind: Any) -> set[str]:
    """The flags of a dataclass and of the dataclasses in it."""
    found = set()
    for field in fields(kind):
        found.add(flag(field.name))
        if is_dataclass(field.default_factory):
            found |= _flags(field.default_factory)
    return found
