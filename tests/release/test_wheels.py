"""Wheels and releases: which are built, what is in them, and that the source distribution installs everywhere."""

import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path
from typing import Any

import notes
import pytest
from helpers.paths import ROOT

PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def supported_pythons() -> list[str]:
    """The Python versions that the package states, oldest first."""
    prefix = "Programming Language :: Python :: "
    found = [entry.removeprefix(prefix) for entry in PROJECT["project"]["classifiers"] if entry.startswith(prefix)]
    return sorted(found, key=lambda version: tuple(map(int, version.split("."))))


def test_wheels_are_tested_with_the_oldest_and_the_newest_python() -> None:
    oldest, newest = supported_pythons()[0], supported_pythons()[-1]
    assert PROJECT["project"]["requires-python"] == f">={oldest}"
    settings = PROJECT["tool"]["cibuildwheel"]
    assert settings["build"] == [f"cp{version.replace('.', '')}-*" for version in (oldest, newest)]
    assert PROJECT["tool"]["scikit-build"]["wheel"]["py-api"] == "py3"
    command = settings["test-command"]
    assert (ROOT / command.removeprefix("python {project}/")).is_file()


def test_one_compiler_for_windows() -> None:
    settings = PROJECT["tool"]["cibuildwheel"]["windows"]
    pinned = re.search(r"^ziglang==(.*)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    assert settings["before-all"].endswith(f" ziglang=={pinned[1]}")


@pytest.fixture
def pure_wheel(tmp_path: Path) -> Path:
    """A wheel of one Python file, which is tagged for every platform."""
    pytest.importorskip("wheel")
    files = tmp_path / "files"
    (files / "inkhorn/inference/backends").mkdir(parents=True)
    (files / "inkhorn/inference/backends/native_bindings.py").write_text("ABI = 3\n")
    (files / "inkhorn-1.2.dist-info").mkdir()
    (files / "inkhorn-1.2.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: inkhorn\nVersion: 1.2\n")
    (files / "inkhorn-1.2.dist-info/WHEEL").write_text("Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    subprocess.run([sys.executable, "-m", "wheel", "pack", "--dest-dir", tmp_path, files], check=True)
    return tmp_path / "inkhorn-1.2-py3-none-any.whl"


def test_a_library_makes_a_platform_wheel(pure_wheel: Path, tmp_path: Path) -> None:
    wheels = pytest.importorskip("wheels")
    library = tmp_path / "libinkhorn_kernel.dylib"
    library.write_bytes(b"code")
    out = tmp_path / "out"
    out.mkdir()
    made = wheels.add_library(pure_wheel, library, "macosx_12_0_arm64", out)
    assert made.name == "inkhorn-1.2-py3-none-macosx_12_0_arm64.whl"
    with zipfile.ZipFile(made) as archive:
        assert archive.read("inkhorn/inference/backends/libinkhorn_kernel.dylib") == b"code"
        record = archive.read("inkhorn-1.2.dist-info/WHEEL").decode()
        listed = archive.read("inkhorn-1.2.dist-info/RECORD").decode()
    assert "Tag: py3-none-macosx_12_0_arm64\n" in record
    assert "Root-Is-Purelib: false\n" in record
    assert "inkhorn/inference/backends/libinkhorn_kernel.dylib,sha256=" in listed


def complete_release() -> list[str]:
    """File names of a release as cibuildwheel and auditwheel write them."""
    tags = ["macosx_12_0_arm64", "macosx_12_0_x86_64", "win_amd64"]
    for machine in ("x86_64", "aarch64"):
        tags += [f"manylinux_2_27_{machine}.manylinux_2_28_{machine}", f"musllinux_1_2_{machine}"]
    return ["inkhorn-1.2.tar.gz", *(f"inkhorn-1.2-py3-none-{tag}.whl" for tag in tags)]


def test_a_complete_release_lacks_nothing() -> None:
    assert notes.missing_files(complete_release(), "1.2") == []


@pytest.mark.parametrize("number", range(8))
def test_a_release_lacks_each_file_that_is_left_out(number: int) -> None:
    names = complete_release()
    del names[number]
    assert len(notes.missing_files(names, "1.2")) == 1


def test_every_cross_compiled_target_is_a_platform_of_the_release() -> None:
    cross = pytest.importorskip("cross")
    assert len(cross.TARGETS) == len(notes.PLATFORMS)
    names = [f"inkhorn-1.2-py3-none-{platform}.whl" for platform in cross.TARGETS.values()]
    assert notes.missing_files([*names, "inkhorn-1.2.tar.gz"], "1.2") == []


def test_notes_are_the_section_of_the_version() -> None:
    text = "# Changelog\n\n## Unreleased\n\nlater\n\n## [1.2] - 2026-11-30\n\n### Added\n\n- one\n\n## 1.20\n\nother\n"
    assert notes.notes(text, "1.2") == "### Added\n\n- one\n"
    with pytest.raises(SystemExit, match=r"no section for version 1\.3"):
        notes.notes(text, "1.3")
    with pytest.raises(SystemExit):
        notes.notes(text, "1x2")


def install(folder: Path, archive: Path, **environment: str) -> Path:
    """Install an archive into a new environment; returns its Python."""
    venv.create(folder, with_pip=True)
    python = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    command: list[str | Path] = [python, "-m", "pip", "install", "--no-cache-dir", archive]
    done = subprocess.run(command, env=os.environ | environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


@pytest.mark.slow  # compiles the kernel, and needs pip's network
def test_the_source_distribution_installs_with_and_without_a_compiler(tmp_path: Path) -> None:
    pytest.importorskip("build")
    command: list[str | Path] = [sys.executable, "-m", "build", "--sdist", "--outdir", tmp_path, ROOT]
    subprocess.run(command, check=True, capture_output=True, timeout=600)
    (archive,) = tmp_path.glob("*.tar.gz")
    check = ROOT / "release" / "check_install.py"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for name, variables, flags in (("without", {"CXX": "/bin/false"}, ["--without-kernel"]), ("with", {}, [])):
        python = install(tmp_path / name, archive, PYTHONPATH="", **variables)
        done = subprocess.run(
            [python, check, *flags], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=600
        )
        assert done.returncode == 0, done.stdout + done.stderr
        assert done.stdout.startswith("ROMEO:")


def test_the_installation_page_lists_every_extra() -> None:
    page = (ROOT / "docs" / "install.md").read_text(encoding="utf-8")
    table = page.split("## Extras")[1]
    listed = re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)
    assert sorted(listed) == sorted(PROJECT["project"]["optional-dependencies"])
