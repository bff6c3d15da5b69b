"""The native backend: the C++ kernel behind the seam of `backend.py`."""

import ctypes
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inkhorn.errors import UsageError
from inkhorn.inference.backends.base import Array, Result, TokenLogprobs, Work
from inkhorn.inference.backends.native_bindings import InkModelInput, InkSamplingParams, check, cores, isa, library
from inkhorn.inference.backends.packed_weights import Packed, load_packed
from inkhorn.inference.sampling import Sampler, log_probabilities


class NativeBackend:
    """A model on the kernel, behind the seam of `backend.py`.

    Args:
        packed: the model.
        threads: at most so many; never more than the cores that this process may use.
        slots: how many sequences may have a cache at once. A cache takes memory as it fills.

    Attributes:
        weight_bytes: what is read of the weights for every token.

    """

    def __init__(self, packed: Packed, *, threads: int | None = None, slots: int = 8) -> None:
        self._lib, self._packed, self.config, self.slots = library(), packed, packed.config, slots
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        self.threads = min(threads or cores(), cores())
        # What is read for every token: all but the tables of tokens and places, of which a row each is.
        rows = self.config.n_embd * (4 if packed.quantize == "fp32" else 2)
        self.weight_bytes = packed.data.nbytes - (self.config.vocab_size + self.config.block_size) * rows
        self.name = f"native ({isa()}, {packed.quantize}, {self.threads} thread{'s' * (self.threads > 1)})"
        self.arithmetic = f"{packed.quantize}_{isa()}"
        self._session = ctypes.c_void_p()
        self._call = _Call(slots)
        check(self._lib.ink_session_open(packed.handle, slots, self.threads, ctypes.byref(self._session)))

    @classmethod
    def from_pretrained(
        cls, folder: Path, *, quantize: str | None = None, threads: int | None = None, slots: int = 8
    ) -> "NativeBackend":
        """Load a checkpoint folder; CheckpointError says what is wrong with it."""
        return cls(load_packed(folder, quantize), threads=threads, slots=slots)

    def run(self, work: Sequence[Work], steps: int = 1) -> list[Result]:
        """One call of the seam: see `backend.Backend.run`."""
        if any(w.sampler is not None and not w.sampler.plain for w in work):
            steps = 1
        if not 1 <= len(work) <= self.slots:
            raise ValueError(f"a call takes 1 to {self.slots} items, not {len(work)}")
        call = self._call
        call.kept.clear()
        results = [call.add(i, w, steps, self.config.vocab_size) for i, w in enumerate(work)]
        check(self._lib.ink_session_run(self._session, call.items, len(work), steps))
        for i, (w, result) in enumerate(zip(work, results, strict=True)):
            call.finish(i, w, result)
        return results

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` tokens of a slot also those of another."""
        check(self._lib.ink_session_copy_slot(self._session, source, target, length))

    def close(self) -> None:
        """Free threads and caches."""
        if self._session:
            self._lib.ink_session_close(self._session)
            self._session = ctypes.c_void_p()

    def __del__(self) -> None:
        if getattr(self, "_session", None):
            self.close()


class _Call:
    """The structures of a call, kept from one to the next: to make them anew would take longer than a small step."""

    def __init__(self, slots: int) -> None:
        self.items = (InkModelInput * slots)()
        self.sampling = (InkSamplingParams * slots)()
        self.counts = np.zeros(slots, np.int32)
        self.tokens: list[Array] = [np.zeros(64, np.int32) for _ in range(slots)]
        self.logprobs: dict[int, tuple[Array, Array]] = {}
        self.kept: list[Array] = []  # what the kernel points into during the call

    def add(self, i: int, work: Work, steps: int, vocab_size: int) -> Result:
        """Fill in item `i`."""
        item, result, sampler = self.items[i], Result([]), work.sampler
        ids = np.array(work.ids, np.int32)
        self.kept.append(ids)
        item.slot, item.position, item.n_ids, item.n_outputs = work.slot, work.position, len(ids), work.outputs
        item.ids, item.sampling, item.logits = ids.ctypes.data, None, None
        if sampler is not None and sampler.plain and work.outputs:
            self._add_sampling(i, work, sampler, steps)
        elif work.outputs:
            result.logits = np.empty((work.outputs, vocab_size), np.float32)
            item.logits = result.logits.ctypes.data
        return result

    def _add_sampling(self, i: int, work: Work, sampler: Sampler, steps: int) -> None:
        item, native, params = self.items[i], self.sampling[i], sampler.params
        native.temperature, native.top_p = params.temperature, params.top_p
        native.min_p, native.top_k = params.min_p, params.top_k
        native.seed, native.sample_index, native.position = sampler.seed, sampler.choice, work.place
        native.end_token = -1 if sampler.end_token is None else sampler.end_token
        banned = sampler.banned.astype(np.int32)
        self.kept.append(banned)
        native.n_banned_ids, native.banned_ids = len(banned), banned.ctypes.data
        most = max(work.outputs, 1) + steps - 1
        if len(self.tokens[i]) < most:
            self.tokens[i] = np.zeros(most, np.int32)
        item.sampling = ctypes.addressof(native)
        item.tokens, item.n_tokens = self.tokens[i].ctypes.data, self.counts[i:].ctypes.data
        native.top_logprobs = -1 if work.logprobs is None else work.logprobs
        if work.logprobs is not None:
            odds, ids = np.zeros((most, 1 + work.logprobs), np.float32), np.zeros((most, work.logprobs), np.int32)
            self.logprobs[i] = odds, ids
            item.logprobs, item.top_ids = odds.ctypes.data, ids.ctypes.data

    def finish(self, i: int, work: Work, result: Result) -> None:
        """Read item `i` after the call; draw here for a sampler that must see each token."""
        if work.sampler is None or not work.outputs:
            return
        if result.logits is None:
            result.tokens = self.tokens[i][: self.counts[i]].tolist()
            if result.tokens[-1] < 0:
                result.tokens.pop()
                result.error = "no token can be drawn: every logit is -inf, or one is NaN or +inf"
            odds, ids = self.logprobs.pop(i, (None, None))
            if odds is not None and ids is not None:
                for row, likeliest in zip(odds[: len(result.tokens)].tolist(), ids.tolist(), strict=False):
                    result.logprobs.append(TokenLogprobs(row[0], tuple(zip(likeliest, row[1:], strict=True))))
            return
        logits, result.logits = result.logits, None
        draw_each(logits, work, result)


def draw_each(logits: Array, work: Work, result: Result) -> None:
    """Draw by the definition, in Python, at each output."""
    sampler = work.sampler
    assert sampler is not None
    for i, row in enumerate(logits):
        try:
            token = sampler.draw(row, work.place + i)
        except ValueError as error:
            result.error = str(error)
            return
        result.tokens.append(token)
        if work.logprobs is not None:
            result.logprobs.append(TokenLogprobs(*log_probabilities(row, token, work.logprobs)))
