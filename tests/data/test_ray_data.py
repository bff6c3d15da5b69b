"""Documents encoded by two workers of a real Ray cluster: the shards of one machine, also after a kill and from S3."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import Request, urlopen

import psutil  # type: ignore[import-untyped]
import pytest
from helpers.ray_cluster import PATIENCE, SECONDS, run_command

pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("default")]

TIMEOUT = 1500
"""Seconds for a command: a cluster starts some ten processes."""

PROGRAM = """
import sys
from inkhorn.data import documents, ray_encode, shard_writer
shard_writer.SHARD_TOKENS = int(sys.argv.pop(1))
shard_writer.tokenize_documents.__kwdefaults__["shard_tokens"] = shard_writer.SHARD_TOKENS
from inkhorn.cli.main import main
sys.exit(main())
"""
"""The inkhorn command with smaller shards."""

SHARD_TOKENS = "100000"


@pytest.fixture(autouse=True)
def needs_ray() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'inkhorn[ray]'")


def write(folder: Path, count: int, files: int = 6) -> Path:
    """Documents of 2,000 characters in JSON Lines files."""
    folder.mkdir()
    for number in range(files):
        with (folder / f"{number}.jsonl").open("w") as file:
            for i in range(count // files):
                text = " ".join(f"word{(i * 7919 + number * 104729 + j * j) % 5000}" for j in range(220))
                file.write(json.dumps({"text": text}) + "\n")
    return folder


def environment(cache: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONWARNINGS"}
    return kept | PATIENCE | {"INKHORN_CACHE": str(cache), "RAY_ADDRESS": "local"} | more


def data(cache: Path, text: Path | str, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
    flags = ["data", "--text", str(text), "--tokenizer", "bpe", "--vocab-size", "400", *words]
    return run_command([sys.executable, "-c", PROGRAM, SHARD_TOKENS, *flags], env=environment(cache, **more))


def dataset(cache: Path) -> Path:
    (folder,) = (path for path in (cache / "datasets").iterdir() if path.is_dir())
    return folder


def shards(cache: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in dataset(cache).glob("*.bin")}


def test_two_workers_write_the_shards_of_one_machine(tmp_path: Path) -> None:
    folder = write(tmp_path / "web", 1200)
    done = data(tmp_path / "ray", folder, "--ray", "2")
    assert done.returncode == 0, done.stderr
    alone = data(tmp_path / "one", folder)
    assert alone.returncode == 0, alone.stderr
    assert done.stdout == alone.stdout
    assert shards(tmp_path / "ray") == shards(tmp_path / "one")
    assert len(shards(tmp_path / "one")) >= 6


def test_kill_and_run_again(tmp_path: Path) -> None:
    """The shards that were complete are kept, and the rest comes out the same."""
    folder = write(tmp_path / "web", 12_000)
    flags = ["data", "--text", str(folder), "--tokenizer", "bpe", "--vocab-size", "400", "--ray", "2"]
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, SHARD_TOKENS, *flags],
        env=environment(tmp_path / "ray"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    cluster = psutil.Process(process.pid)
    end = time.monotonic() + TIMEOUT
    while not list((tmp_path / "ray").glob("datasets/*/train-00002.bin")):
        assert process.poll() is None, "the command ended early"
        assert time.monotonic() < end
        time.sleep(0.05)
    started = cluster.children(recursive=True)
    process.send_signal(signal.SIGKILL)
    for each in started:  # the processes of the local cluster, which nobody ends after a kill
        if each.is_running():
            each.kill()
    process.wait()
    kept = {path.name: path.stat().st_mtime_ns for path in dataset(tmp_path / "ray").glob("train-*.bin")}
    assert len(kept) >= 3
    done = data(tmp_path / "ray", folder, "--ray", "2")
    assert done.returncode == 0, done.stderr
    alone = data(tmp_path / "one", folder)
    assert shards(tmp_path / "ray") == shards(tmp_path / "one"), alone.stderr
    assert len(shards(tmp_path / "one")) > 2 * (len(kept) + 2)
    for name, changed in sorted(kept.items())[:-1]:  # the kill may fall between the last file and its record
        assert (dataset(tmp_path / "ray") / name).stat().st_mtime_ns == changed, f"{name} was written again"


def test_bad_row_names_its_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "web", 60)
    with (folder / "3.jsonl").open("a") as file:
        file.write('{"text": 5}\n')
    done = data(tmp_path / "ray", folder, "--ray", "2")
    assert done.returncode == 1
    assert f"inkhorn: {folder / '3.jsonl'}, line 11, has a 'text' that is of type int" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.fixture
def s3() -> Iterator[str]:
    """The address of a server of S3 on this machine, with an empty bucket named `bucket`."""
    pytest.importorskip("s3fs", reason="s3fs is not installed: pip install s3fs")
    pytest.importorskip("flask_cors", reason="moto's server is not installed: pip install 'moto[s3]' flask-cors")
    server = pytest.importorskip("moto.server", reason="moto is not installed: pip install 'moto[s3]' flask-cors")
    running = server.ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    running.start()
    host, port = running.get_host_and_port()
    put(f"http://{host}:{port}/bucket")
    yield f"http://{host}:{port}"
    running.stop()


def put(url: str, body: bytes = b"") -> None:
    request = Request(url, body, {"Content-Type": "application/octet-stream"}, method="PUT")
    with urlopen(request, timeout=SECONDS) as response:
        assert response.status == 200


def test_s3(tmp_path: Path, s3: str) -> None:
    """One machine, and two workers, make of files in a bucket what one machine makes of the same files on its disk."""
    folder = write(tmp_path / "web", 1200)
    for path in folder.iterdir():
        put(f"{s3}/bucket/web/{path.name}", path.read_bytes())
    access = {
        "AWS_ENDPOINT_URL": s3,
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
    }
    local = data(tmp_path / "local", folder)
    assert local.returncode == 0, local.stderr
    for name, flags in (("one", []), ("ray", ["--ray", "2"])):
        done = data(tmp_path / name, "s3://bucket/web", *flags, **access)
        assert done.returncode == 0, done.stderr
        assert shards(tmp_path / name) == shards(tmp_path / "local")
    assert len(shards(tmp_path / "local")) >= 6
    missing = data(tmp_path / "none", "s3://bucket/none", **access)
    assert missing.returncode == 1
    assert missing.stderr.startswith("inkhorn: there is nothing at s3://bucket/none")
