"""Test of `benchmarks/train_step.py`."""

import json
import subprocess
import sys

from helpers.paths import ROOT


def test_step_benchmark_runs() -> None:
    command = [sys.executable, "benchmarks/train_step.py", "--recipe", "test", "--rows", "4", "--rounds", "1"]
    done = subprocess.run([*command, "--vocab-size", "66"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["facts"]["parameters"] == "28,608"
    assert [series["name"] for series in found["series"]][::2] == [
        "tokens a second, update included",
        "tokens a second of passes alone",
    ]
