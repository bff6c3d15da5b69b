"""Training in the workers of a real Ray cluster on this machine: the same weights as under torchrun, lost workers."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
import torch
from helpers import distributed_worker as worker
from helpers.ray_cluster import PATIENCE, run_command, started

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.model import GPT
from inkhorn.training.log_writer import read_log

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

TIMEOUT = 1500
"""Seconds for a command: a cluster starts some ten processes."""


@pytest.fixture(autouse=True)
def needs_ray() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'inkhorn[ray]'")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "words.txt").write_text(worker.TEXT)
    return tmp_path


def environment(folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    ours = {"OMP_NUM_THREADS": "1", "INKHORN_CACHE": str(folder / "cache"), "RAY_ADDRESS": "local"}
    return kept | PATIENCE | ours | more


def train(folder: Path, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    return run_command([sys.executable, "-m", "inkhorn", *words], cwd=folder, env=environment(folder, **more))


def torchrun(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    return run_command([sys.executable, *launcher, *words], cwd=folder, env=environment(folder))


def latest(run: Path) -> Path:
    folder = RunFolder(run).latest()
    assert folder is not None
    return folder


def weights(run: Path) -> bytes:
    return (latest(run) / "model.safetensors").read_bytes()


def assert_close(run: Path, other: Path) -> None:
    models = GPT.from_pretrained(latest(run)), GPT.from_pretrained(latest(other))
    for (name, one), two in zip(models[0].named_parameters(), models[1].parameters(), strict=True):
        if not name.endswith("c_attn.bias"):  # a key's bias has no effect: its gradient is rounding
            torch.testing.assert_close(one, two, rtol=0, atol=1e-5, msg=name)


def test_torchrun_killed_then_ray(folder: Path) -> None:
    """A run that torchrun began and Ray finished has the weights of one that torchrun did alone, bit for bit."""
    whole = torchrun(folder, "-m", "inkhorn", *worker.COMMAND, "--out", "whole")
    assert whole.returncode == 0, whole.stderr
    killed = torchrun(folder, str(Path(worker.__file__)), "kill", str(folder))
    assert killed.returncode != 0
    assert latest(folder / "killed").name == "step-0000004"
    resumed = train(folder, *worker.COMMAND, "--out", "killed", "--resume", "--ray", "2")
    assert resumed.returncode == 0, resumed.stderr
    assert "Resuming from step 4" in resumed.stderr
    assert weights(folder / "killed") == weights(folder / "whole")
    assert not (folder / "killed" / "ray").exists()


def test_torchrun_killed_then_one_process(folder: Path) -> None:
    """Without dropout, which differs between processes, one process finishes the run with the same weights."""
    command = [*worker.COMMAND, "--dropout", "0"]
    assert torchrun(folder, "-m", "inkhorn", *command, "--out", "whole").returncode == 0
    assert torchrun(folder, str(Path(worker.__file__)), "kill", str(folder), "--dropout", "0").returncode != 0
    finished = train(folder, "train", "--out", "killed", "--resume")
    assert finished.returncode == 0, finished.stderr
    assert "Resuming from step 4" in finished.stderr
    assert_close(folder / "killed", folder / "whole")


def start(folder: Path, *words: str, **more: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "inkhorn", *words],
        cwd=folder,
        env=environment(folder, **more),
        stdout=subprocess.DEVNULL,
        stderr=(folder / "messages").open("wb"),
    )


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[bytes] | None = None) -> Any:
    """Wait until a condition holds, and while a process runs if one is given."""
    end = time.monotonic() + TIMEOUT
    while time.monotonic() < end:
        assert process is None or process.poll() is None, "the command ended early"
        found = condition()
        if found:
            return found
        time.sleep(0.2)
    raise AssertionError("waited in vain")


def has_checkpoint(run: Path) -> bool:
    return run.is_dir() and RunFolder(run).latest() is not None


LONG = ["--steps", "1000", "--save-every", "20", "--eval-every", "1000"]


def training_workers(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """The workers of a local cluster, which the command's process started."""
    return [each for each in psutil.Process(process.pid).children(recursive=True) if "RayTrainWorker" in each.name()]


def test_killed_worker(folder: Path) -> None:
    """A run that loses a worker goes on from its last checkpoint, to the same weights."""
    command = [*worker.COMMAND, *LONG]
    process = start(folder, *command, "--out", "lost", "--ray", "2")
    wait_for(lambda: has_checkpoint(folder / "lost"), process)
    workers = wait_for(lambda: training_workers(process), process)
    workers[-1].kill()
    assert process.wait(TIMEOUT) == 0, (folder / "messages").read_text()
    assert "Resuming from step" in (folder / "messages").read_text()
    assert torchrun(folder, "-m", "inkhorn", *command, "--out", "whole").returncode == 0
    assert weights(folder / "lost") == weights(folder / "whole")


def test_signal_saves_a_checkpoint(folder: Path) -> None:
    process = start(folder, *worker.COMMAND, *LONG, "--steps", "100000", "--out", "stopped", "--ray", "2")
    wait_for(lambda: has_checkpoint(folder / "stopped"), process)
    process.terminate()
    assert process.wait(TIMEOUT) == 128 + 15, (folder / "messages").read_text()
    assert "Resume with: inkhorn train --out stopped --resume" in (folder / "messages").read_text()


@pytest.fixture
def cluster() -> Iterator[Any]:
    """A cluster of two nodes with one CPU each, on this machine."""
    from ray.cluster_utils import Cluster

    made = started(Cluster, initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    yield made
    made.shutdown()


def test_fewer_workers_when_a_node_is_lost(folder: Path, cluster: Any) -> None:
    node = started(cluster.add_node, num_cpus=1)
    command = [*worker.COMMAND, *LONG, "--dropout", "0"]
    process = start(folder, *command, "--out", "elastic", "--ray", "1:2", RAY_ADDRESS=cluster.address)
    wait_for(lambda: has_checkpoint(folder / "elastic"), process)
    cluster.remove_node(node, allow_graceful=False)
    assert process.wait(TIMEOUT) == 0, (folder / "messages").read_text()
    messages = (folder / "messages").read_text()
    assert "processes 2: " in messages
    assert "Resuming from step" in messages
    assert train(folder, *command, "--out", "alone").returncode == 0
    losses = [read_log(folder / run / "metrics.jsonl")[-1]["val/loss"] for run in ("elastic", "alone")]
    assert losses[0] == pytest.approx(losses[1], abs=1e-3)


def test_other_version_on_a_node(folder: Path, cluster: Any) -> None:
    (folder / "sitecustomize.py").write_text("import inkhorn\ninkhorn.__version__ = '0.0.1'\n")
    path = os.pathsep.join([str(folder), *sys.path])
    started(cluster.add_node, num_cpus=1, env_vars={"PYTHONPATH": path})
    done = train(folder, *worker.COMMAND, "--out", "mixed", "--ray", "2", RAY_ADDRESS=cluster.address)
    assert done.returncode == 1
    assert "has other versions: inkhorn 0.0.1 there" in done.stderr
    assert "Traceback" not in done.stderr.splitlines()[-1]


def test_cluster_goes_away(folder: Path, cluster: Any) -> None:
    command = [*worker.COMMAND, *LONG, "--steps", "100000", "--out", "gone", "--ray", "1"]
    process = start(folder, *command, RAY_ADDRESS=cluster.address)
    wait_for(lambda: has_checkpoint(folder / "gone"), process)
    cluster.shutdown()
    assert process.wait(TIMEOUT) == 1
    # printed by this process, or just after its end if Ray ends it first
    wait_for(lambda: "--resume" in (folder / "messages").read_text())
    resumed = train(folder, "train", "--out", "gone", "--resume", "--steps", "25")
    assert resumed.returncode == 0, resumed.stderr


def test_too_many_workers(folder: Path) -> None:
    done = train(folder, *worker.COMMAND, "--batch-size", "64", "--out", "many", "--ray", "64")
    assert done.returncode == 2
    expected = f"--ray 64: each worker needs a CPU, and the Ray cluster has {os.cpu_count()}: give at most"
    assert expected in done.stderr
    assert not (folder / "many").exists()


def test_no_cluster_at_the_address(folder: Path) -> None:
    done = train(folder, *worker.COMMAND, "--out", "none", "--ray", "1", RAY_ADDRESS="127.0.0.1:9")
    assert done.returncode == 1
    assert "inkhorn: no Ray cluster answers at RAY_ADDRESS=127.0.0.1:9" in done.stderr
