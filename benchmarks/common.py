"""Shared by the benchmarks: machine information, repeated measurements, and the report as a table and JSON."""

import importlib.metadata
import importlib.util
import json
import os
import platform
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import inkhorn
from inkhorn.errors import UsageError
from inkhorn.inference.backends import native_bindings


@dataclass(frozen=True)
class Series:
    """Repeated measurements of one quantity."""

    name: str
    unit: str
    values: tuple[float, ...]

    @property
    def median(self) -> float:
        return statistics.median(self.values)

    def row(self) -> str:
        low, high = min(self.values), max(self.values)
        return f"{self.name:44} {self.median:12,.4g} {self.unit:10} {low:,.4g} to {high:,.4g}  n={len(self.values)}"


def interleave(rounds: int, contenders: Mapping[str, Callable[[], float]], unit: str) -> list[Series]:
    """Measure each contender once per round, so that drift of the machine affects all of them equally."""
    values: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds):
        for name, measure in contenders.items():
            values[name].append(measure())
            print(f"  round {number + 1}/{rounds}: {name}: {values[name][-1]:,.4g} {unit}", file=sys.stderr)
    return [Series(name, unit, tuple(found)) for name, found in values.items()]


def machine() -> dict[str, Any]:
    """The CPU, the instruction set that the kernel uses, the number of available cores, and package versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((line.split(":")[1].strip() for line in info.read_text().splitlines() if "model name" in line), cpu)
    versions = {"python": platform.python_version(), "inkhorn": inkhorn.__version__}  # of the code that runs
    for package in ("numpy", "torch", "transformers", "llama_cpp_python", "ctranslate2"):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    instruction_set = "none: NumPy"
    with suppress(UsageError):
        instruction_set = native_bindings.isa()
    cores = len(os.sched_getaffinity(0))
    return {"cpu": cpu, "instruction_set": instruction_set, "cores": cores, "versions": versions}


def load_module(path: Path, name: str) -> ModuleType:
    """Import a single file from a nanoGPT checkout."""
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None or not path.is_file():
        sys.exit(f"there is no {path}: give the folder of a checkout of nanoGPT")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def report(title: str, series: Sequence[Series], facts: Mapping[str, Any]) -> None:
    """Print the table, then the same data as one line of JSON."""
    here = machine()
    print(
        f"\n{title}\n{here['cpu']}, {here['instruction_set']}, {here['cores']} cores; "
        + ", ".join(f"{k} {v}" for k, v in here["versions"].items())
    )
    print(f"{'':44} {'median':>12}")
    for entry in series:
        print(entry.row())
    for name, value in facts.items():
        print(f"{name}: {value}")
    rows = [{"name": s.name, "unit": s.unit, "median": s.median, "values": s.values} for s in series]
    print(json.dumps({"title": title, "machine": here, "series": rows, "facts": facts}))
