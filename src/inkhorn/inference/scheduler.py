"""Who runs next: which request gets a slot, whose tokens are taken in, and how many steps a call has.

The rules:
    - Slots are given in the order of arrival.
    - Whoever can draw a token does so in every call.
    - Those that still read (a prompt, or the window again) share a budget of tokens, the one that waited longest first:
      a long prompt holds nobody up, and none is forgotten.
    - A call has one step while anyone reads, so that who is ready need not wait; else as many as fit into some
      milliseconds, also while others wait for a slot: one step at a time would not give them one sooner.
    - What a slot already holds is not computed again: a request that begins like it takes a copy, or the slot itself if
      nobody else uses it. If the other is still reading that beginning, it waits for it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from inkhorn.errors import QueueFullError
from inkhorn.inference.request import Request


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The numbers in the rules."""

    max_queue: int = 1024
    """how many requests may wait for a slot"""
    prompt_tokens: int = 256
    """how many tokens of prompts a call takes in when nobody draws"""
    prompt_tokens_beside: int = 64
    """how many when somebody does"""
    steps: int = 16
    """how many tokens each may draw in one call"""
    seconds: float = 0.005
    """how long a call of several steps should last at most"""
    shared: int = 16
    """shortest common beginning that is worth a copy"""


@dataclass(frozen=True, slots=True)
class Turn:
    """One request's part in a call.

    Attributes:
        request: whose.
        position: where in the slot the ids begin.
        ids: tokens to take in.
        outputs: after how many of the last ids something is wanted.
        scores: the logits are wanted, of the prompt's own tokens; nothing is drawn.

    """

    request: Request
    position: int
    ids: Sequence[int]
    outputs: int
    scores: bool = False


@dataclass(slots=True)
class Plan:
    """A call.

    Attributes:
        copies: (source, target, length) of slots, to be made in this order before the call.
        turns: of the requests that take part.
        steps: how many tokens each may draw.

    """

    copies: list[tuple[int, int, int]] = field(default_factory=list)
    turns: list[Turn] = field(default_factory=list)
    steps: int = 1


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Length of the longest common beginning."""
    low, high = 0, min(len(a), len(b))
    if a[:1] != b[:1]:
        return 0
    if a[:high] == b[:high]:
        return high
    while high - low > 1:  # a[:low] is common, a[:high] is not; comparing slices is quick, a loop over tokens is not
        middle = (low + high) // 2
        low, high = (middle, high) if a[low:middle] == b[low:middle] else (low, middle)
    return low


class Scheduler:
    """Decides; computes nothing, knows no text and has no clock. Not thread-safe.

    Args:
        slots: how many requests may run at once.
        limits: the numbers in the rules.

    """

    def __init__(self, slots: int, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.waiting: deque[Request] = deque()
        self.running: list[Request] = []  # in the order in which they got their slots
        self._held: list[list[int]] = [[] for _ in range(slots)]  # what a slot without a request still holds
        self._free = list(range(slots))  # the one that is free longest comes first
        self._calls = self._admitted = 0
        self._step_seconds = float("inf")

    def add(self, request: Request) -> None:
        """Queue a request; QueueFullError if too many wait."""
        if len(self.waiting) - len(self._free) >= self.limits.max_queue:
            waiting = f"{len(self.waiting)} requests are waiting" if len(self.waiting) != 1 else "a request is waiting"
            raise QueueFullError(f"{waiting} already, and no more may: try again later")
        self.waiting.append(request)

    def drop(self, request: Request) -> None:
        """Forget a request, finished or given up; its slot is free at once, and what it holds is remembered."""
        if request.slot is None:
            self.waiting.remove(request)
            return
        self.running.remove(request)
        self._held[request.slot] = request.held
        self._free.append(request.slot)
        request.slot = None

    def plan(self) -> Plan | None:
        """The next call, or None if there is nothing to do."""
        plan = Plan()
        self._calls += 1
        for request in self.running:
            leader = request.leader
            if leader is not None and (leader.slot is None or leader.filled >= request.shared):
                self._begin(request, *self._source(request), plan)
        while self.waiting and self._free:
            self._admit(self.waiting.popleft(), plan)
        ready: list[Request] = []
        reading: list[Request] = []
        for request in self.running:
            request.move_window()
            if request.leader is None:
                (ready if request.pending == 1 else reading).append(request)
        plan.turns = [Turn(request, request.filled, request.ids[-1:], 1) for request in ready]
        budget = self.limits.prompt_tokens_beside if ready else self.limits.prompt_tokens
        for request in sorted(reading, key=lambda request: (request.served, request.order)):
            if not budget:
                break
            plan.turns.append(self._read(request, budget))
            budget -= len(plan.turns[-1].ids)
        if ready and not reading:
            plan.steps = self._steps(ready)
        return plan if plan.turns else None

    def took(self, turn: Turn, tokens: Sequence[int]) -> None:
        """Note what came of a turn: the tokens drawn that stand, if any was to be drawn."""
        request = turn.request
        if request.slot is None:  # given up during the call
            return
        if tokens:
            request.extend(tokens)
        else:
            request.filled = turn.position + len(turn.ids)

    def lasted(self, plan: Plan, seconds: float) -> None:
        """Note how long a call took, for the number of steps of those that follow."""
        if all(len(turn.ids) == 1 for turn in plan.turns):
            last = seconds / plan.steps
            self._step_seconds = last if self._step_seconds == float("inf") else (self._step_seconds + last) / 2

    def _admit(self, request: Request, plan: Plan) -> None:
        """Give a request a slot: of the free ones the one it can go on from, else the one that is free longest."""
        self._admitted += 1
        request.order, request.served = self._admitted, self._calls - 1  # after those that read already
        source, length = self._source(request)
        if source in self._free and (length == len(self._held[source]) or len(self._free) == 1):
            request.slot = source
        else:  # what the source holds beyond the common beginning may serve another
            request.slot = next(slot for slot in self._free if slot != source)
        self._free.remove(request.slot)
        self._begin(request, source, length, plan)
        self._held[request.slot] = []
        self.running.append(request)

    def _begin(self, request: Request, source: int, length: int, plan: Plan) -> None:
        """Copy the beginning that a slot holds, or wait for one that is still reading more of it."""
        request.leader, request.shared = self._leader(request, length)
        if request.leader is None and length:
            assert request.slot is not None
            plan.copies.append((source, request.slot, length))
            request.filled = length

    def _source(self, request: Request) -> tuple[int, int]:
        """The slot that holds most of a request's beginning, and how much: (-1, 0) if not enough for a copy."""
        window, best = self._beginning(request), (-1, 0)
        held = {other.slot: other.held for other in self.running if other.slot is not None}
        held |= {slot: self._held[slot] for slot in self._free}
        for slot, ids in held.items():
            length = common(window, ids)
            if length > best[1] and length >= self.limits.shared:
                best = slot, length
        return best

    def _leader(self, request: Request, length: int) -> tuple[Request | None, int]:
        """Who came earlier and is reading a beginning that is longer than `length`."""
        window, best = self._beginning(request), length
        leader = None
        for other in self.running:
            if best == len(window):
                break
            if other.order < request.order and other.reading:
                shared = common(window, other.ids[other.start :])
                if shared > best and shared >= self.limits.shared:
                    leader, best = other, shared
        return leader, best

    @staticmethod
    def _beginning(request: Request) -> list[int]:
        """What of a request need not be computed if it is there already: the last token must, for the logits."""
        return [] if request.scored else request.ids[request.start : -1]

    def _read(self, request: Request, budget: int) -> Turn:
        request.served = self._calls
        scores = request.scored and request.reading
        count = min(budget, request.pending - scores)
        first = request.start + request.filled
        outputs = count if scores else int(count == request.pending)
        return Turn(request, request.filled, request.ids[first : first + count], outputs, scores=scores)

    def _steps(self, ready: Sequence[Request]) -> int:
        if not all(request.plain for request in ready):
            return 1
        steps = max(1, min(self.limits.steps, int(self.limits.seconds / self._step_seconds)))
        if all(request.remaining is not None for request in ready):
            steps = min(steps, max(request.remaining or 1 for request in ready))
        return steps
