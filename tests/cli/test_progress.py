"""Progress: lines without a terminal, a bar on one, TensorBoard files if it is installed."""

import io
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from inkhorn.cli import progress as progress_module
from inkhorn.cli import run_progress as module
from inkhorn.cli.progress import progress
from inkhorn.cli.run_progress import run_progress
from inkhorn.errors import InkhornError
from inkhorn.training.log_writer import LogWriter


def training(step: int) -> dict[str, Any]:
    return {"step": step, "train/loss": 2.5, "train/tokens_per_sec": 12345.6, "train/mfu": 0.414, "train/lr": 0.001}


def evaluation(step: int, loss: float = 1.5, best: float = 1.5) -> dict[str, Any]:
    return {"step": step, "val/loss": loss, "val/bpb": loss / 0.6931, "val/best": best}


@pytest.fixture(autouse=True)
def _off_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def untracked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Simulate that TensorBoard is not installed."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """Output to a terminal 100 columns wide."""
    written = io.StringIO()
    terminal = partial(Console, force_terminal=True, file=written, width=100, color_system=None, legacy_windows=False)
    monkeypatch.setattr(progress_module, "Console", lambda stderr: terminal())
    return written


@pytest.mark.usefixtures("untracked")
def test_lines_without_a_terminal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with run_progress(2000, tmp_path) as callbacks:
        for step in range(1000, 1040):
            callbacks.on_step(training(step))
            now[0] += 1.0
    out, err = capsys.readouterr()
    assert out == ""
    details = "loss 2.500, 12,346 tokens/s, MFU 41%"
    assert err.splitlines() == [f"training: 1,031 of 2,000 steps, {details}, 0:16:09 left"]


@pytest.mark.usefixtures("untracked")
def test_log_with_markup(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with run_progress(10, tmp_path) as callbacks:
        callbacks.log("[bold]no markup[/bold] " + "and no breaks " * 30)
    assert capsys.readouterr().err == "[bold]no markup[/bold] " + "and no breaks " * 30 + "\n"


@pytest.mark.usefixtures("untracked")
def test_evaluation_output(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = LogWriter(tmp_path)
    with run_progress(40, tmp_path) as callbacks:
        for metrics in (training(20), evaluation(20)):
            records.append(records.metrics, metrics)
        callbacks.on_evaluate(evaluation(20), "ROMEO:\nO [sic]!" + "\nmore" * 20)
        assert (tmp_path / "report.html").stat().st_size > 1000
        assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
        callbacks.on_evaluate(evaluation(40, loss=1.75), "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 20 of 40: validation loss 1.5000, 2.164 bits per byte (best)"
    assert lines[1:9] == ["  | ROMEO:", "  | O [sic]!", *["  | more"] * 6], "the first eight lines of the sample"
    assert lines[9:] == ["step 40 of 40: validation loss 1.7500, 2.525 bits per byte"]


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("error", [InkhornError("no fonts"), OSError(28, "No space left on device")])
def test_failing_report_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fails(out: Path, slider: str) -> None:
        raise error

    monkeypatch.setattr(module, "write_report", fails)
    with run_progress(40, tmp_path) as callbacks:
        callbacks.on_evaluate(evaluation(20), "")
        callbacks.on_step(training(21))
    assert f"The report was not updated: {error}" in capsys.readouterr().err.splitlines()


@pytest.mark.usefixtures("untracked")
def test_bar_on_a_terminal(tmp_path: Path, screen: io.StringIO) -> None:
    with run_progress(2000, tmp_path) as callbacks:
        callbacks.on_evaluate(evaluation(1000), "")
        callbacks.on_step(training(1234))
        callbacks.bar.bar.refresh()
        callbacks.on_step(training(2000))
    text = screen.getvalue()
    assert "1,234 of 2,000 steps" in text
    assert "loss 2.500, val 1.500, 12,346 tokens/s, MFU 41%" in text
    assert "2,000 of 2,000 steps" in text


@pytest.mark.usefixtures("untracked")
def test_without_tensorboard(tmp_path: Path) -> None:
    with run_progress(40, tmp_path) as callbacks:
        assert callbacks.tensorboard is None
        callbacks.on_step(training(10))
        callbacks.on_evaluate(evaluation(20), "")
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.filterwarnings("ignore")  # of its own and its libraries'
def test_with_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with run_progress(40, tmp_path) as callbacks:
        callbacks.on_step(training(10))
        callbacks.on_evaluate(evaluation(20), "")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 2.5)]
    assert [(e.step, e.value) for e in events.Scalars("val/loss")] == [(20, 1.5)]
    assert set(events.Tags()["scalars"]) == {name for m in (training(0), evaluation(0)) for name in m if "/" in name}


def test_lazy_total(screen: io.StringIO) -> None:
    totals: list[int] = []

    def total() -> int:
        totals.append(400)
        return 400

    with progress("tokenizing words", total, "characters") as bar:
        assert totals == []
        bar.advance(100)
        bar.advance(100)
        bar.bar.refresh()
    assert totals == [400]
    assert "tokenizing words" in screen.getvalue()
    assert "200 of 400 characters" in screen.getvalue()


def test_unknown_total_and_resumed_amount(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 1.0, 41.0])
    monkeypatch.setattr(progress_module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    with progress("tokenizing pages", None, "tokens", completed=500) as bar:
        bar.advance(100)
        bar.advance(400)
        bar.log("[bold]no markup[/bold]")
    lines = ["tokenizing pages: 1,000 tokens, 10 tokens/s", "[bold]no markup[/bold]"]
    assert capsys.readouterr().err.splitlines() == lines


@pytest.mark.usefixtures("untracked")
def test_unwritable_output_does_not_end_the_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Closed(io.StringIO):
        def write(self, text: str) -> int:
            raise OSError(5, "Input/output error")

    for terminal in (True, False):
        console = partial(Console, force_terminal=terminal, file=Closed(), width=80, legacy_windows=False)
        monkeypatch.setattr(progress_module, "Console", lambda stderr, console=console: console())
        monkeypatch.setattr(progress_module, "LINE_INTERVAL", -1.0)
        with run_progress(40, tmp_path) as callbacks:
            callbacks.on_step(training(10))
            callbacks.on_evaluate(evaluation(20), "a sample")
            callbacks.log("a message")
        assert (tmp_path / "report.html").exists()
