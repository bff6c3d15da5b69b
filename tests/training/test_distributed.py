"""Distributed training: several processes match one, resume each other's checkpoints and survive a killed worker."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import distributed_worker as worker

from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.cli.main import main
from inkhorn.config.model import ModelConfig
from inkhorn.config.train import TrainConfig
from inkhorn.data.batches import BatchSampler
from inkhorn.data.dataset import Dataset
from inkhorn.errors import TrainingError, UsageError
from inkhorn.hardware.device import Hardware, select_device
from inkhorn.hardware.distributed import DistributedContext, is_torchrun, process_group, translate_peer_failure
from inkhorn.model import GPT
from inkhorn.training.log_writer import read_log
from inkhorn.training.memory import memory_needed
from inkhorn.training.parallel import choose_parallel


def torchrun(folder: Path, task: str, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "INKHORN_CACHE": str(folder / "cache"), "PYTHONWARNINGS": ""}
    words = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", *options]
    script = str(Path(worker.__file__))
    return subprocess.run(
        [sys.executable, *words, script, task, str(folder)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=150,
        check=False,
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with the runs of two processes."""
    folder = tmp_path_factory.mktemp("runs")
    (folder / "words.txt").write_text(worker.TEXT)
    done = torchrun(folder, "compare")
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


@pytest.fixture(scope="module")
def data(runs: Path) -> Dataset:
    return worker.make_dataset(runs)


@pytest.fixture(scope="module")
def single_process(runs: Path, data: Dataset) -> Path:
    """Folder with the same runs of one process added."""
    for optimizer in ("adamw", "muon"):
        train = replace(worker.BASE, optimizer=optimizer)
        worker.make_trainer(data, runs / f"one-{optimizer}", train).run(resume=False)
    return runs


def losses(run: Path, kind: str = "train/loss") -> list[float]:
    return [line[kind] for line in read_log(run / "metrics.jsonl") if kind in line]


def latest(run: Path) -> Path:
    folder = RunFolder(run).latest()
    assert folder is not None
    return folder


def assert_runs_close(run: Path, one: Path) -> None:
    """Check that losses, gradient norms, validation losses and weights are equal up to rounding."""
    for kind, count in (("train/loss", 8), ("train/grad_norm", 8), ("val/loss", 2)):
        assert len(losses(run, kind)) == count
        np.testing.assert_allclose(losses(run, kind), losses(one, kind), rtol=0, atol=1e-5)
    for (name, ours), theirs in zip(
        GPT.from_pretrained(latest(run)).named_parameters(), GPT.from_pretrained(latest(one)).parameters(), strict=True
    ):
        if not name.endswith("c_attn.bias"):  # a key's bias has no effect: its gradient is rounding
            torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4, msg=name)


@pytest.mark.distributed
@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
def test_two_processes_match_one(single_process: Path, parallel: str, optimizer: str) -> None:
    assert_runs_close(single_process / f"{parallel}-{optimizer}", single_process / f"one-{optimizer}")
    assert (latest(single_process / f"{parallel}-{optimizer}") / "trainer" / "shards").is_dir() == (parallel == "fsdp")


@pytest.mark.distributed
@pytest.mark.parametrize("run", ["fsdp-then-ddp", "ddp-then-fsdp"])
def test_resume_with_other_parallelism(single_process: Path, run: str) -> None:
    assert_runs_close(single_process / run, single_process / "one-muon")


@pytest.mark.distributed
def test_resume_sharded_run_in_one_process(single_process: Path, data: Dataset) -> None:
    out = single_process / "fsdp-then-one"
    assert latest(out).name == f"step-{worker.SIGNAL_STEP:07d}"
    worker.make_trainer(data, out, worker.BASE).run(resume=True)
    assert_runs_close(out, single_process / "one-muon")


@pytest.mark.slow
@pytest.mark.distributed
def test_torchrun_restarts_killed_worker(runs: Path) -> None:
    done = torchrun(runs, "kill", "--max-restarts", "2")
    assert done.returncode == 0, done.stderr
    assert "Resuming from step 4" in done.stderr
    assert losses(runs / "killed") == losses(runs / "uninterrupted")
    assert (latest(runs / "killed") / "model.safetensors").read_bytes() == (
        latest(runs / "uninterrupted") / "model.safetensors"
    ).read_bytes()


@pytest.mark.slow
def test_restarted_worker_resumes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("INKHORN_CACHE", str(tmp_path / "cache"))
    (tmp_path / "words.txt").write_text(worker.TEXT)
    words = [*worker.COMMAND, "--out", "run", "--steps", "4"]
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main(words) == 0, "without a checkpoint the run starts from step 0"
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "0")
    assert main(words) == 2
    assert "already holds a model" in capsys.readouterr().err
    monkeypatch.setenv("RANK", "1")
    assert main(words) == 2
    assert capsys.readouterr().err == "", "only rank 0 prints the error"
    monkeypatch.delenv("RANK")
    monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", "1")
    assert main([*words, "--steps", "5"]) == 0
    assert "Resuming from step 4" in capsys.readouterr().err


# Batch split


@pytest.mark.parametrize(
    ("batch_size", "grad_accum", "count", "share"),
    [(8, 60, 1, (8, 60)), (8, 60, 8, (6, 10)), (8, 60, 4, (8, 15)), (16, 1, 2, (8, 1)), (16, 1, 16, (1, 1))],
)
def test_split_batch_keeps_rows_of_a_step(batch_size: int, grad_accum: int, count: int, share: tuple[int, int]) -> None:
    ids = np.arange(20_000)
    one = BatchSampler(ids, batch_size, 4, 7)
    rows, passes = share
    order = BatchSampler(ids, rows, 4, 7)
    for step in (0, 3):
        expected = [row for i in range(grad_accum) for row in one.batch(step * grad_accum + i)]
        taken = []
        for rank in range(count):
            assert DistributedContext(rank, count).split_batch(batch_size, grad_accum) == share
            taken += [row for i in range(passes) for row in order.batch((step * count + rank) * passes + i)]
        np.testing.assert_array_equal(taken, expected)


def test_split_batch_indivisible_rows() -> None:
    with pytest.raises(
        UsageError, match="--batch-size 8 times --grad-accum 2 = 16 rows per step cannot be split over 3 processes"
    ):
        DistributedContext(0, 3).split_batch(8, 2)


def test_seed_rng_differs_by_rank_and_repeats() -> None:
    def drawn(rank: int, step: int, count: int = 2) -> list[float]:
        DistributedContext(rank, count).seed_rng(7, step)
        return torch.rand(3).tolist()

    several = [drawn(0, 0), drawn(1, 0), drawn(0, 1), drawn(1, 1)]
    assert len({tuple(numbers) for numbers in several}) == 4
    assert [drawn(0, 0), drawn(1, 0), drawn(0, 1), drawn(1, 1)] == several
    torch.manual_seed(5)
    before = torch.get_rng_state()
    DistributedContext().seed_rng(7, 0)
    assert torch.equal(torch.get_rng_state(), before), "a single process keeps the global random state"


# Choice of parallelism, and its memory

BIG = ModelConfig(vocab_size=50_257, block_size=1024, n_layer=12, n_head=12, n_embd=768)
TWO = DistributedContext(0, 2, local_world_size=2)
ALONE_CPU = Hardware(torch.device("cpu"), torch.bfloat16, False, ())


class Agreeing(DistributedContext):
    """A context of two processes in which no message is sent; both always have the same value."""

    def all_reduce_max(self, value: int) -> int:
        return value


def test_choose_parallel(monkeypatch: pytest.MonkeyPatch) -> None:
    pair = replace(ALONE_CPU, distributed=Agreeing(0, 2, local_world_size=2))
    train = TrainConfig(batch_size=2)
    whole = sum(memory_needed(BIG, 1, pair, train).values())

    def chosen(free: float, train: TrainConfig = train, hardware: Hardware = pair) -> tuple[bool, str]:
        monkeypatch.setattr("inkhorn.training.memory.free_bytes", lambda device: free)
        found = choose_parallel(BIG, train, hardware)
        return found.sharded, found.reasons[-1] if found.reasons else ""

    assert chosen(4 * whole) == (False, "parallel ddp (the model is replicated): a full copy fits into memory")
    assert chosen(2 * whole)[0], "two on a machine have half of its memory each"
    assert "would hardly fit" in chosen(2 * whole)[1]
    assert not chosen(2 * whole, replace(train, parallel="ddp"))[0]
    assert chosen(9 * whole, replace(train, parallel="fsdp"))[0]
    assert not chosen(whole / 9, replace(train, lora_rank=4))[0]
    assert chosen(1.0, hardware=ALONE_CPU) == (False, "")
    assert "needs more than one process" in chosen(1.0, replace(train, parallel="fsdp"), ALONE_CPU)[1]
    with pytest.raises(UsageError, match="cannot be split over 2 processes"):
        chosen(whole, TrainConfig(batch_size=3))
    with pytest.raises(UsageError, match="no use with --lora-rank"):
        TrainConfig(lora_rank=4, parallel="fsdp")


def test_memory_needed_sharded() -> None:
    train = TrainConfig(optimizer="adamw")
    one, two, eight = (
        memory_needed(BIG, 1, replace(ALONE_CPU, distributed=DistributedContext(0, count), sharded=count > 1), train)
        for count in (1, 2, 8)
    )
    parameters = 4 * BIG.num_parameters
    assert one["weights"] == one["gradients"] == one["optimizer"] / 2 == parameters
    for name in ("weights", "gradients", "optimizer"):
        assert (two[name], eight[name]) == (one[name] / 2, one[name] / 8)
    assert 0 < two["gathered weights and gradients"] == eight["gathered weights and gradients"] < 2 * parameters
    assert sum(one.values()) > sum(two.values()) > sum(eight.values())
    adapted = memory_needed(BIG, 1, ALONE_CPU, replace(train, lora_rank=8))
    count = sum(p.numel() for p in _adapters(8))
    assert (adapted["weights"], adapted["gradients"], adapted["optimizer"]) == (parameters, 4 * count, 8 * count)


def _adapters(rank: int) -> list[torch.nn.Parameter]:
    """Trainable parameters of BIG with LoRA."""
    from inkhorn.training.lora import add_adapters

    with torch.device("meta"):
        model = add_adapters(GPT(BIG), rank, 1.0)
    return [p for p in model.parameters() if p.requires_grad]


def test_more_processes_than_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    with pytest.raises(UsageError, match="torchrun started 2 processes on a machine with 1 GPUs"):
        select_device(TrainConfig(), TWO)


def test_gpu_by_local_rank(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = list[int]()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Some GPU")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    assert select_device(TrainConfig(), DistributedContext(3, 4, 1, 2)).device == torch.device("cuda", 1)
    assert taken == [1]


# Process groups


def test_process_group_without_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert not is_torchrun()
    with process_group(cuda=False) as distributed:
        assert (
            distributed.world_size,
            distributed.is_main_process,
            distributed.any(True),
            distributed.any(False),
            distributed.all_reduce_max(3),
        ) == (
            1,
            True,
            True,
            False,
            3,
        )
        assert distributed.main_process_first(lambda: 5) == 5
        values = torch.rand(2)
        assert distributed.all_reduce_sum(values) is values


def test_translate_peer_failure() -> None:
    lost = RuntimeError("[third_party/gloo/pair.cc:553] Connection closed by peer [127.0.0.1]:1")
    with pytest.raises(TrainingError, match="another of the 2 processes ended"), translate_peer_failure(2):
        raise lost
    for count, error in ((1, lost), (2, RuntimeError("mat1 and mat2 cannot be multiplied"))):
        with pytest.raises(RuntimeError) as raised, translate_peer_failure(count):
            raise error
        assert raised.value is error
