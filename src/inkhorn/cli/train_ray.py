"""`inkhorn train --ray`: the same training in the workers of a Ray cluster."""

import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from inkhorn.cli.ray_cluster import check_room, parse_workers, ray_cluster
from inkhorn.cli.train_args import TrainArgs, parse_args
from inkhorn.errors import InkhornError, PeerLostError, TrainingError, UsageError, require
from inkhorn.training.ray_workers import run_workers
from inkhorn.utils.package_digest import versions_here

STOP_INTERVAL = 1.0
"""Seconds between looks at whether the user wants to stop."""


def train_on_ray(argv: Sequence[str], args: TrainArgs, train: Callable[[str, TrainArgs], int], page: str) -> int:
    """Run the training command in the workers of a Ray cluster; returns the exit code.

    Args:
        argv: the words after `inkhorn train`, which each worker parses again.
        args: the same words, parsed.
        train: trains in a worker, by the recipe's name and the arguments; returns the exit code.
        page: the line that names the address of the live page, empty without one.
    """
    assert args.ray is not None
    assert args.out is not None
    count = parse_workers(args.ray)
    require("RANK" not in os.environ, "--ray starts the workers itself: leave out torchrun, or --ray")
    from inkhorn.hardware.distributed import DistributedContext

    if count.fewest == count.most:
        DistributedContext(0, count.most).split_batch(args.train.batch_size, args.train.grad_accum)
    with ray_cluster("Resume from the last checkpoint with --resume.") as resources:
        device = args.train.device
        use_gpu = device == "cuda" or (device == "auto" and resources.get("GPU", 0) > 0)
        kind = "GPU" if use_gpu else "CPU"
        check_room(count, kind, int(resources.get(kind, 0)))
        args.out.mkdir(parents=True, exist_ok=True)
        storage = args.out.resolve() / "ray"
        if page:
            print(page, file=sys.stderr)
        try:
            outcome = _until_stopped(
                lambda stop: run_workers(
                    partial(run_worker, list(argv), Path.cwd(), stop, train),
                    count,
                    rows=args.train.batch_size * args.train.grad_accum,
                    use_gpu=use_gpu,
                    environment={name: value for name, value in os.environ.items() if name.startswith("INKHORN_")},
                    storage=storage,
                    versions=versions_here(),
                    log=lambda text: print(text, file=sys.stderr),
                )
            )
        finally:
            shutil.rmtree(storage, ignore_errors=True)  # Ray's own records: all that a run needs is beside it
    if outcome is None:
        raise TrainingError("Ray returned nothing from the first worker: resume from the last checkpoint with --resume")
    code, message = outcome
    if message:
        raise UsageError(message) if code == UsageError.exit_code else TrainingError(message)
    return code


def run_worker(
    argv: list[str], folder: Path, stop: Any, train: Callable[[str, TrainArgs], int]
) -> tuple[int, str] | None:
    """Train in a worker; returns the exit code and the error's message, or None if the worker has nothing to do.

    Errors that would come again are returned, so that Ray does not start the run again; others are raised.
    """
    if "RANK" not in os.environ:
        return None  # the rows of a step cannot be divided among so many workers
    is_main = os.environ["RANK"] == "0"
    sys.argv = ["inkhorn", "train", *argv]  # for the record of the run
    try:
        try:
            os.chdir(folder)
        except OSError as error:
            raise TrainingError(
                f"a machine of the Ray cluster cannot open the folder {folder} ({error.strerror}): start the command "
                "in a folder that all machines share"
            ) from None
        if is_main:
            threading.Thread(target=_watch, args=(stop,), daemon=True).start()
        name, args = parse_args(argv)
        return train(name, replace(args, watch=None)), ""
    except PeerLostError:
        raise
    except InkhornError as error:
        if not is_main and not isinstance(error, UsageError):
            print(f"inkhorn: {error}", file=sys.stderr)
        return error.exit_code, str(error)


def _watch(stop: Any) -> None:
    """Pass the wish of the user to stop on to the training loop."""
    import signal
    import time

    import ray

    from inkhorn.training.signals import Interrupt

    while True:
        number = ray.get(stop.number.remote())
        if number:
            Interrupt.requested = signal.Signals(number)
            return
        time.sleep(STOP_INTERVAL)


def _until_stopped(fit: Callable[[Any], Any]) -> Any:
    """Call `fit` with an actor that tells the workers of a signal; the second signal raises KeyboardInterrupt.

    `fit` runs in a thread, because Ray would otherwise end the workers at Ctrl-C, before they can save.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    from inkhorn.training.signals import Interrupt

    class Stop:
        def __init__(self) -> None:
            self._number = 0

        def set(self, number: int) -> None:
            self._number = number

        def number(self) -> int:
            return self._number

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    stop = ray.remote(Stop).options(num_cpus=0, scheduling_strategy=here).remote()
    results: list[Any] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(fit(stop))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    with Interrupt() as interrupt:
        thread.start()
        told = False
        while thread.is_alive():
            thread.join(0.2)
            if interrupt.received and not told:
                told = True
                stop.set.remote(int(interrupt.received))
    if errors:
        raise errors[0]
    return results[0]
