"""RunFolder. The crash tests stop `save` before and after each of its operations on the disk."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from inkhorn.checkpoint import run_folder as checkpoint_module
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.errors import CheckpointError, UsageError
from inkhorn.utils import files
from inkhorn.utils.files import fsync

Write = Callable[[Path], None]

FILES = ("config.json", "model.safetensors", "trainer/state.json", "trainer/state.pt")


@pytest.fixture(autouse=True)
def _quick_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk; test_flush_before_rename checks the order of flushes."""
    monkeypatch.setattr(os, "fsync", lambda _: None)


def writer(mark: int) -> Write:
    """Write a checkpoint in which every file contains `mark`, to detect mixed and incomplete checkpoints."""

    def write(folder: Path) -> None:
        (folder / "trainer").mkdir()
        for name in FILES:
            (folder / name).write_text(str(mark))

    return write


def mark_of(folder: Path | None) -> int | None:
    """The mark in a checkpoint's files, which must be the same in all; None if there is no checkpoint."""
    if folder is None:
        return None
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    assert found == sorted(FILES), f"{folder} is incomplete: {found}"
    contents = {(folder / name).read_text() for name in FILES}
    assert len(contents) == 1, f"{folder} is a mixture: {contents}"
    return int(contents.pop())


def names(run: Path) -> list[str]:
    return sorted(path.name for path in run.iterdir())


def test_save_latest_and_best(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "mine")
    assert run.latest() is run.best() is None
    assert run.steps() == []
    folder = run.save(40, writer(40))
    assert folder == tmp_path / "runs" / "mine" / "step-0000040"
    assert run.latest() == folder
    assert run.best() is None
    run.mark_best(folder)
    assert run.best() == folder
    assert mark_of(folder) == 40
    assert names(run.path) == ["best", "latest", "step-0000040"]
    assert (run.path / "latest").read_text() == (run.path / "best").read_text() == "step-0000040\n"


def test_keeps_the_last_two_and_the_best(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for step in (100, 200, 300, 400):
        folder = run.save(step, writer(step))
        if step == 200:
            run.mark_best(folder)
    assert [mark_of(folder) for folder in run.steps()] == [200, 300, 400]
    run.mark_best(run.save(500, writer(500)))
    assert [mark_of(folder) for folder in run.steps()] == [400, 500]
    run.save(600, writer(600))
    run.save(700, writer(700))
    assert [mark_of(folder) for folder in run.steps()] == [500, 600, 700]
    assert names(tmp_path) == ["best", "latest", "step-0000500", "step-0000600", "step-0000700"]
    assert (tmp_path / "latest").read_text() == "step-0000700\n"
    assert (tmp_path / "best").read_text() == "step-0000500\n"


def test_steps_are_sorted_and_complete(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, keep=5)
    run.save(9_999_999, writer(1))
    run.save(10_000_000, writer(2))
    assert mark_of(run.latest()) == 2
    for name in ("step-0000400.tmp", "step-99999999", "step-0000500-copy", "step-x"):
        (tmp_path / name).mkdir()
    writer(3)(tmp_path / "step-0000400.tmp")
    writer(4)(tmp_path / "step-0000500-copy")
    (tmp_path / "step-88888888").write_text("a file")
    assert [mark_of(folder) for folder in run.steps()] == [1, 2]


def test_saving_a_step_again_replaces_it(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save(100, writer(1))
    run.save(100, writer(2))
    assert mark_of(run.latest()) == 2
    assert names(tmp_path) == ["latest", "step-0000100"]


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0", b"\xff\xfe", b"step-7777777\n", b"..\n", b"step-0000100.tmp\n"])
def test_damaged_pointer(tmp_path: Path, content: bytes) -> None:
    run = RunFolder(tmp_path)
    run.save(100, writer(100))
    for name in ("latest", "best"):
        (tmp_path / name).write_bytes(content)
    assert mark_of(run.latest()) == 100
    assert run.best() is None
    assert mark_of(resolve_checkpoint(tmp_path)) == 100


def test_crash_before_pointer_update(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.save(100, writer(100))
    run.save(200, writer(200))
    (tmp_path / "latest").write_text("step-0000100\n")
    assert mark_of(run.latest()) == 200
    (tmp_path / "latest").unlink()
    assert mark_of(run.latest()) == 200


# Failures


@pytest.mark.parametrize(
    "error",
    [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed"), CheckpointError("not finite")],
)
def test_failed_save(tmp_path: Path, error: Exception) -> None:
    def fail(folder: Path) -> None:
        (folder / "config.json").write_text("half")
        raise error

    run = RunFolder(tmp_path / "run")
    said = rf"cannot save .*step-0000100 \([\d,]+ MB free\): .*{error.args[-1]}; there is none yet"
    with pytest.raises(CheckpointError, match=said):
        run.save(100, fail)
    assert names(tmp_path / "run") == []
    run.save(100, writer(100))
    for step in (200, 100):  # a new one, and the same again
        with pytest.raises(CheckpointError, match=r"the last complete one is .*step-0000100$"):
            run.save(step, fail)
        assert names(tmp_path / "run") == ["latest", "step-0000100"]
        assert mark_of(run.latest()) == 100


def test_other_exceptions_propagate(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(ZeroDivisionError):
        run.save(100, lambda _: 1 // 0)  # type: ignore[arg-type]
    assert run.latest() is None


def test_unwritable_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(CheckpointError, match="cannot save a checkpoint"):
            RunFolder(path).save(1, writer(1))


def test_unwritable_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = RunFolder(tmp_path)
    run.mark_best(run.save(100, writer(100)))
    folder = run.save(200, writer(200))

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(CheckpointError, match=r"cannot write .*best: .*No space left"):
        run.mark_best(folder)
    assert mark_of(run.best()) == 100


# Crashes


class Crash(BaseException):
    """Simulates a killed process: `except Exception` does not catch it."""


class Disk:
    """Counts the operations on the disk, and fails at one of them.

    Args:
        fuse: index of the failing operation.
        killed: the process dies there; otherwise that operation fails as on a full disk.
        late: the failure comes after the operation instead of before; removals and writes are left half done.

    """

    def __init__(self, fuse: int | None, *, killed: bool, late: bool) -> None:
        self.fuse, self.killed, self.late = fuse, killed, late
        self.log: list[tuple[str, Path]] = []
        self.broken = False

    def wrap(
        self, name: str, real: Callable[..., Any], half: Callable[[Path], None] | None = None
    ) -> Callable[..., Any]:
        def operation(path: Path, *args: Any, **kwargs: Any) -> Any:
            if self.broken and self.killed:
                raise Crash  # a killed process does nothing more
            now = len(self.log) == self.fuse
            self.log.append((name, path))
            if not now:
                return real(path, *args, **kwargs)
            self.broken = True
            if self.late and half:
                half(path)
            elif self.late:
                real(path, *args, **kwargs)
            if self.killed:
                raise Crash
            if not kwargs.get("ignore_errors"):
                raise OSError(28, "No space left on device")
            return None

        return operation


def write_half(file: Path) -> None:
    file.write_bytes(b"st")


def remove_half(folder: Path) -> None:
    (folder / "model.safetensors").unlink(missing_ok=True)


@contextmanager
def breaking(disk: Disk) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for name in ("rename", "replace", "mkdir"):
            patch.setattr(Path, name, disk.wrap(name, getattr(Path, name)))
        patch.setattr(Path, "write_text", disk.wrap("write", Path.write_text, write_half))
        for module in (checkpoint_module, files):
            patch.setattr(module, "fsync", disk.wrap("fsync", fsync))
        patch.setattr(Path, "unlink", disk.wrap("unlink", Path.unlink))
        patch.setattr(shutil, "rmtree", disk.wrap("remove", shutil.rmtree, remove_half))
        yield


def save_third(run: RunFolder) -> None:
    run.save(300, writer(301))


def save_third_and_best(run: RunFolder) -> None:
    run.mark_best(run.save(300, writer(301)))


def save_second_again_twice(run: RunFolder) -> None:
    run.save(200, writer(201))
    run.save(200, writer(202))


ACTIONS = [save_third_and_best, save_second_again_twice]


def prepared(path: Path) -> RunFolder:
    """Checkpoints 100, which is the best, and 200."""
    run = RunFolder(path)
    run.mark_best(run.save(100, writer(100)))
    run.save(200, writer(200))
    return run


def operations(tmp_path: Path, action: Callable[[RunFolder], None]) -> list[tuple[str, Path]]:
    disk = Disk(None, killed=True, late=False)
    run = prepared(tmp_path / "whole")
    with breaking(disk):
        action(run)
    return disk.log


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("killed", [True, False])
def test_crash_at_every_operation(
    tmp_path: Path, action: Callable[[RunFolder], None], late: bool, killed: bool
) -> None:
    count = len(operations(tmp_path, action))
    assert count > 15
    newest = 0
    for fuse in range(count):
        run = prepared(tmp_path / str(fuse))
        disk = Disk(fuse, killed=killed, late=late)
        survived = False
        with breaking(disk):
            try:
                action(run)
                survived = True  # the failure was in cleanup, after the save
            except (Crash, CheckpointError):
                pass
        assert disk.broken
        after = RunFolder(run.path)  # another process
        latest = mark_of(after.latest())
        assert latest in (200, 201, 202, 301)
        assert latest >= newest or not killed  # a later crash leaves a newer checkpoint
        newest = latest
        assert mark_of(after.best()) in (100, 301)
        assert mark_of(resolve_checkpoint(run.path)) in (100, 301)
        for folder in after.steps():
            mark_of(folder)
        for pointer in ("latest", "best"):
            assert (run.path / pointer).read_text() in {f"step-0000{n}\n" for n in (100, 200, 300)}
        if survived:
            assert latest > 200
        # Later saves work and remove leftovers of the crash.
        after.save(400, writer(400))
        after.mark_best(after.save(500, writer(500)))
        assert names(run.path) == ["best", "latest", "step-0000400", "step-0000500"]
        assert (mark_of(after.latest()), mark_of(after.best())) == (500, 500)
        shutil.rmtree(run.path)
    assert newest > 200


def test_interrupted_replacement(tmp_path: Path) -> None:
    run = prepared(tmp_path)
    run.mark_best(tmp_path / "step-0000200")
    (tmp_path / "step-0000200").rename(tmp_path / "step-0000200.old")
    assert (mark_of(run.latest()), mark_of(run.best())) == (200, 200)
    for step in (300, 400, 500):
        run.save(step, writer(step))
    assert (mark_of(run.latest()), mark_of(run.best())) == (500, 200)
    assert [mark_of(folder) for folder in run.steps()] == [200, 400, 500]


def test_flush_before_rename(tmp_path: Path) -> None:
    """Each file and folder is flushed before the rename, the run folder after it, and then the pointer is written."""
    log = operations(tmp_path, save_third)
    run = tmp_path / "whole"
    partial = run / "step-0000300.tmp"
    renamed = log.index(("rename", partial))
    flushed = {path for name, path in log[:renamed] if name == "fsync"}
    written = {path for name, path in log[:renamed] if name == "write"}
    assert written == {partial / name for name in FILES}
    assert flushed == written | {partial, partial / "trainer"}
    assert log[renamed + 1] == ("fsync", run)
    pointed = next(i for i, (name, path) in enumerate(log) if name == "replace" and path.name.startswith("latest."))
    pointer = log[pointed][1]
    assert log[renamed + 3 : pointed] == [("write", pointer), ("fsync", pointer)]
    removals = [i for i, (name, path) in enumerate(log) if name == "rename" and path != partial]
    assert all(i > pointed for i in removals)  # old checkpoints are removed after `latest` names the new one


def test_lock(tmp_path: Path) -> None:
    """A second process cannot reserve a folder, until the first one ends or is killed; no file is left."""
    code = (
        "import sys; from pathlib import Path; from inkhorn.checkpoint.run_folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).lock(): print('locked', flush=True); sys.stdin.read()"
    )
    words = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"locked\n"
        with pytest.raises(UsageError, match="another training writes to"), RunFolder(tmp_path).lock():
            pass
        other.kill()
        other.wait(60)
    with RunFolder(tmp_path).lock():
        assert names(tmp_path) == []
