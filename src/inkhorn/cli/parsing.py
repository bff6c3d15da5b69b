"""Flags from dataclasses: tyro reads the fields, their types, defaults and docstrings."""

import io
import sys
from collections.abc import Sequence
from contextlib import redirect_stderr
from typing import TypeVar

import tyro

from inkhorn.errors import UsageError

T = TypeVar("T")


def parse(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None) -> T:
    """Build a `kind` from flags; prints help and exits, or exits with 2, as command lines do.

    A value that `kind` itself refuses is a UsageError here. A field that may be None is so only by default: the word
    None on the command line is a text or a file's name like any other.
    """
    options = {} if default is None else {"default": default}
    told = io.StringIO()
    try:
        with redirect_stderr(told):
            return tyro.cli(kind, args=list(argv), prog=prog, config=(tyro.conf.DisallowNone,), **options)  # type: ignore[call-overload]
    except SystemExit as leaving:
        cause = leaving.__context__  # tyro turns a UsageError of ours into a box of its own, and leaves
        while cause is not None and not isinstance(cause, UsageError):
            cause = cause.__context__
        if cause is not None:
            raise UsageError(f"{cause} (see {prog} --help)") from None
        print(told.getvalue(), end="", file=sys.stderr)  # noqa: T201
        raise
