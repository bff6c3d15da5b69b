"""A training run that is killed at any operation on its files and resumed ends with the files of an undisturbed run.

The operations are Python's audit events: opening a file for writing, renaming, removing, creating a folder. At one of
them the process is killed, as an exception that nothing catches; all later ones fail as well.
"""

import itertools
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
from helpers.training import BASE, trainer

from inkhorn.data.dataset import Dataset
from inkhorn.training import trainer as trainer_module

TRAIN = replace(
    BASE, steps=4, eval_every=2, save_every=1, dropout=0.0, ema_decay=0.0, sample_tokens=5, eval_at_loss=(), snapshots=3
)
CHANGES = {"os.rename", "os.remove", "os.mkdir", "os.rmdir", "open"}


class Killed(BaseException):
    """The process has been killed."""


@dataclass
class Killer:
    """Kills the process at one operation in a folder.

    Attributes:
        folder: the folder.
        fuse: the index of the operation; None only counts them.
        half: a file that was being written has a part of its new content.
    """

    folder: Path
    fuse: int | None
    half: bool = False
    log: list[tuple[str, str]] = field(default_factory=list)
    dead: bool = False

    def on_event(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in CHANGES or not isinstance(args[0], str | os.PathLike):
            return
        path = Path(args[0])
        writes = event != "open" or (isinstance(args[1], str) and set(args[1]) & set("wax+"))
        if not writes or not path.is_relative_to(self.folder):
            return
        if self.dead:
            raise Killed
        now = len(self.log) == self.fuse
        self.log.append((event, path.name))
        if now:
            self.dead = True
            if event == "open" and self.half:
                appends = "a" in args[1]
                active.clear()
                with path.open("ab" if appends else "wb") as file:
                    file.write(b'{"step": 1')
                active.append(self)
            raise Killed


active: list[Killer] = []
installed = False


@contextmanager
def killing(killer: Killer) -> Iterator[None]:
    global installed
    if not installed:  # an audit hook cannot be removed
        sys.addaudithook(lambda event, args: active[0].on_event(event, args) if active else None)
        installed = True
    active.append(killer)
    try:
        yield
    finally:
        active.clear()


@pytest.fixture(autouse=True)
def _clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each reading of the clock is a second later, so that recorded times are equal."""

    class Clock:
        count = itertools.count()

        @classmethod
        def perf_counter(cls) -> float:
            return float(next(cls.count))

    monkeypatch.setattr(trainer_module, "time", Clock)


def files_of(out: Path) -> dict[str, bytes]:
    found = {path.relative_to(out).as_posix(): path for path in sorted(out.rglob("*")) if path.is_file()}
    return {name: path.read_bytes() for name, path in found.items() if path.name != "state.pt"}


def operations(data: Dataset, out: Path) -> list[tuple[str, str]]:
    killer = Killer(out, None)
    with killing(killer):
        trainer(data, out, TRAIN).run(resume=False)
    return killer.log


def check(data: Dataset, tmp_path: Path, fuses: range) -> None:
    whole = tmp_path / "whole"
    names = operations(data, whole)
    expected = files_of(whole)
    assert len(names) > 60
    assert {"metrics.jsonl", "samples.jsonl", "latest"} <= expected.keys()
    for fuse in fuses or range(len(names)):
        for half in (False, True) if names[fuse][0] == "open" else (False,):
            out = tmp_path / f"{fuse}-{half}"
            killer = Killer(out, fuse, half)
            with killing(killer), pytest.raises(Killed):
                trainer(data, out, TRAIN).run(resume=False)
            assert killer.log[fuse][0] == names[fuse][0]
            trainer(data, out, TRAIN).run(resume=True)
            found = files_of(out)
            assert found.keys() == expected.keys(), (fuse, half, names[fuse])
            different = [name for name in expected if found[name] != expected[name]]
            assert not different, (fuse, half, names[fuse], different)


def test_killed_at_some_operations(data: Dataset, tmp_path: Path) -> None:
    check(data, tmp_path, range(5, 60, 18))


@pytest.mark.slow
def test_killed_at_every_operation(data: Dataset, tmp_path: Path) -> None:
    check(data, tmp_path, range(0))
