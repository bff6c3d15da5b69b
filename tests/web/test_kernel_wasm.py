"""The committed WebAssembly module is what its sources compile to."""

import json
from importlib.metadata import version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from helpers.paths import ROOT

AGAIN = "kernel.wasm is older than its sources: run `make wasm` and commit it"


def load_script() -> ModuleType:
    """native/web/build.py, which belongs to no package."""
    spec = spec_from_file_location("build_wasm", ROOT / "native" / "web" / "build.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def record(module: bytes, section: str) -> dict[str, Any]:
    """The record at the end of the module."""
    return json.loads(module[module.rindex(section.encode()) + len(section) :])


def test_module_was_built_from_these_sources() -> None:
    script = load_script()
    names = {path.name for path in script.inputs()}
    assert {"build.py", "api.cpp", "forward.hpp", "linear.hpp", "sampling.cpp", "inkhorn.h"} <= names
    assert record(script.MODULE.read_bytes(), script.SECTION)["sha256"] == script.digest(), AGAIN


@pytest.mark.slow
def test_rebuilding_gives_the_same_bytes(tmp_path: Path) -> None:
    pytest.importorskip("ziglang", reason="the compiler is not installed (pip install ziglang)")
    script = load_script()
    committed = script.MODULE.read_bytes()
    wanted = record(committed, script.SECTION)["ziglang"]
    assert version("ziglang") == wanted, f"the module was compiled with ziglang {wanted}"
    script.build(tmp_path / "kernel.wasm")
    assert (tmp_path / "kernel.wasm").read_bytes() == committed, AGAIN
