"""The server of the live page of a training: what it sends, what it refuses, and a port that is in use."""

import http.client
import json
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from inkhorn.cli.main import main
from inkhorn.cli.train_args import parse_args
from inkhorn.errors import UsageError
from inkhorn.web.watch import DEFAULT_PORT, WatchServer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[WatchServer]:
    server = WatchServer(tmp_path / "run", 0)
    yield server
    server.close()


def get(server: WatchServer, path: str, host: str | None = None, method: str = "GET") -> tuple[int, str, bytes]:
    """Status, the header Inkhorn-File and the body."""
    address = server.url.removeprefix("http://")
    connection = http.client.HTTPConnection(address, timeout=60)
    connection.request(method, path, headers={} if host is None else {"Host": host})
    response = connection.getresponse()
    found = response.status, response.headers.get("Inkhorn-File", ""), response.read()
    connection.close()
    return found


def test_only_known_files(server: WatchServer, tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "snapshots" / "step-0000001").mkdir(parents=True)
    (run / "secret").write_text("x")
    assert get(server, "/")[0] == 200
    assert b"TrainingView" in get(server, "/views/training.js")[2]
    paths = [
        "/secret",
        "/../secret",
        "/%2e%2e/secret",
        "/snapshots/../secret",
        "/snapshots/1.json",
        "/snapshots/x.json",
    ]
    for path in [*paths, "/views/", "/snapshots/" + "9" * 400 + ".json", "/step-0000001/config.json", "/%00"]:
        assert get(server, path)[0] == 404, path
    assert get(server, "/run.json", method="POST")[0] == 501
    for host in ("evil.example", "evil.example:80", "", "127.0.0.1.evil.example:1"):
        assert get(server, "/run.json", host)[0] == 403, host
    assert get(server, "/run.json", "localhost:80")[0] == 200


def test_appended_and_replaced_files(server: WatchServer, tmp_path: Path) -> None:
    assert get(server, "/metrics.jsonl?file=&from=0") == (200, "none 0", b"")
    assert get(server, "/snapshots.json")[2] == b"[]"
    path = tmp_path / "run" / "metrics.jsonl"
    path.parent.mkdir()
    path.write_text("first\n")
    status, header, body = get(server, "/metrics.jsonl?file=none&from=0")
    assert (status, body) == (200, b"first\n")
    identity = header.split()[0]
    with path.open("a") as file:
        file.write("second\n")
    assert get(server, f"/metrics.jsonl?file={identity}&from=6")[1:] == (f"{identity} 6", b"second\n")
    assert get(server, f"/metrics.jsonl?file={identity}&from=13")[1:] == (f"{identity} 13", b"")
    for start in ("99", "-1", "x", ""):
        assert get(server, f"/metrics.jsonl?file={identity}&from={start}")[1:] == (f"{identity} 0", b"first\nsecond\n")
    other = path.with_name("other")
    other.write_text("new\n")
    other.replace(path)
    header, body = get(server, f"/metrics.jsonl?file={identity}&from=2")[1:]
    assert body == b"new\n"
    assert header.endswith(" 0")


def test_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """It is an error before the text is read and the run's folder is made."""
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("To be, or not to be.\n" * 40)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert main(["train", "test", "--text", "mine.txt", "--out", "run", "--watch", str(port)]) == 2
    shown = capsys.readouterr().err
    assert f"--watch: cannot listen on 127.0.0.1:{port} (Address already in use)" in shown
    assert "give another port, or 0 for a free one" in shown
    assert not Path("run").exists()


def test_flag(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("To be, or not to be.\n" * 40)
    flags = ["test", "--text", "mine.txt", "--out", "run"]
    assert parse_args(flags)[1].watch is None
    assert parse_args([*flags, "--watch"])[1].watch == DEFAULT_PORT
    assert parse_args(["test", "--watch", *flags[1:]])[1].watch == DEFAULT_PORT
    assert parse_args([*flags, "--watch", "0"])[1].watch == 0
    assert parse_args([*flags, "--watch=9000"])[1].watch == 9000
    for wrong in ("70000", "-1", "x"):
        with pytest.raises(UsageError, match="--watch"):
            parse_args([*flags, f"--watch={wrong}"])
    with pytest.raises(UsageError, match="--max-snapshot-mb"):
        parse_args([*flags, "--max-snapshot-mb", "0"])
    with pytest.raises(UsageError, match="--snapshots"):
        parse_args([*flags, "--snapshots", "-3"])


def test_snapshot_numbers_that_are_not_numbers(server: WatchServer, tmp_path: Path) -> None:
    folder = tmp_path / "run" / "snapshots" / "step-0000001"
    folder.mkdir(parents=True)
    (folder / "snapshot.json").write_text("{")
    assert json.loads(get(server, "/snapshots.json")[2]) == []
