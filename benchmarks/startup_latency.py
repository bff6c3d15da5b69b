"""Time from process start to the first generated character of `inkhorn generate` with the bundled model.

    python benchmarks/startup_latency.py [--rounds 20]

Measures until the first character after the prompt arrives through a pipe, with weights and modules in the page cache.
"""

import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import tyro
from common import interleave, report

PROMPT = "ROMEO:"
PROGRAM = "import sys; from inkhorn.cli.main import main; sys.exit(main())"


@dataclass
class Args:
    rounds: int = 20
    """measurements per precision"""


def first_character(*flags: str) -> Callable[[], float]:
    command = [sys.executable, "-c", PROGRAM, "generate", PROMPT, "--words", "40", "--seed", "1", *flags]

    def measure() -> float:
        start = time.perf_counter()
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            process.stdout.read(len(PROMPT) + 1)
            seconds = time.perf_counter() - start
            process.communicate()
        return 1e3 * seconds

    measure()
    return measure


def import_numpy() -> float:
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "import numpy"], check=True)
    return 1e3 * (time.perf_counter() - start)


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    contenders = {
        f"inkhorn generate, {precision}": first_character("--quantize", precision)
        for precision in ("int8", "bf16", "fp32", "int4")
    }
    report("Start to first character", interleave(args.rounds, contenders | {"import numpy": import_numpy}, "ms"), {})


if __name__ == "__main__":
    main()
