"""`inkhorn info`: what this installation is, and which backend writes here, and why."""

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


@dataclass(frozen=True, kw_only=True)
class InfoArgs:
    """Say what this installation is, and which backend writes here, and why."""

    json: bool = False
    """print one JSON object"""


def run(argv: list[str]) -> int:
    """Run the command; returns the exit code."""
    args = parse(InfoArgs, argv, "inkhorn info")
    facts = gather()
    if args.json:
        print(json.dumps(facts))  # noqa: T201
        return 0
    width = max(map(len, facts))
    for name, value in facts.items():
        print(f"{name:{width}}  {', '.join(value) if isinstance(value, list) else value}")  # noqa: T201
    return 0


def gather() -> dict[str, Any]:
    """What there is to say, by name, in reading order."""
    backend, why = chosen_backend()
    facts: dict[str, Any] = {
        "inkhorn": inkhorn.__version__,
        "python": platform.python_version(),
        "numpy": version("numpy"),
        "backend": backend,
        "because": why,
    }
    if backend == "native":
        facts |= {
            "kernel": str(native_bindings.library_path()),
            "instructions": native_bindings.isa(),
            "this machine runs": native_bindings.supported_isas(),
            "weights": f"{DEFAULT_PRECISION} unless --quantize says otherwise",
        }
    return facts | {
        "cores": native_bindings.cores(),
        "torch": version("torch") if find_spec("torch") else "not installed: training needs inkhorn[train]",
        "models": sorted(SHIPPED),
    }


def chosen_backend() -> tuple[str, str]:
    """Which backend `load` picks here, and why."""
    missing, wanted = native_bindings.unavailable_reason(), os.environ.get("INKHORN_BACKEND")
    if wanted == "numpy":
        return "numpy", "INKHORN_BACKEND=numpy asks for it"
    if missing is not None:
        return "numpy", missing
    return "native", "the kernel was built with the package" if not wanted else "INKHORN_BACKEND=native asks for it"
