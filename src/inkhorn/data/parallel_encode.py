"""Texts to ids by several processes at once, in the order of the texts.

Threads would do, for the library that encodes lets Python go; but they share its cache of words, and what it returns
becomes an array only under Python's lock. A process has its own of both.
"""

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from inkhorn.errors import CorpusError
from inkhorn.tokenizer.base import Ids, Tokenizer

T = TypeVar("T")

_tokenizer: list[Tokenizer] = []
"""of a process that works for another"""


@dataclass(frozen=True)
class EncodedBatch:
    """Some texts as ids.

    Attributes:
        ids: of each text, without anything between them.
        n_bytes: length of each text in UTF-8.
        replaced: characters that the vocabulary lacked.

    """

    ids: list[Ids]
    n_bytes: list[int]
    replaced: int


def encode_texts(tokenizer: Tokenizer, texts: list[str]) -> EncodedBatch:
    """Encode each of some texts, made to fit the vocabulary."""
    ids, n_bytes, replaced = [], [], 0
    for text in texts:
        fitted, unknown = tokenizer.normalize(text)
        replaced += sum(u.count for u in unknown)
        ids.append(tokenizer.encode(fitted))
        n_bytes.append(len(fitted.encode()))
    return EncodedBatch(ids, n_bytes, replaced)


def available_cores() -> int:
    """How many processes may work at once here."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def encode_batches(
    tokenizer: Tokenizer, batches: Iterable[tuple[T, list[str]]], processes: int | None = None
) -> Generator[tuple[T, EncodedBatch], None, None]:
    """Encode batches of texts, each with something that goes along; what comes out does not depend on `processes`.

    Args:
        tokenizer: is sent to each process once.
        batches: are taken a few in advance, so that memory stays bounded.
        processes: one of them is none but this; as many as there are cores when absent.

    Raises CorpusError if a process dies, as for want of memory.

    """
    count = available_cores() if processes is None else processes
    if count == 1:
        for label, texts in batches:
            yield label, encode_texts(tokenizer, texts)
        return
    # Fresh processes: a copy of this one would inherit locks that its threads hold, torch's among them.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_init_worker, initargs=(tokenizer,))
    waiting: deque[tuple[T, Future[EncodedBatch]]] = deque()
    source = iter(batches)
    try:
        while True:
            for label, texts in islice(source, 2 * count - len(waiting)):
                waiting.append((label, pool.submit(_work, texts)))
            if not waiting:
                return
            label, future = waiting.popleft()
            yield label, future.result()
    except BrokenProcessPool:
        raise CorpusError(
            "a process that encoded text was ended, perhaps for want of memory; what is done is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _init_worker(tokenizer: Tokenizer) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its pool
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer.append(tokenizer)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)  # it was killed: nobody waits for the rest


def _work(texts: list[str]) -> EncodedBatch:
    return encode_texts(_tokenizer[0], texts)
