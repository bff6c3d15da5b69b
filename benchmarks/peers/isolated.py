"""An engine in a process of its own: thread pools of several engines in one process get in each other's way, and those
of some go on spinning for a while after they are done."""

import itertools
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from peers import Peer, Timing
from peers.shapes import Work

REST = 0.3
"""seconds for what has just run to fall asleep"""
LEAST = 0.5
"""seconds that a measurement takes: a short text is written again and again, or its first steps would be most of it"""


def _serve(make: Callable[[], Peer], threads: int, ours: Connection) -> None:
    import torch

    torch.set_num_threads(threads)
    peer = make()
    ours.send(peer.name)
    with torch.no_grad():
        numbers = itertools.count()  # other prompts each time: an engine that remembers one has nothing of it
        while (work := ours.recv()) is not None:
            end, timings = time.perf_counter() + LEAST, [peer.write(work.prompts(next(numbers)), work.new)]
            while time.perf_counter() < end:
                timings.append(peer.write(work.prompts(next(numbers)), work.new))
            count = len(timings)
            ours.send(Timing(sum(t.first for t in timings) / count, sum(t.rest for t in timings) / count))


class IsolatedEngine:
    """An engine that is made, and runs, in another process.

    Args:
        make: makes the engine; a function or partial that can be sent there.
        threads: that torch may use.

    """

    def __init__(self, make: Callable[[], Peer], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._theirs, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, threads, child), daemon=True)
        self._process.start()
        child.close()
        self.name: str = self._theirs.recv()

    def measure(self, work: Work) -> Timing:
        """Do the work there, after what ran before has come to rest; the mean over as many times as it takes."""
        time.sleep(REST)
        self._theirs.send(work)
        timing: Timing = self._theirs.recv()
        return timing

    def close(self) -> None:
        """End the process."""
        self._theirs.send(None)
        self._process.join()
