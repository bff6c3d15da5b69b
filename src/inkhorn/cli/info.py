"""`inkhorn info`: versions, backend and hardware of this installation."""

import json
import os
import platform
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from typing import Any

import inkhorn
from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.cli.parsing import parse
from inkhorn.config.quantization import DEFAULT_PRECISION
from inkhorn.inference.backends import native_bindings
from inkhorn.utils.cpu import available_cores


@dataclass(frozen=True, kw_only=True)
class InfoArgs:
    """Show versions, the inference backend and why it was selected, and the shipped models."""

    json: bool = False
    """print one JSON object"""


def run(argv: list[str]) -> int:
    args = parse(InfoArgs, argv, "inkhorn info", example="inkhorn info --json")
    entries = collect()
    if args.json:
        print(json.dumps(entries))
        return 0
    untimed = entries.pop("never timed", [])

    def mark(value: Any) -> str:
        return f"{value} (never timed on hardware)" if value in untimed else str(value)

    width = max(map(len, entries))
    for name, value in entries.items():
        print(f"{name:{width}}  {', '.join(map(mark, value)) if isinstance(value, list) else mark(value)}")
    return 0


def collect() -> dict[str, Any]:
    """All entries by name, in the order they are printed."""
    backend, reason = selected_backend()
    entries: dict[str, Any] = {
        "inkhorn": inkhorn.__version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "backend": backend,
        "reason": reason,
    }
    if backend == "native":
        entries |= {
            "kernel": str(native_bindings.library_path()),
            "instruction set": native_bindings.isa(),
            "supported": native_bindings.supported_isas(),
            "never timed": [name for name in native_bindings.supported_isas() if name in native_bindings.UNTIMED_ISAS],
            "default precision": DEFAULT_PRECISION,
        }
    return entries | {
        "cores": available_cores(),
        "torch": version("torch") if find_spec("torch") else "not installed: training needs inkhorn[train]",
        "models": sorted(SHIPPED),
    }


def selected_backend() -> tuple[str, str]:
    """The backend that is used by default here, and why."""
    unavailable, requested = native_bindings.unavailable_reason(), os.environ.get("INKHORN_BACKEND")
    if requested == "numpy":
        return "numpy", "INKHORN_BACKEND is set to numpy"
    if unavailable is not None:
        return "numpy", unavailable
    return "native", "INKHORN_BACKEND is set to native" if requested else "the kernel is available"
