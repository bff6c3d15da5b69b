"""A message for the user although the process is ended without a chance to print it."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

WATCHER = """
import signal, sys
signal.signal(signal.SIGINT, signal.SIG_IGN)
if not sys.stdin.buffer.read():
    print(sys.argv[1], file=sys.stderr, flush=True)
"""
"""Reads until its input is closed: after a byte by the end of the block, or without one by the end of the process."""


@contextmanager
def message_on_abrupt_end(message: str) -> Iterator[None]:
    """Print a message on stderr if the process is ended within the block by code that Python cannot catch.

    Ray's C++ code calls _exit when the cluster does not answer for a while; SIGKILL and a crash look the same. A
    second process watches, because the first one has no chance to. An exception that leaves the block prints nothing.
    """
    command = [sys.executable, "-I", "-S", "-c", WATCHER, message]
    watcher = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, start_new_session=True)
    try:
        yield
    finally:
        watcher.communicate(b".")
