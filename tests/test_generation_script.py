"""`python3 generation.py`: the questions, and what happens to every kind of answer."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

DOOR = ROOT / "generation.py"


def door(*arguments: str, answers: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(DOOR), *arguments], input=answers, capture_output=True, text=True, timeout=60
    )


def new_words(text: str, beginning: str) -> int:
    assert text.startswith(beginning)
    rest = text[len(beginning) :]
    unfinished = bool(beginning) and not beginning[-1].isspace() and not rest[:1].isspace()
    return len(rest.split()) - unfinished


@pytest.mark.parametrize("words", [1, 7, 60])
@pytest.mark.parametrize("beginning", ["ROMEO:", "", "To be, or not to b"])
def test_it_writes_that_many_new_words(words: int, beginning: str) -> None:
    done = door(beginning, str(words))
    assert done.returncode == 0, done.stderr
    assert new_words(done.stdout.removesuffix("\n"), beginning) == words


def test_it_asks_and_asks_again() -> None:
    done = door(answers="ROMEO:\nmany\n0\n5001\n-3\n2.5\n\n12\n")
    assert done.returncode == 0
    assert "'many' is not a whole number" in done.stdout
    assert "0 words would be no text" in done.stdout
    assert "5001 words are more than I can write at once" in done.stdout
    assert "-3 words would be no text" in done.stdout
    assert "'2.5' is not a whole number" in done.stdout
    assert "That was no number" in done.stdout
    text = done.stdout.rpartition("shall I write (1 to 5000)? ")[2].removesuffix("\n")
    assert new_words(text, "ROMEO:") == 12


@pytest.mark.parametrize(("words", "message"), [("0", "would be no text"), ("5001", "more than"), ("x", "not a whole")])
def test_a_wrong_argument_is_refused(words: str, message: str) -> None:
    done = door("ROMEO:", words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_no_answer_is_no_traceback() -> None:
    done = door(answers="ROMEO:\n")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr


def test_a_character_it_never_saw_is_said() -> None:
    done = door("ROMÉO \U0001f600:", "3")
    assert done.returncode == 0
    assert done.stdout.startswith("ROMEO :")
    assert "GRINNING FACE" in done.stderr


def test_without_the_set_up_it_says_what_to_run(tmp_path: Path) -> None:
    lone = tmp_path / "generation.py"
    lone.write_text(DOOR.read_text())
    done = subprocess.run([sys.executable, "-S", "-I", str(lone)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert "make demo" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_again_with_the_project_s_own_python(tmp_path: Path) -> None:
    (tmp_path / "generation.py").write_text(DOOR.read_text())
    python = tmp_path / ".venv" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\necho "own python: $@"\n')
    python.chmod(0o755)
    done = subprocess.run([sys.executable, str(tmp_path / "generation.py"), "A", "3"], capture_output=True, text=True)
    assert done.stdout.startswith("own python:")
    assert done.stdout.strip().endswith("A 3")


def test_an_answer_that_is_no_text() -> None:
    environment = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    done = subprocess.run(
        [sys.executable, str(DOOR)], input=b"RO\xffMEO\n3\n", capture_output=True, env=environment, timeout=60
    )
    assert done.returncode == 2
    assert b"byte 0xff at place 2" in done.stderr
