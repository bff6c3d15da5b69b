"""The interface between the engine and the code that runs the model.

A backend owns the weights and the key-value caches, one per numbered slot, and knows nothing of text. A call computes
tokens of any sequences together and may sample the tokens that follow, several steps in one call, so that Python's
overhead per token is small.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from inkhorn.config.model import ModelConfig
from inkhorn.inference.edits import Edits
from inkhorn.inference.sampling import Sampler, TokenLogprobs, token_logprobs

Array = np.ndarray[Any, Any]


@dataclass(slots=True)
class ModelInput:
    """What a call computes for one sequence. The kernel's `ink_model_input` has the same field names."""

    slot: int  # the sequence's cache slot
    position: int  # position of the first of `ids` in the slot; what the slot held from there on is discarded
    ids: Sequence[int]  # the tokens to compute, at least one
    num_outputs: int = 1  # how many of the last `ids` need an output: 0 in the middle of a prefill, 1 to sample
    sampler: Sampler | None = None  # samples a token at each output; None: the outputs are scores or logits
    sample_position: int = 0  # position in the text of the first sampled token, which selects its random number
    # how many of the most likely tokens to return with each sampled or scored token; None: no log-probabilities of
    # sampled tokens
    logprobs: int | None = None
    targets: Sequence[int] = ()  # without a sampler: the token to score at each output; none: the outputs are logits
    edits: Edits | None = None  # changes to activations; all tokens of the slot were computed with the same ones
    window_start: int = 0  # the token of the text at position 0 of the slot, from which edits count positions


@dataclass(slots=True)
class ModelOutput:
    # the sampled tokens: one for each output, then one for each further step, up to and including the sampler's
    # end-of-text token. All but the last are in the slot's cache.
    token_ids: list[int] = field(default_factory=list)
    logprobs: list[TokenLogprobs] = field(default_factory=list)  # for each sampled token, if requested, or each target
    logits: Array | None = None  # float32 (num_outputs, vocab_size), if there was neither a sampler nor targets
    # what failed for this input, not for others of the call: NoTokenError if the logits were not finite
    error: Exception | None = None

    def sample(self, model_input: ModelInput, logits: Array) -> bool:
        """Sample the next token from its logits (vocab_size,) in Python; False, with `error` set, if none can be."""
        assert model_input.sampler is not None
        try:
            token_id = model_input.sampler.sample(logits, model_input.sample_position + len(self.token_ids))
        except Exception as error:
            self.error = error
            return False
        self.token_ids.append(token_id)
        if model_input.logprobs is not None:
            self.logprobs.append(token_logprobs(logits, token_id, model_input.logprobs))
        return True


class Backend(Protocol):
    """A loaded model.

    Attributes:
        config: the model's configuration.
        name: the backend, precision and number of threads, for display.
        fingerprint: the precision and the instruction set: results are bit-identical where it is the same.
        max_num_seqs: the number of cache slots.
    """

    config: ModelConfig
    name: str
    fingerprint: str
    max_num_seqs: int

    def run(self, inputs: Sequence[ModelInput], num_steps: int = 1) -> list[ModelOutput]:
        """Compute every input's `ids`, then sample up to `num_steps` tokens for those that have a sampler.

        A sampler that depends on earlier samples (penalties, logit bias) limits the call to one step. With more than
        one step, an input with a sampler has one output. A slot may occur once. A sequence ends its steps early at its
        sampler's end-of-text token and when its slot is full.

        Raises:
            ValueError: an input is invalid, such as tokens that exceed the block size, or a slot or token id that does
                not exist. Nothing was sampled then: the caller may run the other inputs again.
        """

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one slot's cache to another slot.

        A copy from a slot to itself truncates it, for a sequence that continues from there.
        """

    def close(self) -> None:
        """Free threads and caches. The backend cannot be used afterwards."""
