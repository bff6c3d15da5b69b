"""Size of a wheel, and the time that `pip install` and the first text take.

    python benchmarks/install.py dist/inkhorn-0.2.0-py3-none-manylinux_2_28_x86_64.whl [--rounds 5]

The wheel's dependencies are downloaded first, so that the network is not measured. Each round installs into a new
virtual environment.
"""

import shutil
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from common import Series, report


@dataclass
class Args:
    wheel: Annotated[Path, tyro.conf.Positional]
    """the wheel to install"""
    rounds: int = 5
    """number of installations"""


def folder_size(folder: Path) -> int:
    """Bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(*command: str | Path) -> float:
    """Seconds that a command takes."""
    start = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def measure(wheel: Path, downloads: Path, folder: Path) -> tuple[float, float, float, int]:
    """Seconds of the installation, of the first text and of the second one, and the installed bytes."""
    venv.create(folder, with_pip=True)
    scripts = folder / ("Scripts" if sys.platform == "win32" else "bin")
    before = folder_size(folder)
    flags: list[str | Path] = ["--quiet", "--disable-pip-version-check", "--no-index", "--find-links", downloads]
    install = timed(scripts / "python", "-m", "pip", "install", *flags, wheel)
    size = folder_size(folder) - before
    text: list[str | Path] = [scripts / "inkhorn", "ROMEO:", "--max-tokens", "20", "--seed", "1"]
    return install, timed(*text), timed(*text), size


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    with tempfile.TemporaryDirectory() as name:
        downloads = Path(name, "downloads")
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "--quiet", "--dest", downloads, args.wheel], check=True
        )
        rounds = []
        for number in range(args.rounds):
            rounds.append(measure(args.wheel, downloads, Path(name, "environment")))
            shutil.rmtree(Path(name, "environment"))
            print(f"  round {number + 1}/{args.rounds}: {rounds[-1][0]:.1f} s", file=sys.stderr)
        names = ("pip install", "first text", "second text")
        series = [Series(title, "s", values) for title, values in zip(names, zip(*rounds, strict=True), strict=False)]
        facts = {
            "wheel": f"{args.wheel.stat().st_size / 1e6:.1f} MB",
            "downloads with dependencies": f"{folder_size(downloads) / 1e6:.1f} MB",
            "installed with dependencies": f"{rounds[0][3] / 1e6:.1f} MB",
        }
    report("Installation from a wheel", series, facts)


if __name__ == "__main__":
    main()
