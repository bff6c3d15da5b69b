"""Compile the kernel to the WebAssembly module that runs a model in the browser.

    python native/web/build.py [OUT]

`make wasm` runs it and writes src/inkhorn/web/static/engine/kernel.wasm. It needs the PyPI package `ziglang`. The
module is committed, so that no user needs a compiler. It ends with a section that records the version of the compiler
and a digest of the sources: tests/web/test_kernel_wasm.py fails if they have changed since.
"""

import hashlib
import json
import re
import subprocess
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT / "native", ROOT / "native" / "web")
MODULE = ROOT / "src" / "inkhorn" / "web" / "static" / "engine" / "kernel.wasm"
SECTION = "inkhorn.sources"
SOURCES = (
    *(f"native/web/{name}.cpp" for name in ("api", "isa")),
    *(f"native/{name}.cpp" for name in ("batch", "dispatch", "memory", "model", "sampling", "session", "softmax")),
)
# Every browser with WebAssembly SIMD has the other features of "generic". Relaxed SIMD is left out: its results differ
# between CPUs. -ffp-contract and -fno-math-errno are as in CMakeLists.txt.
FLAGS = (
    *("-target", "wasm32-wasi", "-mcpu=generic+simd128", "-mexec-model=reactor"),
    *("-std=c++20", "-O3", "-flto", "-fno-exceptions", "-fno-rtti", "-ffp-contract=off", "-fno-math-errno"),
    *("-Wall", "-Wextra"),
    *("-DINK_ISA=portable", "-DINK_HAS_PORTABLE", "-Inative", "-Inative/web"),
    *("-Wl,--gc-sections", "-Wl,--strip-all"),
)


def inputs() -> list[Path]:
    """The files that the module is made from: this one, the sources, and what they include of this repository."""
    found, waiting = [], [ROOT / name for name in SOURCES]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        for name in re.findall(r'^#include "(.+)"$', path.read_text(encoding="utf-8"), flags=re.MULTILINE):
            waiting.append(next(file for folder in FOLDERS if (file := (folder / name).resolve()).is_file()))
    return sorted([*found, Path(__file__).resolve()])


def digest() -> str:
    """SHA-256 of the names and contents of the inputs."""
    files = {path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8") for path in inputs()}
    return hashlib.sha256(json.dumps(files).encode()).hexdigest()


def compile_module(out: Path) -> None:
    package = find_spec("ziglang")
    if package is None or package.origin is None:
        raise SystemExit("compiling the module needs Zig: pip install ziglang")
    program = Path(package.origin).with_name("zig.exe" if sys.platform == "win32" else "zig")
    subprocess.run([program, "c++", *FLAGS, *SOURCES, "-o", out], cwd=ROOT, check=True)


def leb128(number: int) -> bytes:
    return bytes([number]) if number < 128 else bytes([number & 127 | 128]) + leb128(number >> 7)


def build(out: Path) -> None:
    """Write the module with its record."""
    with TemporaryDirectory() as folder:
        made = Path(folder, "kernel.wasm")
        compile_module(made)
        record = json.dumps({"ziglang": version("ziglang"), "sha256": digest()}).encode()
        content = leb128(len(SECTION)) + SECTION.encode() + record
        out.write_bytes(made.read_bytes() + b"\0" + leb128(len(content)) + content)  # 0: a custom section


if __name__ == "__main__":
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else MODULE
    build(out)
    print(f"{out}: {out.stat().st_size:,} bytes")
