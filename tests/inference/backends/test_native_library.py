"""What the compiler makes of native/: exported symbols, instructions, and the ARM code under qemu-user."""

import platform
import re
import shutil
import subprocess
from pathlib import Path

import lief
import pytest
from helpers.paths import ROOT

from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.native_bindings import UNTIMED_ISAS

FUZZ_CASES = "24"


def require_tools(*names: str) -> None:
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"not on this machine: {name}")


def build(folder: Path, target: str, *options: str) -> None:
    """Compile a target of CMakeLists.txt."""
    configure = ["cmake", "-S", str(ROOT), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release", "-DINK_FUZZ=ON", *options]
    subprocess.run(configure, check=True, capture_output=True, timeout=600)
    subprocess.run(["cmake", "--build", str(folder), "--target", target], check=True, capture_output=True, timeout=3000)


def run_fuzz(command: list[str]) -> tuple[list[str], str]:
    """Run the fuzz test; returns the instruction sets that it used and its checksum."""
    done = subprocess.run([*command, FUZZ_CASES], capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stdout + done.stderr
    found = re.search(r"cases on (.*): \d+ calls passed\nchecksum of the portable logits: (\w+)", done.stdout)
    assert found is not None, done.stdout
    return found[1].split(), found[2]


def declared_symbols() -> set[str]:
    header = (ROOT / "native" / "inkhorn.h").read_text(encoding="utf-8")
    return set(re.findall(r"^INK_API .*?(ink_\w+)\(", header, flags=re.MULTILINE))


def test_bindings_cover_the_header() -> None:
    assert set(native_bindings._SIGNATURES) == declared_symbols()


def test_exported_symbols() -> None:
    path = native_bindings.library_path()
    if path is None or path.suffix != ".so":
        pytest.skip("not on this machine: a kernel in ELF format")
    library = lief.ELF.parse(str(path))
    assert library is not None
    assert {symbol.name for symbol in library.exported_symbols} == declared_symbols()


@pytest.fixture(scope="module")
def object_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The compiled code for AVX2 and AVX-VNNI."""
    if platform.machine() != "x86_64":
        pytest.skip("not on this machine: an x86-64 CPU")
    require_tools("cmake", "objdump")
    folder = tmp_path_factory.mktemp("objects")
    for isa in ("avx2", "avxvnni"):
        build(folder, f"isa_{isa}")
    return folder


@pytest.mark.slow  # compiles the kernel twice
@pytest.mark.parametrize("isa", ["avx2", "avxvnni"])
def test_instructions(object_folder: Path, isa: str) -> None:
    (path,) = object_folder.glob(f"CMakeFiles/isa_{isa}.dir/native/isa.cpp.o")
    command = ["objdump", "--disassemble", "--wide", "--demangle", str(path)]
    text = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600).stdout
    functions = re.findall(r"^\w+ <(.*)>:$", text, flags=re.MULTILINE)
    assert functions
    assert all(f"ink::{isa}::" in name for name in functions), "code outside the namespace may run on other CPUs"
    assert "%ymm" in text
    assert "%zmm" not in text
    dots = re.findall(r"^ *\w+:\t(\w\w) [^\t]*\t.*vpdpbusd", text, flags=re.MULTILINE)
    assert bool(dots) == (isa == "avxvnni")
    assert set(dots) <= {"c4"}  # the VEX encoding; EVEX instructions start with 62


@pytest.fixture(scope="module")
def host_checksum(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The checksum of the fuzz test on this machine's CPU."""
    folder = tmp_path_factory.mktemp("host")
    build(folder, "fuzz")
    return run_fuzz([str(folder / "fuzz")])[1]


@pytest.fixture(scope="module")
def aarch64_fuzz(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fuzz test for 64-bit ARM."""
    require_tools("cmake", "aarch64-linux-gnu-g++", "qemu-aarch64")
    folder = tmp_path_factory.mktemp("aarch64")
    system = ["-DCMAKE_SYSTEM_NAME=Linux", "-DCMAKE_SYSTEM_PROCESSOR=aarch64"]
    build(folder, "fuzz", *system, "-DCMAKE_CXX_COMPILER=aarch64-linux-gnu-g++")
    return folder / "fuzz"


@pytest.mark.qemu
@pytest.mark.parametrize(
    ("cpu", "isas"),
    [
        ("cortex-a72", ["neon", "portable"]),
        ("neoverse-n1", ["neon_dotprod", "neon", "portable"]),
        ("max", ["neon_i8mm", "neon_dotprod", "neon", "portable"]),
    ],
)
def test_arm_under_qemu(aarch64_fuzz: Path, host_checksum: str, cpu: str, isas: list[str]) -> None:
    command = ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", cpu, str(aarch64_fuzz)]
    assert run_fuzz(command) == (isas, host_checksum)
    assert set(isas) - {"portable"} <= set(UNTIMED_ISAS)
