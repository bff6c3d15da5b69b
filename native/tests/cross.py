"""Cross-compile the kernel for every system that has wheels, and check what each library exports.

    python native/tests/cross.py [TARGET ...]

`make cross` runs it. It needs cmake, ninja and the PyPI packages `ziglang` (the compiler) and `lief` (reads the
libraries). Targets are Zig's names: architecture, operating system and ABI, with the oldest supported version of glibc
or macOS.
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import lief

ROOT = Path(__file__).parents[2]
TARGETS = {
    "x86_64-linux-gnu.2.28": "libinkhorn_kernel.so",
    "aarch64-linux-gnu.2.28": "libinkhorn_kernel.so",
    "x86_64-linux-musl": "libinkhorn_kernel.so",
    "aarch64-linux-musl": "libinkhorn_kernel.so",
    "aarch64-macos.12.0": "libinkhorn_kernel.dylib",
    "x86_64-macos.12.0": "libinkhorn_kernel.dylib",
    "x86_64-windows-gnu": "libinkhorn_kernel.dll",
}
# macOS exports the memory functions of the static C++ library, and symbols of the linker. Its loader binds a symbol to
# one library, so they cannot replace those of another.
MACOS_EXTRA = re.compile(r"__Z(nw|na|dl|da)\w*|__mh_dylib_header|___dso_handle")


def declared_symbols() -> set[str]:
    """The functions that native/inkhorn.h declares."""
    header = (ROOT / "native" / "inkhorn.h").read_text(encoding="utf-8")
    return set(re.findall(r"^INK_API .*?(ink_\w+)\(", header, flags=re.MULTILINE))


def exported_symbols(path: Path) -> set[str]:
    """The functions that a library exports, as they are named in C."""
    library = lief.parse(str(path))
    if isinstance(library, lief.PE.Binary):
        return {str(entry.name) for entry in library.get_export().entries}
    if isinstance(library, lief.MachO.Binary):
        names = {str(symbol.name) for symbol in library.exported_symbols}
        return {name.removeprefix("_") for name in names if not MACOS_EXTRA.fullmatch(name)}
    if isinstance(library, lief.ELF.Binary):
        return {str(symbol.name) for symbol in library.exported_symbols}
    raise SystemExit(f"{path}: not a library of Linux, macOS or Windows")


def zig() -> Path:
    """The compiler of the ziglang package."""
    package = find_spec("ziglang")
    if package is None or package.origin is None:
        raise SystemExit("cross-compiling needs Zig: pip install ziglang")
    return Path(package.origin).with_name("zig.exe" if sys.platform == "win32" else "zig")


def build(target: str) -> Path:
    """Compile the library for a target; returns its path."""
    folder = ROOT / "build" / "cross" / target
    configure = [
        "cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'native' / 'zig.cmake'}", f"-DINK_ZIG={zig()}", f"-DINK_TARGET={target}",
    ]  # fmt: skip
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", folder], check=True)
    return folder / TARGETS[target]


def main(targets: list[str]) -> None:
    unknown = sorted(set(targets) - set(TARGETS))
    if unknown:
        raise SystemExit(f"unknown target {unknown[0]}; the targets are {', '.join(TARGETS)}")
    declared = declared_symbols()
    for target in targets or list(TARGETS):
        library = build(target)
        exported = exported_symbols(library)
        if exported != declared:
            raise SystemExit(
                f"{target}: missing {sorted(declared - exported)}, not in inkhorn.h {sorted(exported - declared)}"
            )
        print(f"{target}: {library.stat().st_size / 1e6:.1f} MB, exports the {len(exported)} functions of inkhorn.h")


if __name__ == "__main__":
    main(sys.argv[1:])
