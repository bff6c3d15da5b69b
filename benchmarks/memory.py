"""Peak memory and duration of the main commands.

    python benchmarks/memory.py

Runs each command in its own process on the corpora of `inkhorn data`, for a few steps (more steps use no more memory).
Reports the peak resident memory of the process and the duration of the command, start-up and evaluation included.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Series, report

COMMANDS = {
    "generate": ["generate", "ROMEO:", "--words", "200"],
    "train small": ["train", "small", "--steps", "20"],
    "train tiny-shakespeare": ["train", "tiny-shakespeare", "--steps", "4", "--dropout-start", "0"],
    "train shakespeare-char": ["train", "shakespeare-char", "--steps", "4"],
}


def measure(arguments: list[str], folder: Path) -> tuple[float, float]:
    """Return the peak resident memory in MiB and the duration in seconds of one command."""
    start = time.perf_counter()
    child = subprocess.Popen([sys.executable, "-m", "inkhorn", *arguments], cwd=folder, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    if status:
        sys.exit(f"inkhorn {' '.join(arguments)} failed")
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, kibibytes on Linux
    return usage.ru_maxrss * unit / (1 << 20), time.perf_counter() - start


def main() -> None:
    series = []
    with tempfile.TemporaryDirectory() as name:
        for title, arguments in COMMANDS.items():
            mebibytes, seconds = measure(arguments, Path(name))
            series += [Series(title, "MiB", (mebibytes,)), Series(f"{title}: duration", "s", (seconds,))]
    report("Memory", series, {})


if __name__ == "__main__":
    main()
