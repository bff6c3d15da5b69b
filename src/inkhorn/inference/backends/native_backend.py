"""The native backend: runs a model on the C++ kernel."""

import ctypes
from collections.abc import Sequence

import numpy as np

from inkhorn.errors import UsageError
from inkhorn.inference.backends.base import Array, ModelInput, ModelOutput
from inkhorn.inference.backends.native_bindings import InkEdit, InkModelInput, InkSamplingParams, check, isa, library
from inkhorn.inference.backends.packed_weights import Packed
from inkhorn.inference.edits import Edits
from inkhorn.inference.sampling import NoTokenError, Sampler, TokenLogprobs
from inkhorn.utils.cpu import affinity_cpus, available_cores


class NativeBackend:
    """A packed model and a kernel session.

    Args:
        threads: the most threads to use, at most the logical CPUs that this process may run on; by default
            `available_cores()`.
        max_num_seqs: the number of cache slots. A cache takes memory as it fills.

    Attributes:
        weight_bytes: how much of the weights is read for every token.
    """

    def __init__(self, packed: Packed, *, threads: int | None = None, max_num_seqs: int = 8) -> None:
        self._lib, self._packed, self.config, self.max_num_seqs = library(), packed, packed.config, max_num_seqs
        if threads is not None and threads < 1:
            raise UsageError(f"threads must be at least 1, not {threads}")
        self.threads = min(threads or available_cores(), len(affinity_cpus()))
        # All weights are read for every token, except for the embedding tables, of which one row each is.
        row_bytes = self.config.n_embd * (4 if packed.precision == "fp32" else 2)
        self.weight_bytes = packed.data.nbytes - (self.config.vocab_size + self.config.block_size) * row_bytes
        self.name = f"native ({isa()}, {packed.precision}, {self.threads} thread{'s' * (self.threads > 1)})"
        self.fingerprint = f"{packed.precision}_{isa()}"
        self._session = ctypes.c_void_p()
        self._buffers = _CallBuffers(max_num_seqs)
        check(self._lib.ink_session_open(packed.handle, max_num_seqs, self.threads, ctypes.byref(self._session)))

    def run(self, inputs: Sequence[ModelInput], num_steps: int = 1) -> list[ModelOutput]:
        if any(each.sampler is not None and not each.sampler.is_stateless for each in inputs):
            num_steps = 1
        if not 1 <= len(inputs) <= self.max_num_seqs:
            raise ValueError(f"a call takes 1 to {self.max_num_seqs} inputs, not {len(inputs)}")
        buffers = self._buffers
        buffers.arrays.clear()
        buffers.reserve(num_steps)
        outputs = [buffers.fill(i, each, num_steps, self.config.vocab_size) for i, each in enumerate(inputs)]
        check(self._lib.ink_session_run(self._session, buffers.inputs, len(inputs), num_steps))
        for i, (model_input, output) in enumerate(zip(inputs, outputs, strict=True)):
            buffers.read(i, model_input, output)
        return outputs

    def copy_prefix(self, source: int, target: int, length: int) -> None:
        check(self._lib.ink_session_copy_slot(self._session, source, target, length))

    def close(self) -> None:
        if self._session:
            self._lib.ink_session_close(self._session)
            self._session.value = None  # needs no module, which may be gone when the interpreter ends

    def __del__(self) -> None:
        if getattr(self, "_session", None):
            self.close()


class _PackedEdits:
    """Edits as an array of C structures, with positions in the slot."""

    def __init__(self, edits: Edits, window_start: int) -> None:
        self.edits, self.window_start = edits, window_start
        self.array = (InkEdit * len(edits.edits))()
        for native, edit in zip(self.array, edits, strict=True):
            native.site, native.layer, native.head, native.scale = edit.site, edit.layer, edit.head, edit.scale
            native.first, native.end = max(edit.first - window_start, 0), max(edit.end - window_start, 0)
            if edit.vector is not None:
                # The bytes live as long as the edits, which this object references.
                native.vector = ctypes.cast(ctypes.c_char_p(edit.vector), ctypes.c_void_p).value


class _CallBuffers:
    """The C structures and arrays of a call, reused by later calls: creating them would take longer than a step.

    Sampling parameters are stored by slot and written when a slot gets another sampler. The sampled tokens of input `i`
    are in row `i` of `tokens`.
    """

    def __init__(self, max_num_seqs: int) -> None:
        self.inputs = (InkModelInput * max_num_seqs)()
        self.sampling = (InkSamplingParams * max_num_seqs)()
        self.scoring = InkSamplingParams(top_p=1.0, end_token=-1)  # greedy, for inputs with targets
        self.samplers: list[Sampler | None] = [None] * max_num_seqs
        self.banned_ids: list[Array | None] = [None] * max_num_seqs
        self.counts, self.ids = np.zeros(max_num_seqs, np.int32), np.zeros(max_num_seqs, np.int32)
        self.id_addresses = [self.ids.ctypes.data + 4 * i for i in range(max_num_seqs)]
        self.tokens = np.zeros((max_num_seqs, 0), np.int32)
        for i in range(max_num_seqs):
            self.inputs[i].n_tokens = self.counts.ctypes.data + 4 * i
        self.edits: list[_PackedEdits | None] = [None] * max_num_seqs
        self.logprobs: dict[int, tuple[Array, Array]] = {}
        self.scored: dict[int, tuple[InkSamplingParams, Array]] = {}
        self.arrays: list[Array] = []  # memory that the C structures point to during the call

    def reserve(self, num_tokens: int) -> None:
        """Make room for so many sampled tokens of each input."""
        if num_tokens > self.tokens.shape[1]:
            self.tokens = np.zeros((len(self.inputs), num_tokens), np.int32)
            for i, native in enumerate(self.inputs):
                native.tokens = self.tokens[i].ctypes.data

    def fill(self, i: int, model_input: ModelInput, num_steps: int, vocab_size: int) -> ModelOutput:
        """Fill in input `i`; returns its output, to be completed by `read`."""
        native, output, sampler = self.inputs[i], ModelOutput(), model_input.sampler
        if len(model_input.ids) == 1:
            self.ids[i] = model_input.ids[0]
            native.ids = self.id_addresses[i]
        else:
            ids = np.array(model_input.ids, np.int32)
            self.arrays.append(ids)
            native.ids = ids.ctypes.data
        native.slot, native.position, native.n_ids = model_input.slot, model_input.position, len(model_input.ids)
        native.n_outputs, native.sampling, native.logits = model_input.num_outputs, None, None
        native.n_edits, native.edits = 0, None
        if model_input.edits is not None:
            self._fill_edits(i, model_input, model_input.edits)
        if sampler is not None and sampler.is_stateless and model_input.num_outputs:
            self._fill_sampling(i, model_input, sampler, num_steps)
        elif model_input.targets:
            self._fill_scoring(i, model_input, vocab_size)
        elif model_input.num_outputs:
            output.logits = np.empty((model_input.num_outputs, vocab_size), np.float32)
            native.logits = output.logits.ctypes.data
        return output

    def _fill_edits(self, i: int, model_input: ModelInput, edits: Edits) -> None:
        packed = self.edits[i]
        if packed is None or packed.edits is not edits or packed.window_start != model_input.window_start:
            packed = self.edits[i] = _PackedEdits(edits, model_input.window_start)
        self.inputs[i].n_edits, self.inputs[i].edits = len(edits.edits), ctypes.addressof(packed.array)

    def _fill_sampling(self, i: int, model_input: ModelInput, sampler: Sampler, num_steps: int) -> None:
        native, slot = self.inputs[i], model_input.slot
        if not 0 <= slot < len(self.sampling):
            raise ValueError(f"slot must be from 0 to {len(self.sampling) - 1}, not {slot}")
        sampling = self.sampling[slot]
        if self.samplers[slot] is not sampler:
            params, self.samplers[slot] = sampler.params, sampler
            sampling.temperature, sampling.top_p = params.temperature, params.top_p
            sampling.min_p, sampling.top_k = params.min_p, params.top_k
            sampling.seed, sampling.sample_index = sampler.seed, sampler.sample_index
            sampling.end_token = -1 if sampler.eos_id is None else sampler.eos_id
            banned_ids = self.banned_ids[slot] = np.ascontiguousarray(sampler.banned_ids, np.int32)
            sampling.n_banned_ids, sampling.banned_ids = len(banned_ids), banned_ids.ctypes.data
        sampling.position = model_input.sample_position
        max_tokens = max(model_input.num_outputs, 1) + num_steps - 1
        self.reserve(max_tokens)
        native.sampling = ctypes.addressof(sampling)
        top = model_input.logprobs
        sampling.top_logprobs = -1 if top is None else top
        if top is not None:
            self._reserve_logprobs(i, max_tokens, top)

    def _reserve_logprobs(self, i: int, count: int, top: int) -> None:
        values, ids = np.zeros((count, 1 + top), np.float32), np.zeros((count, top), np.int32)
        self.logprobs[i] = values, ids
        self.inputs[i].logprobs, self.inputs[i].top_ids = values.ctypes.data, ids.ctypes.data

    def _fill_scoring(self, i: int, model_input: ModelInput, vocab_size: int) -> None:
        """Let the kernel compute the log-probability of the likeliest token at each output, and copy the logits.

        The log-probabilities of all other tokens follow from these by subtraction.
        """
        native, count, top = self.inputs[i], model_input.num_outputs, model_input.logprobs or 0
        if len(model_input.targets) != count:
            raise ValueError(f"there are {len(model_input.targets)} targets for {count} outputs")
        self.reserve(count)
        scoring = InkSamplingParams.from_buffer_copy(self.scoring)
        scoring.top_logprobs = top
        self._reserve_logprobs(i, count, top)
        logits = np.empty((count, vocab_size), np.float32)
        self.scored[i] = scoring, logits
        native.sampling, native.logits = ctypes.addressof(scoring), logits.ctypes.data

    def read(self, i: int, model_input: ModelInput, output: ModelOutput) -> None:
        """Read the results of input `i` after the call. A sampler that is not stateless samples here."""
        if model_input.targets:
            output.logprobs = self._read_scores(i, model_input)
            return
        if model_input.sampler is None or not model_input.num_outputs:
            return
        if output.logits is not None:
            logits, output.logits = output.logits, None
            for row in logits:
                if not output.sample(model_input, row):
                    break
            return
        output.token_ids = self.tokens[i][: self.counts[i]].tolist()
        if output.token_ids[-1] < 0:
            output.token_ids.pop()
            output.error = NoTokenError()
        values, ids = self.logprobs.pop(i, (None, None))
        if values is not None and ids is not None:
            for row, top_ids in zip(values[: len(output.token_ids)].tolist(), ids.tolist(), strict=False):
                output.logprobs.append(TokenLogprobs(row[0], tuple(zip(top_ids, row[1:], strict=True))))

    def _read_scores(self, i: int, model_input: ModelInput) -> list[TokenLogprobs]:
        (values, top_ids), (_, logits) = self.logprobs.pop(i), self.scored.pop(i)
        rows, best = np.arange(len(values)), self.tokens[i][: len(values)]
        found = best >= 0
        normalizers = logits[rows, np.maximum(best, 0)].astype(np.float64) - values[:, 0]
        scores = logits[rows, np.array(model_input.targets)] - normalizers
        # Logits that are not finite have no likeliest token. They are reported when a token is sampled.
        logprobs = np.where(found, scores, np.nan).astype(np.float32).tolist()
        result = []
        columns = zip(model_input.targets, logprobs, best.tolist(), values.tolist(), top_ids.tolist(), strict=True)
        for target, logprob, likeliest, (best_logprob, *top_logprobs), ids in columns:
            top = tuple(zip(ids, top_logprobs, strict=True))
            known = dict(top) | {likeliest: best_logprob}  # as the kernel rounds them
            result.append(TokenLogprobs(known.get(target, logprob), top))
        return result
