"""The backend that runs wherever NumPy does: the reference model behind the seam, one sequence after the other.

NumPy's products change their last bits with their shapes. So each token is always computed in the same shape, whatever
else is in the call and however a prompt was cut: tokens that something is drawn after alone, all others in chunks of 32
that begin at multiples of 32, a last one filled up. A text then depends on its own request only, bit for bit.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from inkhorn.errors import require
from inkhorn.inference.backends.base import Result, TokenLogprobs, Work
from inkhorn.inference.numpy_model import Array, Cache, ReferenceModel
from inkhorn.inference.sampling import log_probabilities

CHUNK = 32


class _Slot:
    """The cache of one sequence.

    Attributes:
        ids: the tokens that it was given.
        cache: keys and values of a beginning of them; the rest waits until its chunk is whole or something is wanted.
        chunked: how many leading tokens were computed in chunks: what another text may build on.

    """

    def __init__(self, cache: Cache) -> None:
        self.ids: list[int] = []
        self.cache, self.chunked = cache, 0

    def truncate(self, length: int) -> None:
        """Forget what comes after the first `length` tokens."""
        del self.ids[length:]
        self.cache.length = min(self.cache.length, length)
        self.chunked = min(self.chunked, length)


class NumpyBackend:
    """A ReferenceModel with slots.

    Args:
        model: what computes.
        slots: how many sequences may have a cache at once; a cache is made when its slot is first used.

    """

    def __init__(self, model: ReferenceModel, slots: int = 8) -> None:
        require(slots >= 1, f"slots must be at least 1, not {slots}")
        self.model, self.config, self.slots = model, model.config, slots
        self.name, self.arithmetic = "numpy (fp32)", "fp32_numpy"
        self._slots: list[_Slot | None] = [None] * slots

    @classmethod
    def from_pretrained(cls, folder: Path, slots: int = 8) -> "NumpyBackend":
        """Load a checkpoint folder; CheckpointError says what is wrong with it."""
        return cls(ReferenceModel.from_pretrained(folder), slots)

    def run(self, work: Sequence[Work], steps: int = 1) -> list[Result]:
        """One call of the seam: see `backend.Backend.run`."""
        if any(w.sampler is not None and not w.sampler.plain for w in work):
            steps = 1
        slots = [self._prepare(w) for w in work]
        return [self._serve(w, slot, steps) for w, slot in zip(work, slots, strict=True)]

    def copy(self, source: int, target: int, length: int) -> None:
        """Make the first `length` tokens of a slot also those of another.

        What was not computed in chunks is computed again when it is needed, for in the other text it would have been.
        """
        have, other = self._slot(source), self._slot(target)
        if length > len(have.ids):
            raise ValueError(f"slot {source} holds {len(have.ids)} tokens, not {length}")
        sound = min(length, have.chunked)
        if have is not other:
            other.ids = list(have.ids)
            other.cache.keys[..., :sound] = have.cache.keys[..., :sound]
            other.cache.values[:, :, :sound] = have.cache.values[:, :, :sound]
        other.truncate(length)
        other.cache.length = other.chunked = sound

    def close(self) -> None:
        """Free the caches."""
        self._slots = [None] * self.slots

    def _slot(self, index: int) -> _Slot:
        if not 0 <= index < self.slots:
            raise ValueError(f"there is no slot {index}, only 0 to {self.slots - 1}")
        slot = self._slots[index]
        if slot is None:
            slot = self._slots[index] = _Slot(Cache(self.config))
        return slot

    def _prepare(self, work: Work) -> _Slot:
        """Check the work and note its tokens in its slot."""
        slot, length, config = self._slot(work.slot), len(work.ids), self.config
        if not 0 <= work.position <= len(slot.ids):
            raise ValueError(f"slot {work.slot} holds {len(slot.ids)} tokens: none can come at {work.position}")
        if not length or work.position + length > config.block_size:
            raise ValueError(f"{length} tokens at {work.position} do not fit into the block of {config.block_size}")
        if not 0 <= work.outputs <= length:
            raise ValueError(f"{length} tokens have no {work.outputs} outputs")
        if min(work.ids) < 0 or max(work.ids) >= config.vocab_size:
            raise ValueError(f"ids must be from 0 to {config.vocab_size - 1}")
        slot.truncate(work.position)
        slot.ids.extend(work.ids)
        return slot

    def _serve(self, work: Work, slot: _Slot, steps: int) -> Result:
        end, result = len(slot.ids), Result()
        if not work.outputs:
            self._read(slot, end - end % CHUNK)
        elif work.sampler is None:
            result.logits = self._read(slot, end, work.outputs)
        else:
            self._read(slot, end - work.outputs)
            for place in range(end - work.outputs, end):
                if not self._draw(work, slot.ids[place], slot, result):
                    return result
            for _ in range(steps - 1):
                token = result.tokens[-1]
                if token == work.sampler.end_token or len(slot.ids) == self.config.block_size:
                    break
                slot.ids.append(token)
                if not self._draw(work, token, slot, result):
                    break
        return result

    def _read(self, slot: _Slot, end: int, outputs: int = 0) -> Array | None:
        """Compute the tokens before `end` that the cache lacks, in chunks; the last `outputs` logits if any."""
        first, found = slot.cache.length, []
        if first >= end:
            return None
        for start in range(first - first % CHUNK, end, CHUNK):
            ids = slot.ids[start : min(start + CHUNK, end)]
            size = min(CHUNK, self.config.block_size - start)
            slot.cache.length = start
            padded = ids + ids[-1:] * (size - len(ids))
            found.append(self.model.forward(padded, slot.cache, every=outputs > 0)[: len(ids)])
            slot.cache.length = slot.chunked = start + len(ids)
        if not outputs:
            return None
        logits: Array = np.concatenate(found)[-outputs:]
        return logits

    def _draw(self, work: Work, token: int, slot: _Slot, result: Result) -> bool:
        """Take in one token and draw the next; False if none can be drawn."""
        assert work.sampler is not None
        logits = self.model.forward([token], slot.cache)[0]
        try:
            drawn = work.sampler.draw(logits, work.place + len(result.tokens))
        except ValueError as error:
            result.error = str(error)
            return False
        result.tokens.append(drawn)
        if work.logprobs is not None:
            result.logprobs.append(TokenLogprobs(*log_probabilities(logits, drawn, work.logprobs)))
        return True
