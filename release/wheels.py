"""Build a wheel for every platform on one machine, with libraries that `release/cross.py` has compiled.

    python release/wheels.py [TARGET ...] [--out dist]

`make wheels` runs it. It needs the PyPI packages `build` and `wheel` besides those of `release/cross.py`. A release is
built by cibuildwheel on machines of each platform (.github/workflows/release.yml). This script makes such wheels on
one machine.
"""

import argparse
import email
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from cross import ROOT, TARGETS, build

BACKENDS = Path("inkhorn", "inference", "backends")  # where inkhorn looks for its library


def build_pure_wheel(folder: Path) -> Path:
    """The wheel of the Python files alone, written to `folder`."""
    settings = ["-Cwheel.cmake=false", "-Cwheel.platlib=false"]
    subprocess.run([sys.executable, "-m", "build", "--wheel", "--outdir", folder, *settings, ROOT], check=True)
    (wheel,) = folder.glob("*.whl")
    return wheel


def set_tag(record: Path, platform: str) -> None:
    """State in the file WHEEL that the wheel is for one platform."""
    message = email.message_from_string(record.read_text(encoding="utf-8"))
    message.replace_header("Tag", f"py3-none-{platform}")
    message.replace_header("Root-Is-Purelib", "false")
    record.write_text(str(message), encoding="utf-8")


def add_library(pure_wheel: Path, library: Path, platform: str, out: Path) -> Path:
    """Write the wheel for a platform: the files of `pure_wheel`, the library and the tag."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        unpack: list[str | Path] = [sys.executable, "-m", "wheel", "unpack", "--dest", folder, pure_wheel]
        subprocess.run(unpack, check=True, stdout=subprocess.DEVNULL)
        (files,) = folder.iterdir()
        shutil.copy(library, files / BACKENDS)
        (record,) = files.glob("*.dist-info/WHEEL")
        set_tag(record, platform)
        pack: list[str | Path] = [sys.executable, "-m", "wheel", "pack", "--dest-dir", out, files]
        subprocess.run(pack, check=True, stdout=subprocess.DEVNULL)
    (wheel,) = out.glob(f"*-py3-none-{platform}.whl")
    return wheel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"one of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--out", type=Path, default=ROOT / "dist", help="folder to write")
    args = parser.parse_args()
    unknown = sorted(set(args.targets) - set(TARGETS))
    if unknown:
        parser.error(f"unknown target {unknown[0]}; the targets are {', '.join(TARGETS)}")
    args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        pure_wheel = build_pure_wheel(Path(folder))
        for target in args.targets or TARGETS:
            wheel = add_library(pure_wheel, build(target), TARGETS[target], args.out)
            print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
