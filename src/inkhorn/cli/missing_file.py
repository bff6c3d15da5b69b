"""What a command does on a terminal if a file is missing that another command downloads: ask, and run that command."""

import os
import shlex
import subprocess
import sys
from collections.abc import Callable

from inkhorn.errors import CorpusError, MissingFileError


def with_downloads(run: Callable[[], int]) -> int:
    """Run a command, again after each file that the user lets it download; MissingFileError if the answer is no."""
    while True:
        try:
            return run()
        except MissingFileError as error:
            if not _agrees(error.command):
                raise
            code = subprocess.run(error.command).returncode
            if code != 0:
                raise CorpusError(f"{shlex.join(error.command)} failed with exit code {code}") from None


def _agrees(command: tuple[str, ...]) -> bool:
    """Ask whether to run a command. Without a terminal, or in a worker of torchrun, nobody answers: False."""
    if "RANK" in os.environ or not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stderr)):
        return False
    print(f"inkhorn: a file is missing, which this command downloads:\n    {shlex.join(command)}", file=sys.stderr)
    print("Run it now? [Y/n] ", end="", file=sys.stderr, flush=True)
    answer = sys.stdin.readline()
    return answer.strip().lower() in ("", "y", "yes") and answer != ""  # no line at all: the end of the input
