"""Continuous batching: which sequence gets a cache slot, and which tokens the next call computes.

Rules:
    - Slots are assigned in order of arrival.
    - Every sequence that can sample a token does so in every call.
    - Sequences in prefill (of the prompt, or of a moved window) share a token budget, the one that waited longest
      first: a long prompt delays nobody, and no sequence starves. Those whose prompt is scored share a smaller one,
      because each of their tokens needs the logits of the whole vocabulary.
    - A call runs one step if a sequence is still in prefill after it, so that a sequence that becomes ready does not
      wait, and for the first token of sequences that decode alone; otherwise as many steps as fit into some
      milliseconds, even if others wait for a slot: single steps would not free one sooner. What the server does for
      each call, above all one event for each sequence, then costs little per token.
    - A shared prefix is computed once: a sequence copies it from another slot, or takes over a free slot that holds it.
      If the other sequence is still computing the prefix, it waits for it.
"""

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from inkhorn.errors import QueueFullError
from inkhorn.inference.backends.base import ModelInput
from inkhorn.inference.sequence import Sequence, TokenIds


@dataclass(frozen=True, kw_only=True)
class SchedulerConfig:
    max_queued: int = 1024  # sequences that may wait for a slot
    max_prefill_tokens: int = 256  # prefill tokens per call when no sequence samples
    max_prefill_tokens_beside_decode: int = 64  # prefill tokens per call when some sequence samples
    max_scored_tokens: int = 256  # prefill tokens per call whose logits are returned, to score a prompt
    max_steps: int = 64  # decode steps per call
    max_call_seconds: float = 0.015  # target duration of a call with several steps
    min_shared_prefix: int = 16  # shortest prefix in tokens that is worth copying


@dataclass(slots=True)
class SchedulerOutput:
    """One call of the backend."""

    # (source slot, target slot, number of tokens), to be made in this order before the call
    copies: list[tuple[int, int, int]] = field(default_factory=list)
    sequences: list[Sequence] = field(default_factory=list)  # the sequences that take part
    inputs: list[ModelInput] = field(default_factory=list)  # the input of each
    num_steps: int = 1  # how many tokens each may sample

    def add(self, sequence: Sequence, max_tokens: int) -> int:
        """Schedule up to `max_tokens` tokens of a sequence; returns how many."""
        model_input = sequence.model_input(max_tokens)
        self.sequences.append(sequence)
        self.inputs.append(model_input)
        return len(model_input.ids)


def common_prefix_length(a: TokenIds, b: TokenIds) -> int:
    low, high = 0, min(len(a), len(b))
    if a[:1] != b[:1]:
        return 0
    if a[:high] == b[:high]:
        return high
    while high - low > 1:  # a[:low] is common, a[:high] is not; comparing slices is faster than a loop over tokens
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


class Scheduler:
    """Assigns slots and plans calls. It computes nothing, has no clock, and is not thread-safe.

    Args:
        max_num_seqs: the number of cache slots.
    """

    def __init__(self, max_num_seqs: int, config: SchedulerConfig | None = None) -> None:
        self.config = config or SchedulerConfig()
        self.waiting: deque[Sequence] = deque()
        self.running: list[Sequence] = []  # in order of admission
        self._cached_ids: list[list[int]] = [[] for _ in range(max_num_seqs)]  # what each free slot still holds
        self._cache_keys: list[tuple[str, int] | None] = [None] * max_num_seqs
        self._free_slots = list(range(max_num_seqs))  # least recently used first
        self._num_calls = self._num_admitted = 0
        self._step_seconds = float("inf")

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence; QueueFullError if the queue is full."""
        if len(self.waiting) - len(self._free_slots) >= self.config.max_queued:
            count = len(self.waiting)
            requests = "1 request is" if count == 1 else f"{count} requests are"
            raise QueueFullError(f"the queue is full, {requests} waiting: try again later")
        self.waiting.append(sequence)

    def remove(self, sequence: Sequence) -> None:
        """Remove a sequence that finished or was aborted. Its slot is free at once, and its tokens stay cached."""
        if sequence.slot is None:
            self.waiting.remove(sequence)
            return
        self.running.remove(sequence)
        self._cached_ids[sequence.slot], self._cache_keys[sequence.slot] = sequence.cached_ids, sequence.cache_key
        self._free_slots.append(sequence.slot)
        sequence.slot = None

    def schedule(self) -> SchedulerOutput | None:
        """Plan the next call; None if there is nothing to do."""
        output = SchedulerOutput()
        self._num_calls += 1
        for sequence in self.running:
            source = sequence.prefix_source
            if source is not None and (source.slot is None or source.num_cached >= sequence.shared_prefix):
                self._start(sequence, *self._find_prefix(sequence), output)
        while self.waiting and self._free_slots:
            self._admit(self.waiting.popleft(), output)
        decoding: list[Sequence] = []
        prefilling: list[Sequence] = []
        for sequence in self.running:
            sequence.move_window()
            if sequence.prefix_source is None:
                (decoding if sequence.num_uncomputed == 1 else prefilling).append(sequence)
        for sequence in decoding:
            output.add(sequence, 1)
        config = self.config
        budget = config.max_prefill_tokens_beside_decode if decoding else config.max_prefill_tokens
        scored_budget = config.max_scored_tokens
        for sequence in sorted(prefilling, key=lambda each: (each.last_prefill, each.admission_order)):
            is_scored = sequence.scores_prompt
            limit = min(budget, scored_budget) if is_scored else budget
            if not limit:
                continue
            sequence.last_prefill = self._num_calls
            count = output.add(sequence, limit)
            budget -= count
            scored_budget -= count if is_scored else 0
        if decoding and len(output.inputs) == len(self.running) and all(each.sampler for each in output.inputs):
            output.num_steps = self._num_steps(output.sequences)
        return output if output.inputs else None

    def update(self, sequence: Sequence, model_input: ModelInput, token_ids: TokenIds) -> None:
        """Apply the result of a call: the input is cached, and `token_ids` were sampled, none in mid-prefill."""
        if sequence.slot is None:  # aborted during the call
            return
        if token_ids:
            sequence.append(token_ids)
        else:
            sequence.num_cached = model_input.position + len(model_input.ids)

    def record_latency(self, output: SchedulerOutput, seconds: float) -> None:
        """Record the duration of a call, from which later calls choose their number of steps."""
        if output.num_steps > 1 or all(len(model_input.ids) == 1 for model_input in output.inputs):
            last = seconds / output.num_steps
            self._step_seconds = last if self._step_seconds == float("inf") else (self._step_seconds + last) / 2

    def _admit(self, sequence: Sequence, output: SchedulerOutput) -> None:
        """Assign a slot: the one that holds the sequence's prefix if it is free, else the least recently used."""
        self._num_admitted += 1
        sequence.admission_order = self._num_admitted
        sequence.last_prefill = self._num_calls - 1  # after those that are in prefill already
        source, length = self._find_prefix(sequence)
        if source in self._free_slots and (length == len(self._cached_ids[source]) or len(self._free_slots) == 1):
            sequence.slot = source
        else:  # the rest of what the source holds may serve another sequence
            sequence.slot = next(slot for slot in self._free_slots if slot != source)
        self._free_slots.remove(sequence.slot)
        self._start(sequence, source, length, output)
        self._cached_ids[sequence.slot] = []
        self.running.append(sequence)

    def _start(self, sequence: Sequence, source: int, length: int, output: SchedulerOutput) -> None:
        """Copy a cached prefix, or wait for a sequence that is computing a longer one."""
        sequence.prefix_source, sequence.shared_prefix = self._find_prefix_source(sequence, length)
        if sequence.prefix_source is None and length:
            assert sequence.slot is not None
            output.copies.append((source, sequence.slot, length))
            sequence.num_cached = length

    def _find_prefix(self, sequence: Sequence) -> tuple[int, int]:
        """The slot that holds the longest prefix of a sequence, and its length; (-1, 0) if too short to copy."""
        ids = self._reusable_ids(sequence)
        key = sequence.cache_key
        running = (other for other in self.running if other.cache_key == key)
        cached = {other.slot: other.cached_ids for other in running if other.slot is not None}
        cached |= {slot: self._cached_ids[slot] for slot in self._free_slots if self._cache_keys[slot] == key}
        best = (-1, 0)
        for slot, cached_ids in cached.items():
            length = common_prefix_length(ids, cached_ids)
            if length > best[1] and length >= self.config.min_shared_prefix:
                best = slot, length
        return best

    def _find_prefix_source(self, sequence: Sequence, length: int) -> tuple[Sequence | None, int]:
        """An earlier sequence in prefill that shares more than `length` tokens with this one, and how many."""
        ids, best = self._reusable_ids(sequence), length
        source = None
        for other in self.running:
            if best == len(ids):
                break
            is_earlier = other.admission_order < sequence.admission_order
            if is_earlier and other.is_prefill and other.cache_key == sequence.cache_key:
                shared = common_prefix_length(ids, other.token_ids[other.window_start :])
                if shared > best and shared >= self.config.min_shared_prefix:
                    source, best = other, shared
        return source, best

    @staticmethod
    def _reusable_ids(sequence: Sequence) -> list[int]:
        """The tokens that may come from another slot: not the last one, whose logits are needed."""
        return [] if sequence.prompt_logprobs else sequence.token_ids[sequence.window_start : -1]

    def _num_steps(self, decoding: Iterable[Sequence]) -> int:
        if not all(sequence.sampler.is_stateless for sequence in decoding):
            return 1
        steps = max(1, min(self.config.max_steps, int(self.config.max_call_seconds / self._step_seconds)))
        limits = [steps if sequence.num_remaining is None else sequence.num_remaining for sequence in decoding]
        return min(steps, max(1, *limits))
