"""`inkhorn serve --ray`: replicas of the application on a Ray cluster, which is started on this machine."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil  # type: ignore[import-untyped]
import pytest
from helpers.ray_cluster import (
    PATIENCE,
    SECONDS,
    Load,
    cluster,
    free_port,
    get,
    post,
    running_replicas,
    stream,
    wait_for,
)
from helpers.server import save_tiny

from inkhorn.errors import InkhornError
from inkhorn.server.ray_serve import application as applications
from inkhorn.server.ray_serve import run
from inkhorn.server.ray_serve.options import RayOptions
from inkhorn.server.settings import ServerConfig

pytestmark = [
    pytest.mark.ray,
    pytest.mark.filterwarnings("ignore"),  # Ray's own
]
pytest.importorskip("ray", reason="ray is not installed: pip install 'inkhorn[ray]'")

LONG: dict[str, Any] = {"prompt": "ROMEO:", "max_tokens": 400, "ignore_eos": True}
ONE = RayOptions(max_replicas=1)


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    with cluster() as port:
        yield port


def deploy(options: RayOptions = ONE, **config: Any) -> None:
    """Deploy the shipped model, or what `config` names, and wait until it is ready."""
    run.deploy(applications.application(ServerConfig(shutdown_timeout=120, **config), options))


def test_scaling_up_and_down_under_load_fails_no_request(port: int) -> None:
    """And every replica gives the same text for a seed."""
    options = RayOptions(max_replicas=2, target_ongoing_requests=2, upscale_delay=1, downscale_delay=3)
    deploy(options)
    alone = {seed: stream(port, LONG | {"seed": seed}).text for seed in range(8)}
    with Load(port, 8, LONG) as load:
        wait_for(lambda: running_replicas("model") == 2, "a second replica")
        starts = set[str]()

        def both_answer() -> bool:
            starts.update(re.findall(r"^process_start_time_seconds (\S+)", get(port, "/metrics"), re.MULTILINE))
            return len(starts) == 2

        wait_for(both_answer, "an answer of each replica")
    with Load(port, 1, LONG) as light:
        wait_for(lambda: running_replicas("model") == 1, "one replica again")
    assert len(load.answers) >= 8
    for seed, answer in load.answers + light.answers:
        assert answer.error is None
        assert answer.done
        assert answer.text == alone[seed]


def test_rolling_update_breaks_no_stream(port: int) -> None:
    deploy(precision="int8")
    with Load(port, 16, LONG) as load:
        wait_for(lambda: len(load.answers) >= 16, "answers of the old weights")
        deploy(precision="bf16")
        at_end = len(load.answers)
        wait_for(lambda: len(load.answers) >= at_end + 16, "answers of the new weights")
    texts: dict[tuple[int, str], set[str]] = {}
    for seed, answer in load.answers:
        assert answer.error is None
        assert answer.done
        [fingerprint] = answer.fingerprints
        texts.setdefault((seed, fingerprint), set()).add(answer.text)
    assert {fingerprint.split("_")[2] for _, fingerprint in texts} == {"int8", "bf16"}
    assert all(len(found) == 1 for found in texts.values()), "a seed has one text for each fingerprint"


def replica_pid() -> int:
    """The only replica's process."""
    names = {each.pid: " ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)}
    [pid] = [pid for pid, name in names.items() if "ServeReplica:inkhorn:" in name and ":router" not in name]
    return pid


def test_killed_replica_ends_its_streams_and_is_replaced(port: int) -> None:
    deploy()
    with Load(port, 4, LONG | {"max_tokens": 20_000}) as load:
        running = 'num_requests_running{model_name="shakespeare"} 4.0'
        wait_for(lambda: running in get(port, "/metrics"), "4 requests")
        load.body["max_tokens"] = 10
        os.kill(replica_pid(), signal.SIGKILL)
        wait_for(lambda: len(load.answers) >= 4, "the end of the streams")
        wait_for(lambda: post(port, {"prompt": "a", "max_tokens": 1})[0] == 200, "a new replica")
    for _, answer in load.answers[:4]:
        assert answer.error is not None, "a stream that breaks off must not look complete"
        assert not answer.done


def test_metrics_of_all_replicas_in_one_place(port: int) -> None:
    import ray

    deploy(RayOptions(min_replicas=2, max_replicas=2))
    [node] = ray.nodes()
    page, first = "", dict[str, float]()
    sample = re.compile(r'^ray_inkhorn_generation_tokens_total\{.*?replica="(\w+)".*?\} (\S+)', re.MULTILINE)

    def complete() -> bool:
        """Whether the counters of two replicas grow. Ray keeps those of replicas that have ended."""
        nonlocal page
        post(port, {"prompt": "a", "max_tokens": 5})
        page = get(node["MetricsExportPort"], "/metrics")
        found = {replica: float(value) for replica, value in sample.findall(page)}
        for replica, value in found.items():
            first.setdefault(replica, value)
        return sum(value > first[replica] for replica, value in found.items()) == 2

    wait_for(complete, "the metrics of both replicas")
    for name in ("num_requests_waiting", "time_to_first_token_seconds_bucket", "model_loaded"):
        assert f"ray_inkhorn_{name}" in page


def test_several_models_behind_one_address(port: int, tmp_path: Path) -> None:
    folders = [str(save_tiny(tmp_path / name, seed)) for seed, name in enumerate(("one", "two"))]
    deploy(models=tuple(folders), api_keys=())
    listed = json.loads(get(port, "/v1/models"))["data"]
    assert [model["id"] for model in listed] == ["one", "two"]
    assert json.loads(get(port, "/v1/models/two"))["id"] == "two"
    assert set(json.loads(get(port, "/api/settings"))["models"]) == {"one", "two"}
    body = {"prompt": "ab", "seed": 1, "max_tokens": 20, "ignore_eos": True}
    texts = [post(port, body | more)[1]["choices"][0]["text"] for more in ({}, {"model": "one"}, {"model": "two"})]
    assert texts[0] == texts[1] != texts[2]
    streamed = stream(port, body | {"model": "two"})
    assert (streamed.text, streamed.done) == (texts[2], True)
    status, answer = post(port, body | {"model": "three"})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")
    assert post(port, {"prompt": 3})[0] == 400
    assert json.loads(get(port, "/health")) == {"status": "ok"}
    assert "<title>" in get(port, "/")
    # A client that disconnects ends its request on the replica.
    with socket.create_connection(("127.0.0.1", port)) as connection:
        content = json.dumps({"model": "two", "prompt": "a", "max_tokens": 60_000, "stream": True, "ignore_eos": True})
        head = "POST /v1/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
        connection.sendall(f"{head}Content-Length: {len(content)}\r\n\r\n{content}".encode())
        assert connection.recv(1000)
    idle = 'num_requests_running{model_name="two"} 0.0'
    wait_for(lambda: idle in get(port, "/metrics?model=two"), "the end of the request")


def test_replica_lost_behind_the_router_ends_streams_with_an_error(port: int, tmp_path: Path) -> None:
    folders = [str(save_tiny(tmp_path / name)) for name in ("one", "two")]
    deploy(models=tuple(folders))
    with Load(port, 2, {"model": "two", "prompt": "a", "max_tokens": 60_000, "ignore_eos": True}) as load:
        running = 'num_requests_running{model_name="two"} 2.0'
        wait_for(lambda: running in get(port, "/metrics?model=two"), "2 requests")
        load.body["max_tokens"] = 5
        names = {each.pid: " ".join(each.cmdline()) for each in psutil.Process().children(recursive=True)}
        [pid] = [pid for pid, name in names.items() if "ServeReplica:inkhorn:two" in name]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: len(load.answers) >= 2, "the end of the streams")
        wait_for(lambda: post(port, {"model": "two", "prompt": "a", "max_tokens": 1})[0] == 200, "a new replica")
    for _, answer in load.answers[:2]:
        assert "the replica of model two that answered this request was lost" in str(answer.error)


def test_replica_that_cannot_start_says_why(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deploy()
    with pytest.raises(
        InkhornError, match=r"cannot deploy: node \S+ cannot load the model: .*none does not exist.*same path"
    ):
        deploy(models=(str(tmp_path / "none"),))
    with pytest.raises(InkhornError, match=r"cannot deploy: .*INKHORN_ISA=sse9: this CPU supports .*portable"):
        deploy(RayOptions(isa="sse9"))
    monkeypatch.setattr(applications, "__version__", "0.0.1")
    with pytest.raises(InkhornError, match=r"node \S+ has Inkhorn .*, and 0.0.1 was deployed: install one version"):
        deploy()
    assert post(port, {"prompt": "a", "max_tokens": 1})[0] == 200, "the replicas of before are still there"


def test_isa_pins_the_instruction_set(port: int) -> None:
    deploy(RayOptions(isa="portable"))
    assert post(port, {"prompt": "a", "max_tokens": 1})[1]["system_fingerprint"].endswith("_portable")


def test_command() -> None:
    """From the start to SIGTERM; and an address in use is reported in one line."""
    port = free_port()
    code = "import sys; from inkhorn.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", "--ray", "--port", str(port), "--max-replicas", "1"]
    environment = os.environ | PATIENCE | {"RAY_ADDRESS": "local"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"Inkhorn is listening on http://127.0.0.1:{port}\n"
        assert re.fullmatch(r"metrics of all replicas: http://\S+/metrics\n", process.stdout.readline())
        assert post(port, {"prompt": "a", "max_tokens": 3})[0] == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(SECONDS) == 0
    with socket.create_server(("127.0.0.1", port)):
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=SECONDS, check=False)
    assert done.returncode == 1
    assert f"inkhorn: cannot listen on 127.0.0.1:{port}: Address already in use" in done.stderr
    assert "Traceback" not in done.stderr


def test_cluster_that_goes_away() -> None:
    code = "import sys; from inkhorn.cli.main import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "serve", "--ray", "--port", str(free_port()), "--max-replicas", "1"]
    environment = os.environ | PATIENCE | {"RAY_ADDRESS": "local"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("Inkhorn is listening")
        children = psutil.Process(process.pid).children(recursive=True)
        [head] = [each for each in children if each.name() == "gcs_server"]
        head.kill()
        _, errors = process.communicate(timeout=SECONDS)
        assert process.returncode == 1
        assert "inkhorn: the Ray cluster went away" in errors
        psutil.wait_procs(children, timeout=SECONDS)
