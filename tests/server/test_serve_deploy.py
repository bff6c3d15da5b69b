"""`serve deploy` with our config file, on a Ray cluster that is started on this machine."""

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers.ray_cluster import PATIENCE, Load, free_port, post, run_command, started, wait_for

from inkhorn.checkpoint.resolve import resolve_checkpoint

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
ray = pytest.importorskip("ray", reason="ray is not installed: pip install 'inkhorn[ray]'")

CONFIG = Path(__file__).parents[2] / "deploy/ray/serve.yaml"


@pytest.fixture(scope="module")
def dashboard() -> Iterator[str]:
    """The address of a cluster's dashboard, which `serve deploy` asks."""
    os.environ.update(PATIENCE)
    context = started(
        ray.init,
        num_cpus=3,  # more than there may be: an update starts a replica beside the old one
        include_dashboard=True,
        dashboard_port=free_port(),
        log_to_driver=False,
        logging_level="ERROR",
        address="local",
    )
    yield f"http://{context.dashboard_url}"
    ray.shutdown()


def serve_command(dashboard: str, *words: str) -> str:
    """The output of a command of Ray Serve."""
    code = "from ray.serve.scripts import cli; cli()"
    done = run_command([sys.executable, "-c", code, *words, "--address", dashboard])
    assert done.returncode == 0, done.stderr
    return done.stdout


def status(dashboard: str) -> dict[str, Any]:
    """What `serve status` says of the application."""
    applications: dict[str, Any] = yaml.safe_load(serve_command(dashboard, "status"))["applications"]
    return applications.get("inkhorn", {"status": "absent"})


def test_config_file_then_weights_that_cannot_be_loaded(dashboard: str, tmp_path: Path) -> None:
    """The config file serves. After an update to damaged weights the old replica answers all requests, and the status
    has the reason; after one to good weights, these answer."""
    config, port = yaml.safe_load(CONFIG.read_text(encoding="utf-8")), free_port()
    config["http_options"] |= {"port": port, "host": "127.0.0.1"}
    file = tmp_path / "serve.yaml"

    def deploy() -> None:
        file.write_text(yaml.safe_dump(config))
        serve_command(dashboard, "deploy", str(file))

    deploy()
    wait_for(lambda: status(dashboard)["status"] == "RUNNING", "the application")
    request = {"prompt": "ROMEO:", "max_tokens": 60, "seed": 1, "ignore_eos": True}
    code, before = post(port, request)
    assert code == 200
    assert before["usage"]["completion_tokens"] == 60

    model = tmp_path / "update"
    shutil.copytree(resolve_checkpoint("shakespeare"), model)
    weights = model / "model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[: len(good) // 2])
    [application] = config["applications"]
    application["args"] |= {"models": [str(model)], "precision": "fp32"}
    with Load(port, 2, {"prompt": "ROMEO:", "max_tokens": 200, "ignore_eos": True}) as load:
        deploy()
        wait_for(lambda: status(dashboard)["status"] == "DEPLOY_FAILED", "the failure")
        at_end = len(load.answers)
        wait_for(lambda: len(load.answers) >= at_end + 2, "answers after the failure")
    for _, answer in load.answers:
        assert answer.error is None
        assert answer.done
        assert answer.fingerprints == {before["system_fingerprint"]}
    messages = [each["message"] for each in status(dashboard)["deployments"].values()]
    assert any("cannot load the model" in message and "model.safetensors" in message for message in messages), messages
    assert post(port, request)[1]["choices"] == before["choices"]

    weights.write_bytes(good)
    application["args"]["max_num_seqs"] = 8  # another config, so that Ray tries again
    deploy()
    wait_for(lambda: "_fp32_" in post(port, request)[1].get("system_fingerprint", ""), "the new weights")
    assert status(dashboard)["status"] == "RUNNING"
