"""`python3 generation.py`: prompts, output and errors."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

SCRIPT = ROOT / "generation.py"


def run_script(*arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], input=answers, capture_output=True, text=True, timeout=60
    )


def new_words(text: str, beginning: str) -> int:
    assert text.startswith(beginning)
    rest = text[len(beginning) :]
    unfinished = bool(beginning) and not beginning[-1].isspace() and not rest[:1].isspace()
    return len(rest.split()) - unfinished


@pytest.mark.parametrize("words", [1, 7, 60])
@pytest.mark.parametrize("beginning", ["ROMEO:", "", "To be, or not to b"])
def test_number_of_words(words: int, beginning: str) -> None:
    done = run_script(beginning, str(words))
    assert done.returncode == 0, done.stderr
    assert new_words(done.stdout.removesuffix("\n"), beginning) == words


def test_prompts_repeat_until_valid() -> None:
    done = run_script(answers="ROMEO:\nmany\n0\n5001\n-3\n2.5\n\n12\n")
    assert done.returncode == 0
    assert done.stdout.count("Please give a whole number of words from 1 to 5000") == 6
    text = done.stdout.rpartition("How many words (1 to 5000)? ")[2].removesuffix("\n")
    assert new_words(text, "ROMEO:") == 12


@pytest.mark.parametrize("words", ["0", "5001", "x"])
def test_invalid_number_of_words(words: str) -> None:
    done = run_script("ROMEO:", words)
    assert done.returncode == 2
    assert "from 1 to 5000" in done.stderr
    assert "Traceback" not in done.stderr


def test_missing_answer() -> None:
    done = run_script(answers="ROMEO:\n")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_any_characters_in_the_beginning() -> None:
    done = run_script("ROMÉO \U0001f600:", "3")
    assert done.returncode == 0
    assert done.stdout.startswith("ROMÉO \U0001f600:")
    assert done.stderr == ""


def test_missing_packages(tmp_path: Path) -> None:
    lone = tmp_path / "generation.py"
    lone.write_text(SCRIPT.read_text())
    done = subprocess.run([sys.executable, "-S", "-I", str(lone)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "make demo" in done.stderr
    assert "Traceback" not in done.stderr


def test_restarts_with_the_project_python(tmp_path: Path) -> None:
    (tmp_path / "generation.py").write_text(SCRIPT.read_text())
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "own python: $@"\n')
    python.chmod(0o755)
    done = subprocess.run([sys.executable, str(tmp_path / "generation.py"), "A", "3"], capture_output=True, text=True)
    assert done.stdout.startswith("own python:")
    assert done.stdout.strip().endswith("A 3")


def test_input_that_is_not_utf8() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, str(SCRIPT)], input=b"RO\xffMEO\n3\n", capture_output=True, env=environment, timeout=60
    )
    assert done.returncode == 2
    assert b"byte 0xff in position 2" in done.stderr
