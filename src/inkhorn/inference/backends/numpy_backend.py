"""The NumPy backend: runs wherever NumPy does, one sequence after the other.

The last bits of NumPy's matrix products depend on the shape of the operands. Each token is therefore always computed in
the same shape, whatever else is in the call and however a prompt was split: tokens that are followed by a sample alone,
all others in chunks of 32 that begin at multiples of 32, the last one padded. So the text of a request depends on that
request only, bit for bit.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from inkhorn.errors import require
from inkhorn.inference.backends.base import ModelInput, ModelOutput
from inkhorn.inference.numpy_model import Array, Hook, KVCache, NumpyModel
from inkhorn.inference.sampling import score_tokens

CHUNK = 32


@dataclass
class _Slot:
    """The cache of one sequence."""

    cache: KVCache  # of a prefix of `ids`; the rest waits until its chunk is complete or an output is needed
    ids: list[int] = field(default_factory=list)  # the sequence's tokens
    num_chunked: int = 0  # how many leading tokens were computed in chunks, which another sequence may reuse

    def truncate(self, length: int) -> None:
        """Keep the first `length` tokens."""
        del self.ids[length:]
        self.cache.length = min(self.cache.length, length)
        self.num_chunked = min(self.num_chunked, length)


class NumpyBackend:
    """A NumpyModel with cache slots.

    Args:
        max_num_seqs: the number of slots; a cache is allocated when its slot is first used.
    """

    def __init__(self, model: NumpyModel, max_num_seqs: int = 8) -> None:
        require(max_num_seqs >= 1, f"max_num_seqs must be at least 1, not {max_num_seqs}")
        self.model, self.config, self.max_num_seqs = model, model.config, max_num_seqs
        self.name, self.fingerprint = "numpy (fp32)", "fp32_numpy"
        self._slots: list[_Slot | None] = [None] * max_num_seqs

    def run(self, inputs: Sequence[ModelInput], num_steps: int = 1) -> list[ModelOutput]:
        if any(each.sampler is not None and not each.sampler.is_stateless for each in inputs):
            num_steps = 1
        slots = [self._prepare(each) for each in inputs]
        return [self._run_one(each, slot, num_steps) for each, slot in zip(inputs, slots, strict=True)]

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        # Tokens that were not computed in chunks are recomputed when needed, as they would be without the copy.
        from_slot, to_slot = self._slot(source), self._slot(target)
        if length > len(from_slot.ids):
            raise ValueError(f"slot {source} holds {len(from_slot.ids)} tokens, not {length}")
        reusable = min(length, from_slot.num_chunked)
        if from_slot is not to_slot:
            to_slot.ids = list(from_slot.ids)
            to_slot.cache.keys[..., :reusable] = from_slot.cache.keys[..., :reusable]
            to_slot.cache.values[:, :, :reusable] = from_slot.cache.values[:, :, :reusable]
        to_slot.truncate(length)
        to_slot.cache.length = to_slot.num_chunked = reusable

    def close(self) -> None:
        self._slots = [None] * self.max_num_seqs

    def _slot(self, index: int) -> _Slot:
        if not 0 <= index < self.max_num_seqs:
            raise ValueError(f"slot must be from 0 to {self.max_num_seqs - 1}, not {index}")
        slot = self._slots[index]
        if slot is None:
            slot = self._slots[index] = _Slot(KVCache(self.config))
        return slot

    def _prepare(self, model_input: ModelInput) -> _Slot:
        """Check an input and add its tokens to its slot."""
        slot, position, ids, config = self._slot(model_input.slot), model_input.position, model_input.ids, self.config
        if not 0 <= position <= len(slot.ids):
            raise ValueError(f"position must be from 0 to {len(slot.ids)}, the tokens of the slot, not {position}")
        if not ids or position + len(ids) > config.block_size:
            raise ValueError(f"{len(ids)} tokens at position {position} exceed the block size of {config.block_size}")
        if not 0 <= model_input.num_outputs <= len(ids):
            raise ValueError(f"num_outputs must be from 0 to {len(ids)}, not {model_input.num_outputs}")
        for token_id in (min(ids), max(ids)):
            if not 0 <= token_id < config.vocab_size:
                raise ValueError(f"token ids must be from 0 to {config.vocab_size - 1}, not {token_id}")
        slot.truncate(position)
        slot.ids.extend(ids)
        return slot

    def _run_one(self, model_input: ModelInput, slot: _Slot, num_steps: int) -> ModelOutput:
        output = ModelOutput()
        try:
            self._compute(model_input, slot, num_steps, output)
        except Exception as error:  # such as a lack of memory; another input may succeed
            output.error = error
        return output

    def _compute(self, model_input: ModelInput, slot: _Slot, num_steps: int, output: ModelOutput) -> None:
        end, num_outputs = len(slot.ids), model_input.num_outputs
        hook = None if model_input.edits is None else model_input.edits.hook(model_input.window_start)
        if not num_outputs:
            self._prefill(slot, end - end % CHUNK, hook)
        elif model_input.sampler is None:
            output.logits = self._prefill(slot, end, hook, num_outputs)
            if model_input.targets and output.logits is not None:
                output.logprobs = score_tokens(output.logits, model_input.targets, model_input.logprobs or 0)
                output.logits = None
        else:
            self._prefill(slot, end - num_outputs, hook)
            for i in range(end - num_outputs, end):
                if not output.sample(model_input, self.model.forward([slot.ids[i]], slot.cache, hook)[0]):
                    return
            for _ in range(num_steps - 1):
                token_id = output.token_ids[-1]
                if token_id == model_input.sampler.eos_id or len(slot.ids) == self.config.block_size:
                    break
                slot.ids.append(token_id)
                if not output.sample(model_input, self.model.forward([token_id], slot.cache, hook)[0]):
                    break

    def _prefill(self, slot: _Slot, end: int, hook: Hook | None, num_outputs: int = 0) -> Array | None:
        """Compute the tokens before `end` that are not cached, in chunks; returns the last `num_outputs` logits."""
        first, logits = slot.cache.length, []
        if first >= end:
            return None
        for start in range(first - first % CHUNK, end, CHUNK):
            ids = slot.ids[start : min(start + CHUNK, end)]
            size = min(CHUNK, self.config.block_size - start)
            slot.cache.length = start
            padded = ids + ids[-1:] * (size - len(ids))
            logits.append(self.model.forward(padded, slot.cache, hook, all_logits=num_outputs > 0)[: len(ids)])
            slot.cache.length = slot.num_chunked = start + len(ids)
        if not num_outputs:
            return None
        outputs: Array = np.concatenate(logits)[-num_outputs:]
        return outputs
