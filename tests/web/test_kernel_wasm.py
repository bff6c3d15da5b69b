"""The committed WebAssembly module is what its sources compile to."""

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
from helpers.paths import ROOT
from helpers.scripts import load_script

AGAIN = "kernel.wasm is older than its sources: run `make wasm` and commit it"


def record(module: bytes, section: str) -> dict[str, Any]:
    """The record at the end of the module."""
    return json.loads(module[module.rindex(section.encode()) + len(section) :])


def test_module_was_built_from_these_sources() -> None:
    script = load_script(ROOT / "native" / "web" / "build.py")
    names = {path.name for path in script.inputs()}
    assert {"build.py", "api.cpp", "forward.hpp", "linear.hpp", "sampling.cpp", "inkhorn.h"} <= names
    assert record(script.MODULE.read_bytes(), script.SECTION)["sha256"] == script.digest(), AGAIN


@pytest.mark.slow
def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="the compiler is not installed (pip install ziglang)")
    script = load_script(ROOT / "native" / "web" / "build.py")
    committed = script.MODULE.read_bytes()
    wanted = record(committed, script.SECTION)["ziglang"]
    assert version("ziglang") == wanted, f"the module was compiled with ziglang {wanted}"
    script.build(tmp_path / "kernel.wasm")
    assert (tmp_path / "kernel.wasm").read_bytes() == committed, AGAIN
