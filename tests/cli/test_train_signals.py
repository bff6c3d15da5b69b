"""`inkhorn train` under signals: each saves a checkpoint and the report, and sets the exit code."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pty = pytest.importorskip("pty", reason="needs a POSIX system")

FLAGS = ["train", "test", "--text", "mine.txt", "--out", "run", "--steps", "100000", "--log-every", "1"]
ATTACH_TERMINAL = "import fcntl, termios; fcntl.ioctl(2, termios.TIOCSCTTY, 0); "
START_TIMEOUT, STOP_TIMEOUT = 180, 120  # seconds


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("mine.txt").write_text("To be, or not to be: that is the question.\n" * 80)


def start_run(
    hangup: str = "SIG_DFL", prefix: str = "", flags: Sequence[str] = (), **options: Any
) -> "subprocess.Popen[bytes]":
    """Start a long run and return when it has trained some steps. The child would inherit an ignored SIGHUP."""
    code = f"{prefix}import signal; signal.signal(signal.SIGHUP, signal.{hangup}); "
    code += "from inkhorn.cli.main import main; exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, *FLAGS, *flags], **options)
    deadline = time.monotonic() + START_TIMEOUT
    while not Path("run", "metrics.jsonl").exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return process


def last_step() -> str:
    return f"{json.loads(Path('run', 'metrics.jsonl').read_text().splitlines()[-1])['step']:,}"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signal_saves_checkpoint(number: signal.Signals) -> None:
    process = start_run(stderr=subprocess.PIPE)
    process.send_signal(number)
    shown = process.communicate(timeout=STOP_TIMEOUT)[1].decode()
    assert process.returncode == 128 + number
    assert f"Stopped at step {last_step()}. Resume with: inkhorn train --out run --resume" in shown
    assert f"Open the report in a browser: {Path('run', 'report.html')}" in shown
    assert last_step() in Path("run", "report.html").read_text(), "the report includes the last step"


def test_closed_terminal_saves_checkpoint() -> None:
    controller, terminal = pty.openpty()
    options = {"stdin": terminal, "stdout": terminal, "stderr": terminal, "start_new_session": True}
    process = start_run(prefix=ATTACH_TERMINAL, **options)
    os.close(terminal)
    os.close(controller)  # the system sends SIGHUP, and every later write fails
    assert process.wait(timeout=STOP_TIMEOUT) == 128 + signal.SIGHUP
    assert Path("run", "latest").read_text().strip() == f"step-{int(last_step().replace(',', '')):07}"


def test_nohup_keeps_the_run() -> None:
    process = start_run("SIG_IGN", stderr=subprocess.PIPE)
    process.send_signal(signal.SIGHUP)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=STOP_TIMEOUT)
    assert process.returncode == 128 + signal.SIGTERM


def test_watched_run() -> None:
    """The live page is there while the run goes on; Ctrl-C saves a checkpoint and ends both."""
    with Path("log").open("wb") as log:
        process = start_run(flags=["--watch", "0"], stderr=log)
    found = re.search(
        r"Watch the run in a browser: (http://127\.0\.0\.1:\d+) \(until it ends\)", Path("log").read_text()
    )
    assert found is not None
    assert b"watch.js" in urllib.request.urlopen(f"{found[1]}/").read()
    first = json.loads(urllib.request.urlopen(f"{found[1]}/metrics.jsonl").read().splitlines()[0])
    assert first["step"] == 1
    assert json.loads(urllib.request.urlopen(f"{found[1]}/snapshots.json").read())[0]["step"] == 0
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=STOP_TIMEOUT) == 128 + signal.SIGINT
    assert Path("run", "latest").read_text().strip() == f"step-{int(last_step().replace(',', '')):07}"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(found[1])
