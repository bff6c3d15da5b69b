"""The message for a process that is ended without a chance to print one."""

import subprocess
import sys

import pytest

MESSAGE = "inkhorn: this process was ended. Resume with --resume."


def ended_by(statement: str) -> subprocess.CompletedProcess[str]:
    lines = ["import os, signal, sys", "from inkhorn.cli.abrupt_end import message_on_abrupt_end"]
    lines += [f"with message_on_abrupt_end({MESSAGE!r}):", f"    {statement}"]
    return subprocess.run([sys.executable, "-c", "\n".join(lines)], capture_output=True, text=True, timeout=300)


@pytest.mark.parametrize("statement", ["os._exit(1)", "os.abort()", "os.kill(os.getpid(), 9)"])
def test_message_of_a_process_that_is_ended(statement: str) -> None:
    done = ended_by(statement)
    assert done.returncode != 0
    assert done.stderr.splitlines().count(MESSAGE) == 1


@pytest.mark.parametrize("statement", ["pass", "sys.exit(3)", "raise KeyboardInterrupt", "raise ValueError"])
def test_no_message_if_python_leaves_the_block(statement: str) -> None:
    assert MESSAGE not in ended_by(statement).stderr
