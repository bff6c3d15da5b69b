"""The job files of examples/cluster: they parse, and their commands are ones that torchrun and inkhorn accept."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import torch.distributed.run
import yaml
from helpers.paths import ROOT

from inkhorn.cli.train_args import parse_args

FOLDER = ROOT / "examples" / "cluster"
VARIABLES = {
    "SLURM_JOB_NODELIST": "node[1-8]",
    "SLURM_NNODES": "8",
    "SLURM_GPUS_ON_NODE": "8",
    "SLURM_JOB_ID": "77",
    "SKYPILOT_NODE_IPS": "10.0.0.1\n10.0.0.2",
    "SKYPILOT_NUM_NODES": "8",
    "SKYPILOT_NODE_RANK": "3",
    "SKYPILOT_NUM_GPUS_PER_NODE": "8",
}
"""What the schedulers set in a job."""
TOOLS = {
    "scontrol": 'test "$*" = "show hostnames node[1-8]" && printf "node1\\nnode2\\n"',
    "srun": '"$@"',
    "torchrun": 'printf "%s\\n" torchrun "$@"',
}
"""Programs in place of the real ones: torchrun prints its command line."""


def run_script(script: str, folder: Path) -> list[str]:
    """The words of the torchrun command that a job script calls."""
    for name, line in TOOLS.items():
        (folder / name).write_text(f"#!/bin/bash\n{line}\n")
        (folder / name).chmod(0o755)
    environment = os.environ | VARIABLES | {"PATH": f"{folder}:{os.environ['PATH']}", "HOME": str(folder)}
    done = subprocess.run(["bash", "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split("\n")[:-1]


def check_torchrun(words: list[str]) -> tuple[Any, Any]:
    """Parse the command as torchrun and as inkhorn do; returns both results."""
    assert words[0] == "torchrun"
    launcher = torch.distributed.run.get_args_parser().parse_args(words[1:])
    assert launcher.module
    assert launcher.training_script == "inkhorn"
    command, *rest = launcher.training_script_args
    assert command == "train"
    name, args = parse_args(rest)
    assert name == "gpt2-xl"
    assert args.resume, "a job that is started again must continue"
    rows = args.train.batch_size * args.train.grad_accum
    assert rows % (int(launcher.nnodes) * int(launcher.nproc_per_node)) == 0
    return launcher, args


def test_slurm(tmp_path: Path) -> None:
    script = (FOLDER / "slurm.sh").read_text()
    assert "#SBATCH --nodes=8" in script
    launcher, args = check_torchrun(run_script(script, tmp_path))
    assert (launcher.rdzv_endpoint, launcher.rdzv_id) == ("node1:29400", "77")
    assert args.out == tmp_path / "runs" / "gpt2-xl"


def test_skypilot(tmp_path: Path) -> None:
    job = yaml.safe_load((FOLDER / "skypilot.yaml").read_text())
    assert set(job) == {"name", "num_nodes", "resources", "volumes", "setup", "run"}
    launcher, args = check_torchrun(run_script(job["run"], tmp_path))
    assert (launcher.master_addr, launcher.node_rank) == ("10.0.0.1", 3)
    assert all(str(path).startswith("/shared/") for path in (args.text, args.out))
    assert set(job["volumes"]) == {"/shared"}
    assert subprocess.run(["bash", "-n", "-c", job["setup"]], check=False).returncode == 0


def test_kubernetes() -> None:
    service, job = yaml.safe_load_all((FOLDER / "kubernetes.yaml").read_text())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    launcher, args = check_torchrun(container["command"])
    name = job["metadata"]["name"]
    assert job["spec"]["completionMode"] == "Indexed"
    assert job["spec"]["completions"] == job["spec"]["parallelism"] == int(launcher.nnodes)
    assert int(launcher.nproc_per_node) == container["resources"]["limits"]["nvidia.com/gpu"]
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]
    assert launcher.rdzv_endpoint == f"{name}-0.{pod['subdomain']}:{service['spec']['ports'][0]['port']}"
    mounted = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert set(mounted) == {volume["name"] for volume in pod["volumes"]}
    assert all(str(path).startswith(mounted["shared"] + "/") for path in (args.text, args.out))


@pytest.mark.parametrize("name", ["slurm.sh", "skypilot.yaml", "kubernetes.yaml"])
def test_documented(name: str) -> None:
    assert f"examples/cluster/{name}" in (ROOT / "docs" / "training.md").read_text()
