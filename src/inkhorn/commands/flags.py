"""Flags from dataclasses: tyro reads the fields, their types, defaults and docstrings."""

from collections.abc import Sequence
from typing import TypeVar

import tyro

from inkhorn.errors import UsageError

T = TypeVar("T")


def parse(kind: type[T], argv: Sequence[str], prog: str, default: T | None = None) -> T:
    """Build a `kind` from flags; prints help and exits, or exits with 2, as command lines do."""
    options = {} if default is None else {"default": default}
    try:
        return tyro.cli(kind, args=list(argv), prog=prog, **options)  # type: ignore[call-overload]
    except UsageError as error:
        raise UsageError(f"{error} (see {prog} --help)") from None
