"""Encode texts with several processes, keeping their order.

Processes are faster than threads here: threads share the tokenizer library's word cache, and the conversion of its
results to arrays holds Python's lock.
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
from inkhorn.utils.cpu import available_cores

T = TypeVar("T")

_tokenizer: list[Tokenizer] = []  # the tokenizer of a worker process


@dataclass(frozen=True)
class EncodedBatch:
    ids: list[Ids]  # token ids of each text
    n_bytes: list[int]  # length of each text in UTF-8
    replaced: int  # number of characters outside the vocabulary


def encode_texts(tokenizer: Tokenizer, texts: list[str]) -> EncodedBatch:
    """Encode texts; characters outside the vocabulary are replaced or dropped."""
    ids, n_bytes, replaced = [], [], 0
    for text in texts:
        normalized, unknown = tokenizer.normalize(text)
        replaced += sum(u.count for u in unknown)
        ids.append(tokenizer.encode(normalized))
        n_bytes.append(len(normalized.encode()))
    return EncodedBatch(ids, n_bytes, replaced)


def encode_batches(
    tokenizer: Tokenizer, batches: Iterable[tuple[T, list[str]]], processes: int | None = None
) -> Generator[tuple[T, EncodedBatch], None, None]:
    """Encode labeled batches of texts. The result does not depend on `processes`.

    Args:
        tokenizer: sent to each process once.
        batches: (label, texts) pairs; at most 2 * processes are read ahead, so memory use is bounded.
        processes: number of worker processes, by default one per core; 1 encodes in this process.

    Raises:
        CorpusError: a worker died, for example because memory ran out.
    """
    count = available_cores() if processes is None else processes
    if count == 1:
        for label, texts in batches:
            yield label, encode_texts(tokenizer, texts)
        return
    # Spawn, not fork: a forked process would inherit locks held by other threads, such as torch's.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(count, mp_context=context, initializer=_init_worker, initargs=(tokenizer,))
    pending: deque[tuple[T, Future[EncodedBatch]]] = deque()
    source = iter(batches)
    try:
        while True:
            for label, texts in islice(source, 2 * count - len(pending)):
                pending.append((label, pool.submit(_encode, texts)))
            if not pending:
                return
            label, future = pending.popleft()
            yield label, future.result()
    except BrokenProcessPool:
        raise CorpusError(
            "a worker process died while encoding, perhaps because memory ran out; finished shards are kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _init_worker(tokenizer: Tokenizer) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent handles Ctrl-C and shuts the pool down
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    _tokenizer.append(tokenizer)
    threading.Thread(target=_exit_with_parent, daemon=True).start()


def _exit_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)  # the parent was killed


def _encode(texts: list[str]) -> EncodedBatch:
    return encode_texts(_tokenizer[0], texts)
