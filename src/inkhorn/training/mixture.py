"""The order of the training rows: of one text, or of a pretraining text and then more and more of the text itself."""

from bisect import bisect_left
from dataclasses import dataclass

from inkhorn.config.train import TrainConfig
from inkhorn.data.batches import BatchSampler, MixtureSampler
from inkhorn.data.dataset import Dataset


def make_sampler(dataset: Dataset, train: TrainConfig, rows: int, block_size: int) -> BatchSampler | MixtureSampler:
    """The rows of a run, in micro-batches of `rows`."""
    if dataset.pretrain is None:
        return BatchSampler(dataset.train, rows, block_size, train.seed)
    total = train.steps * train.batch_size * train.grad_accum
    start, end = round(train.mix_start * total), round(train.mix_end * total)
    return MixtureSampler(dataset.pretrain, dataset.train, rows, block_size, train.seed, start=start, end=end)


@dataclass(frozen=True)
class MixturePlan:
    """What a run with a pretraining text will see."""

    pretrain_tokens: int  # length of the pretraining text
    pretrain_epochs: float  # how often it is seen
    epochs: float  # how often the text itself is seen
    start: int  # the first step with rows of the text itself
    end: int  # the first step with nothing else
    repeats: int | None  # the first step that sees the text itself again, if one does


def mixture_plan(dataset: Dataset, train: TrainConfig, block_size: int) -> MixturePlan | None:
    """The plan of a run; None without a pretraining text."""
    per_step = train.batch_size * train.grad_accum
    sampler = make_sampler(dataset, train, per_step, block_size)
    if not isinstance(sampler, MixtureSampler):
        return None
    later = sampler.later_rows(train.steps * per_step)
    windows, steps = sampler.later.windows, range(train.steps + 1)
    repeats = bisect_left(steps, windows + 1, key=lambda step: sampler.later_rows(step * per_step))
    return MixturePlan(
        pretrain_tokens=len(sampler.earlier.ids),
        pretrain_epochs=(train.steps * per_step - later) / sampler.earlier.windows,
        epochs=later / windows,
        start=sampler.start // per_step,
        end=-(-sampler.end // per_step),
        repeats=repeats - 1 if later > windows else None,
    )
