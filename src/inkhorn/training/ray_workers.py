"""Ray Train as the launcher of a training run, in torchrun's place.

Ray starts the workers, starts them again when one is lost, and with `min:max` workers starts as many as there is room
for. Each worker gets torchrun's environment variables and runs the same training as under torchrun: process group,
checkpoints and resuming are ours. Ray is imported inside the functions, because it is an optional package.
"""

import os
import socket
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from inkhorn.errors import TrainingError

MAX_FAILURES = 3
"""How often a run is started again after the loss of a worker. A node that the cluster announces to take away does not
count."""


@dataclass(frozen=True)
class WorkerCount:
    """How many workers a run may have."""

    fewest: int
    most: int

    def __str__(self) -> str:
        return str(self.most) if self.fewest == self.most else f"{self.fewest}:{self.most}"

    def usable(self, rows: int, available: int) -> int:
        """The most workers, of those that are available, among which the rows of a step can be divided equally."""
        return next(count for count in range(min(available, self.most), 0, -1) if rows % count == 0)


def run_workers(
    work: Callable[[], Any],
    count: WorkerCount,
    *,
    rows: int,
    use_gpu: bool,
    environment: Mapping[str, str],
    storage: Path,
    versions: Mapping[str, str],
    log: Callable[[str], None],
) -> Any:
    """Run `work` in the workers of a Ray cluster that `ray.init` has connected to; returns what the first one returns.

    An exception of a worker starts all again, at most MAX_FAILURES times, with TORCHELASTIC_RESTART_COUNT counted up.

    Args:
        work: called in each worker, with the variables of torchrun set. It is sent after the versions were compared.
        count: how many workers.
        rows: rows of a training step. Workers among which these cannot be divided equally stay idle.
        use_gpu: whether each worker needs a GPU.
        environment: more environment variables of the workers.
        storage: a folder for Ray's own records of the run, on a file system that all machines share.
        versions: what each worker must have, as `versions_here` gives it.
        log: called with messages for the user.

    Raises:
        TrainingError: workers were lost too often, a worker has other versions, or the cluster is gone.
    """
    from ray.exceptions import RayError
    from ray.train import ControllerError, FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train import WorkerGroupError as WorkerError
    from ray.train.torch import TorchTrainer
    from ray.train.v2.api.config import LoggingConfig

    trainer = TorchTrainer(
        work,
        torch_config=_torch_config(count, rows, versions),
        scaling_config=ScalingConfig(
            num_workers=count.most if count.fewest == count.most else (count.fewest, count.most), use_gpu=use_gpu
        ),
        run_config=RunConfig(
            storage_path=str(storage),
            failure_config=FailureConfig(max_failures=MAX_FAILURES),
            worker_runtime_env={"env_vars": dict(environment)},
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        return trainer.fit().return_value
    except WorkerError as error:
        for rank, failure in sorted(error.worker_failures.items()):
            log(f"worker {rank}: {_one_line(failure)}")
        raise TrainingError(
            f"workers were lost {MAX_FAILURES + 1} times, see the lines above. Resume from the last checkpoint with "
            "--resume"
        ) from None
    except ControllerError as error:
        if isinstance(error.controller_failure, TrainingError):
            raise error.controller_failure from None
        raise TrainingError(f"Ray cannot run the workers: {_one_line(error.controller_failure)}") from None
    except (TrainingFailedError, RayError) as error:
        raise TrainingError(
            f"the Ray cluster is gone or cannot go on: {_one_line(error)}. Resume from the last checkpoint with "
            "--resume when it is back"
        ) from None


def _one_line(error: BaseException) -> str:
    """The last line of an error that says something: Ray's own messages begin with the stack of a worker."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def check_versions(found: Sequence[Mapping[str, Any]], expected: Mapping[str, str]) -> None:
    """Raise TrainingError unless all workers have the expected versions."""
    for worker in found:
        ours, theirs = dict(expected), dict(worker["versions"])
        if theirs == ours:
            continue
        if "problem" in theirs:
            raise TrainingError(
                f"the machine {worker['node']} of the Ray cluster cannot import inkhorn ({theirs['problem']}): install "
                f"inkhorn {ours['inkhorn']} with the extras train and ray on all machines"
            )
        other = [name for name in ours if theirs.get(name) != ours[name]]
        differs = [f"{name} {theirs.get(name)} there, {ours[name]} here" for name in other]
        raise TrainingError(
            f"the machine {worker['node']} of the Ray cluster has other versions: {'; '.join(differs)}. Install the "
            "same on all machines: a run continues the same only in the same code"
        )


def torchrun_variables(
    found: Sequence[Mapping[str, Any]], world_size: int, address: str, port: int, restarts: int
) -> list[dict[str, str]]:
    """The variables that torchrun would set in each worker, in the order of their ranks; {} for one that stays idle.

    Args:
        found: `node` (a name) and `local_rank` of each worker.
        world_size: number of workers that take part.
        address: of the machine of the first worker.
        port: a free one on that machine.
        restarts: how often the run was started before.
    """
    local = Counter(worker["node"] for worker in found[:world_size])
    return [
        {
            "RANK": str(rank),
            "WORLD_SIZE": str(world_size),
            "LOCAL_RANK": str(worker["local_rank"]),
            "LOCAL_WORLD_SIZE": str(local[worker["node"]]),
            "MASTER_ADDR": address,
            "MASTER_PORT": str(port),
            "TORCHELASTIC_RESTART_COUNT": str(restarts),
        }
        if rank < world_size
        else {}
        for rank, worker in enumerate(found)
    ]


def _torch_config(count: WorkerCount, rows: int, versions: Mapping[str, str]) -> Any:
    """Ray's configuration of torch, which sets torchrun's variables and leaves the process group to us."""
    import ray
    from ray.train.backend import Backend
    from ray.train.torch import TorchConfig

    # Functions in this one: Ray sends these by value, so that a machine with another version can answer.

    def describe() -> dict[str, Any]:
        try:
            from inkhorn.utils.package_digest import versions_here

            versions = versions_here()
        except Exception as error:
            versions = {"problem": f"{type(error).__name__}: {error}"}
        context = ray.train.get_context()
        node = f"{ray.util.get_node_ip_address()} ({ray.get_runtime_context().get_node_id()[:8]})"
        return {"node": node, "local_rank": context.get_local_rank(), "versions": versions}

    def rendezvous_address() -> tuple[str, int]:
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def set_variables(variables: dict[str, str]) -> None:
        os.environ.update(variables)

    class Launcher(Backend):  # type: ignore[misc]
        share_cuda_visible_devices = True  # the local rank selects the GPU, as under torchrun
        starts = 0

        def on_start(self, worker_group: Any, backend_config: Any) -> None:  # noqa: ARG002
            found = worker_group.execute(describe)
            check_versions(found, versions)
            address, port = worker_group.execute_single(0, rendezvous_address)
            world_size = count.usable(rows, len(found))
            variables = torchrun_variables(found, world_size, address, port, self.starts)
            ray.get([worker_group.execute_single_async(i, set_variables, each) for i, each in enumerate(variables)])
            self.starts += 1

    class LauncherConfig(TorchConfig):  # type: ignore[misc]
        @property
        def backend_cls(self) -> Any:
            return Launcher

    return LauncherConfig()
