"""What a run shows: lines off a terminal, a bar on one, TensorBoard's files where it is installed."""

import io
import sys
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress

from inkhorn.cli import progress
from inkhorn.cli import run_progress as module
from inkhorn.cli.run_progress import RunProgress
from inkhorn.data.text import TextSource
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
    """As where TensorBoard is not installed."""
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)


@pytest.fixture
def screen(monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a terminal 100 columns wide is sent."""
    written = io.StringIO()
    terminal = partial(Console, force_terminal=True, file=written, width=100, color_system=None, legacy_windows=False)
    for room in (module, progress):
        monkeypatch.setattr(room, "Console", lambda stderr: terminal())
    return written


@pytest.mark.usefixtures("untracked")
def test_off_a_terminal_it_prints_a_line_now_and_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [100.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now[0]))
    with RunProgress(2000, tmp_path) as progress:
        for step in range(1000, 1040):
            progress.step(training(step))
            now[0] += 1.0
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [f"step {step:,}  loss 2.500  12,346 tok/s  MFU 41%" for step in (1016, 1032)], (
        "every 15 seconds, in one line each, without the bar"
    )


@pytest.mark.usefixtures("untracked")
def test_what_is_said_is_left_as_it_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with RunProgress(10, tmp_path) as progress:
        progress.say("[bold]no markup[/bold] " + "and no breaks " * 30)
    assert capsys.readouterr().err == "[bold]no markup[/bold] " + "and no breaks " * 30 + "\n"


@pytest.mark.usefixtures("untracked")
def test_an_evaluation_is_shown_and_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = LogWriter(tmp_path)
    with RunProgress(40, tmp_path) as progress:
        for metrics in (training(20), evaluation(20)):
            records.append(records.metrics, metrics)
        progress.evaluated(evaluation(20), "ROMEO:\nO [sic]!" + "\nmore" * 20)
        assert (tmp_path / "report.html").stat().st_size > 1000
        assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
        progress.evaluated(evaluation(40, loss=1.75), "")
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == "step 20: validation loss 1.5000, 2.164 bits a byte (best)"
    assert lines[1:9] == ["  | ROMEO:", "  | O [sic]!", *["  | more"] * 6], "the first eight lines of the sample"
    assert lines[9:] == ["step 40: validation loss 1.7500, 2.525 bits a byte"]


@pytest.mark.usefixtures("untracked")
@pytest.mark.parametrize("error", [InkhornError("no fonts"), OSError(28, "No space left on device")])
def test_a_report_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], error: Exception
) -> None:
    def fails(out: Path) -> None:
        raise error

    monkeypatch.setattr(module, "write_report", fails)
    with RunProgress(40, tmp_path) as progress:
        progress.evaluated(evaluation(20), "")
        progress.step(training(21))
    assert f"no report this time: {error}" in capsys.readouterr().err.splitlines()


@pytest.mark.usefixtures("untracked")
def test_on_a_terminal_it_shows_a_bar(tmp_path: Path, screen: io.StringIO) -> None:
    with RunProgress(2000, tmp_path) as progress:
        progress.evaluated(evaluation(1000), "")
        progress.step(training(1234))
        progress.bar.refresh()
        progress.step(training(2000))
    text = screen.getvalue()
    assert "step 1,234/2,000" in text
    assert "loss 2.500  val 1.500  12,346 tok/s  MFU 41%" in text
    assert "step 2,000/2,000" in text


@pytest.mark.usefixtures("untracked")
def test_without_tensorboard(tmp_path: Path) -> None:
    with RunProgress(40, tmp_path) as progress:
        assert progress.tensorboard is None
        progress.step(training(10))
        progress.evaluated(evaluation(20), "")
    assert not (tmp_path / "tensorboard").exists()


@pytest.mark.filterwarnings("ignore")  # of its own and its libraries'
def test_with_tensorboard(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with RunProgress(40, tmp_path) as progress:
        progress.step(training(10))
        progress.evaluated(evaluation(20), "")
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(e.step, e.value) for e in events.Scalars("train/loss")] == [(10, 2.5)]
    assert [(e.step, e.value) for e in events.Scalars("val/loss")] == [(20, 1.5)]
    assert set(events.Tags()["scalars"]) == {name for m in (training(0), evaluation(0)) for name in m if "/" in name}


def source() -> TextSource:
    return TextSource(name="words", pieces=lambda: ("to be or not to be ",) * 10)


def test_tokenising_is_silent_off_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.tokenising(source()) as done:
        done(190)
        done(190)
    assert capsys.readouterr() == ("", "")


def test_tokenising_shows_two_readings(screen: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "Progress", partial(Progress, auto_refresh=False))
    text = source()
    with progress.tokenising(text, readings=2) as done:
        assert "summary" not in vars(text), "the bar does not read the text"
        done(190)
    assert "tokenising words" in screen.getvalue()
    assert " 50%" in screen.getvalue()
    with progress.tokenising(text, readings=2) as done:
        done(190)
        done(190)
    assert "100%" in screen.getvalue()
