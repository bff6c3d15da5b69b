"""Encoding with several processes."""

import multiprocessing
import os
from collections.abc import Iterator

import pytest

from inkhorn.data.parallel_encode import encode_batches
from inkhorn.errors import CorpusError
from inkhorn.tokenizer.base import Ids
from inkhorn.tokenizer.char import CharTokenizer

TOKENIZER = CharTokenizer("abc\n")


class Dying(CharTokenizer):
    """Kills the worker process that uses it."""

    def encode(self, text: str) -> Ids:
        if multiprocessing.parent_process() is not None:
            os._exit(9)
        return super().encode(text)


@pytest.mark.parametrize("processes", [1, 2])
def test_encode_batches_keeps_order_and_labels(processes: int) -> None:
    taken: list[int] = []

    def batches() -> Iterator[tuple[int, list[str]]]:
        for number in range(30):
            taken.append(number)
            yield number, ["a" * (30 - number) * 200, "b" * number, "é"]  # the first take longest

    for number, (label, encoded) in enumerate(encode_batches(TOKENIZER, batches(), processes)):
        assert label == number
        assert len(taken) <= number + 2 * processes
        assert [ids.tolist() for ids in encoded.ids] == [[1] * (30 - number) * 200, [2] * number, []]
        assert encoded.n_bytes == [(30 - number) * 200, number, 0]
        assert encoded.replaced == 1


def test_dead_worker_is_reported() -> None:
    batches = [(i, ["abc"]) for i in range(4)]
    assert len(list(encode_batches(Dying("abc"), batches, 1))) == 4
    with pytest.raises(CorpusError, match="perhaps because memory ran out"):
        list(encode_batches(Dying("abc"), batches, 2))
