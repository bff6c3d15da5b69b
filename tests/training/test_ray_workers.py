"""What a launch by Ray needs and Ray itself does not: counts of workers, torchrun's variables, versions, a stop."""

import signal

import pytest

from inkhorn.errors import TrainingError
from inkhorn.hardware.distributed import DistributedContext, check_same_step
from inkhorn.training.ray_workers import WorkerCount, check_versions, torchrun_variables
from inkhorn.training.signals import Interrupt
from inkhorn.utils.package_digest import package_digest


@pytest.mark.parametrize(
    ("rows", "available", "usable"), [(32, 8, 8), (32, 7, 4), (32, 3, 2), (12, 5, 4), (7, 6, 1), (32, 9, 8)]
)
def test_usable_workers_divide_the_rows(rows: int, available: int, usable: int) -> None:
    assert WorkerCount(1, 8).usable(rows, available) == usable


def test_torchrun_variables() -> None:
    found = [
        {"node": "a", "local_rank": 0},
        {"node": "a", "local_rank": 1},
        {"node": "b", "local_rank": 0},
        {"node": "b", "local_rank": 1},
    ]
    variables = torchrun_variables(found, 3, "10.0.0.1", 4711, 2)
    assert variables[2] == {
        "RANK": "2",
        "WORLD_SIZE": "3",
        "LOCAL_RANK": "0",
        "LOCAL_WORLD_SIZE": "1",
        "MASTER_ADDR": "10.0.0.1",
        "MASTER_PORT": "4711",
        "TORCHELASTIC_RESTART_COUNT": "2",
    }
    assert [each.get("LOCAL_WORLD_SIZE") for each in variables] == ["2", "2", "1", None]
    assert variables[3] == {}, "the fourth worker stays idle"


def test_check_versions() -> None:
    ours = {"inkhorn": "1.0", "torch": "2.9", "inkhorn's files": "abc"}
    check_versions([{"node": "a", "versions": ours}], ours)
    for theirs, message in (
        (
            ours | {"inkhorn": "0.9"},
            r"machine b of the Ray cluster has other versions: inkhorn 0.9 there, 1.0 here\. In",
        ),
        (ours | {"inkhorn's files": "abcd"}, "inkhorn's files abcd there, abc here"),
        ({"problem": "ModuleNotFoundError: no inkhorn"}, "cannot import inkhorn .*: install inkhorn 1.0"),
    ):
        with pytest.raises(TrainingError, match=message):
            check_versions([{"node": "a", "versions": ours}, {"node": "b", "versions": theirs}], ours)


def test_package_digest_is_stable() -> None:
    assert package_digest() == package_digest()
    assert len(package_digest()) == 64


def test_signal_that_another_process_received(monkeypatch: pytest.MonkeyPatch) -> None:
    with Interrupt() as interrupt:
        assert interrupt.received is None
        monkeypatch.setattr(Interrupt, "requested", signal.SIGTERM)
        assert interrupt.received == signal.SIGTERM


class OtherStep(DistributedContext):
    """A context of two processes; the other one is at step 5."""

    def all_reduce_max(self, value: int) -> int:
        return max(value, 5 if value >= 0 else -5)


def test_processes_that_see_other_checkpoints() -> None:
    check_same_step(OtherStep(0, 2), 5)
    with pytest.raises(TrainingError, match="the processes see different checkpoints"):
        check_same_step(OtherStep(0, 2), 0)
