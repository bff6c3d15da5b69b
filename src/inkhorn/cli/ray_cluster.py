"""The Ray cluster of a command's --ray: connecting to it, and whether it has room."""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import tyro

from inkhorn.cli.abrupt_end import message_on_abrupt_end
from inkhorn.errors import TrainingError, require
from inkhorn.training.ray_workers import WorkerCount
from inkhorn.utils.ray_address import check_ray_address

Workers = Annotated[str | None, tyro.conf.arg(metavar="N|MIN:MAX", help_behavior_hint="")]
"""The type of the flag."""


def parse_workers(text: str) -> WorkerCount:
    """The number of workers that --ray names; UsageError if it names none."""
    found = re.fullmatch(r"(\d{1,6})(?::(\d{1,6}))?", text)
    fewest, most = (int(found[1]), int(found[2] or found[1])) if found else (0, 0)
    require(
        1 <= fewest <= most,
        f"--ray {text}: give the number of workers, at least 1, or the fewest and the most, such as 1:4",
    )
    return WorkerCount(fewest, most)


@contextmanager
def ray_cluster(way_out: str) -> Iterator[dict[str, float]]:
    """Join the cluster that RAY_ADDRESS names or that runs on this machine, or start one; yields its resources.

    RAY_ADDRESS=local always starts one, which ends with this process.

    Args:
        way_out: what the user can do when the cluster is gone, a sentence. It is printed if Ray ends this process.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would report the use of its libraries to its makers
    os.environ.setdefault("RAY_worker_niceness", "0")  # a worker has the priority that torchrun would give it
    import ray

    check_ray_address()
    address = os.environ.get("RAY_ADDRESS")
    try:
        ray.init(logging_level="WARNING")  # with the dashboard on a cluster of its own: Ray Train asks it for states
        resources = dict(ray.cluster_resources())
    except Exception as error:  # Ray has many, such as a bare Exception if this machine is too busy
        if isinstance(error, ModuleNotFoundError):
            raise
        what = (
            f"no Ray cluster answers at RAY_ADDRESS={address}"
            if address not in (None, "local")
            else "cannot join or start a Ray cluster"
        )
        raise TrainingError(f"{what}: {' '.join(str(error).split())}") from None
    lost = f"inkhorn: the process ended without an error; Ray does this when its cluster is gone. {way_out}"
    with message_on_abrupt_end(lost):
        try:
            yield resources
        finally:
            ray.shutdown()


def check_room(count: WorkerCount, kind: str, available: int) -> None:
    """Raise UsageError if the cluster has too few CPUs or GPUs."""
    hint = "" if available < 1 else f": give at most {available}, or --ray 1:{count.most} to use what there is"
    require(
        count.fewest <= available,
        f"--ray {count}: each worker needs a {kind}, and the Ray cluster has {available}{hint}",
    )
