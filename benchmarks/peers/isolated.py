"""Runs each engine in its own process.

The thread pools of several engines in one process would compete, and some keep spinning for a while after they finish.
"""

import itertools
import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from peers import Peer, Timing
from peers.shapes import Workload

IDLE_SECONDS = 0.3
"""Pause before a measurement, so that the threads of the previous engine are asleep."""
MIN_SECONDS = 0.5
"""A measurement repeats its workload for at least this long, so that start-up does not dominate short workloads."""


def _serve(make: Callable[[], Peer], threads: int, connection: Connection) -> None:
    import torch

    torch.set_num_threads(threads)
    peer = make()
    connection.send(peer.name)
    with torch.no_grad():
        seeds = itertools.count()  # new prompts each time, so that prefix caches do not help
        while (workload := connection.recv()) is not None:
            end = time.perf_counter() + MIN_SECONDS
            timings = [peer.generate(workload.prompts(next(seeds)), workload.new)]
            while time.perf_counter() < end:
                timings.append(peer.generate(workload.prompts(next(seeds)), workload.new))
            count = len(timings)
            connection.send(Timing(sum(t.first for t in timings) / count, sum(t.rest for t in timings) / count))


class IsolatedEngine:
    """An engine that is created and runs in another process.

    Args:
        make: creates the engine; must be picklable.
        threads: number of threads that torch may use.

    """

    def __init__(self, make: Callable[[], Peer], threads: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._connection, child = context.Pipe()
        self._process = context.Process(target=_serve, args=(make, threads, child), daemon=True)
        self._process.start()
        child.close()
        self.name: str = self._connection.recv()

    def measure(self, workload: Workload) -> Timing:
        """Wait until the machine is idle, run the workload repeatedly, and return the mean timing."""
        time.sleep(IDLE_SECONDS)
        self._connection.send(workload)
        timing: Timing = self._connection.recv()
        return timing

    def close(self) -> None:
        self._connection.send(None)
        self._process.join()
