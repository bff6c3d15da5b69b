"""Cross-compile the kernel for every system that has wheels, and check what each library exports.

    python release/cross.py [TARGET ...]

`make cross` runs it. It needs cmake, ninja and the PyPI packages `ziglang` (the compiler) and `lief` (reads the
libraries). Targets are Zig's names: architecture, operating system and ABI, with the oldest supported version of glibc
or macOS. `release/wheels.py` puts the libraries into wheels.
"""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import lief

ROOT = Path(__file__).parents[1]
TARGETS = {
    "x86_64-linux-gnu.2.28": "manylinux_2_28_x86_64",
    "aarch64-linux-gnu.2.28": "manylinux_2_28_aarch64",
    "x86_64-linux-musl": "musllinux_1_2_x86_64",
    "aarch64-linux-musl": "musllinux_1_2_aarch64",
    "aarch64-macos.12.0": "macosx_12_0_arm64",
    "x86_64-macos.12.0": "macosx_12_0_x86_64",
    "x86_64-windows-gnu": "win_amd64",
}
"""The wheel's platform tag for each target."""

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
        exports = library.get_export()
        return {str(entry.name) for entry in exports.entries} if exports is not None else set()
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


def library_path(target: str) -> Path:
    """Where `build` writes the library for a target."""
    ending = "dylib" if "macos" in target else "dll" if "windows" in target else "so"
    return ROOT / "build" / "cross" / target / f"libinkhorn_kernel.{ending}"


def build(target: str) -> Path:
    """Compile the library for a target; returns its path."""
    library = library_path(target)
    folder = library.parent
    configure: list[str | Path] = [
        "cmake", "-G", "Ninja", "-S", ROOT, "-B", folder, "-DCMAKE_BUILD_TYPE=Release",
        f"-DCMAKE_TOOLCHAIN_FILE={ROOT / 'native' / 'zig.cmake'}", f"-DINK_ZIG={zig()}", f"-DINK_TARGET={target}",
    ]  # fmt: skip
    subprocess.run(configure, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["cmake", "--build", folder], check=True)
    return library


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
