"""The public Python API: load a model, then generate, stream, score or explain."""

import dataclasses
from collections.abc import AsyncIterator, Callable, Generator, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.interventions import Intervention
from inkhorn.config.model import ModelConfig
from inkhorn.config.quantization import Precision
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.backends.select import DEFAULT_MAX_NUM_SEQS, BackendName
from inkhorn.inference.engine import Engine
from inkhorn.inference.explain import Explanation, explain
from inkhorn.inference.interventions import InterventionResolver
from inkhorn.inference.numpy_model import Hook, NumpyModel
from inkhorn.inference.outputs import Completion, TokenChunk
from inkhorn.inference.request_handle import RequestHandle
from inkhorn.inference.run import HookName, RunResult, run
from inkhorn.inference.scoring import Score, score
from inkhorn.tokenizer.base import Tokenizer

DEFAULT_MAX_TOKENS = 200  # limit of a request that sets none


class Model:
    """A loaded model. Made by `inkhorn.load`; every method may be called from any thread.

    Sampling parameters are given as a `SamplingParams`, as keyword arguments with the names of its fields, or as both:
    keyword arguments then replace fields. Without `params` and without a limit (max_tokens, max_words or
    end_at_sentence) a text ends after 200 tokens.

    Attributes:
        engine: the engine underneath, for batching and queueing beyond this interface.
        folder: the checkpoint folder.
    """

    def __init__(self, engine: Engine, folder: Path) -> None:
        self.engine, self.folder = engine, folder

    def __repr__(self) -> str:
        config, backend = self.config, self.engine.backend
        return (
            f"Model({str(self.folder)!r}, {config.model_type!r}, n_layer={config.n_layer}, n_head={config.n_head}, "
            f"n_embd={config.n_embd}, block_size={config.block_size}, backend={backend.name!r})"
        )

    @property
    def config(self) -> ModelConfig:
        """The model's configuration."""
        return self.engine.config

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer."""
        return self.engine.tokenizer

    @overload
    def generate(
        self,
        prompt: str,
        params: SamplingParams | None = ...,
        *,
        logprobs: int | None = ...,
        interventions: Sequence[Intervention] = ...,
        **sampling: Any,
    ) -> Completion: ...

    @overload
    def generate(
        self,
        prompt: Sequence[str],
        params: SamplingParams | None = ...,
        *,
        logprobs: int | None = ...,
        interventions: Sequence[Intervention] = ...,
        **sampling: Any,
    ) -> list[Completion]: ...

    def generate(
        self,
        prompt: str | Sequence[str],
        params: SamplingParams | None = None,
        *,
        logprobs: int | None = None,
        interventions: Sequence[Intervention] = (),
        **sampling: Any,
    ) -> Completion | list[Completion]:
        """Generate a completion of a prompt, or one of each prompt of a list; those of a list are batched.

        Args:
            prompt: the text to continue, or a list of texts. Characters outside the vocabulary are replaced.
            params: the sampling parameters.
            logprobs: return the log-probability of each sampled token, and so many of the most likely tokens.
            interventions: changes to activations, such as `Intervention(component="head", layer=0, head=2)`, which
                switches a head off.
            sampling: fields of SamplingParams.

        Returns:
            A `Completion` for a string, a list of them for a list. The same seed gives the same text, whatever else is
            in the batch.

        Raises:
            UsageError: a parameter is out of range, or the model does not support it.
        """
        handles = self._submit_many(prompt, sampling_params(params, sampling), logprobs, interventions)
        completions = [handle.result() for handle in handles]
        return completions[0] if isinstance(prompt, str) else completions

    @overload
    async def agenerate(
        self,
        prompt: str,
        params: SamplingParams | None = ...,
        *,
        logprobs: int | None = ...,
        interventions: Sequence[Intervention] = ...,
        **sampling: Any,
    ) -> Completion: ...

    @overload
    async def agenerate(
        self,
        prompt: Sequence[str],
        params: SamplingParams | None = ...,
        *,
        logprobs: int | None = ...,
        interventions: Sequence[Intervention] = ...,
        **sampling: Any,
    ) -> list[Completion]: ...

    async def agenerate(
        self,
        prompt: str | Sequence[str],
        params: SamplingParams | None = None,
        *,
        logprobs: int | None = None,
        interventions: Sequence[Intervention] = (),
        **sampling: Any,
    ) -> Completion | list[Completion]:
        """As `generate`, without blocking the event loop. Cancelling the task aborts the requests."""
        handles = self._submit_many(prompt, sampling_params(params, sampling), logprobs, interventions)
        try:
            completions = [await handle.aresult() for handle in handles]
        finally:
            handles.close()
        return completions[0] if isinstance(prompt, str) else completions

    def stream(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        logprobs: int | None = None,
        interventions: Sequence[Intervention] = (),
        **sampling: Any,
    ) -> Iterator[TokenChunk]:
        """Generate a completion and yield it token by token.

        The request starts at once. Closing or dropping the iterator aborts it. Arguments and errors are those of
        `generate`.
        """
        [handle] = self._submit_many(prompt, sampling_params(params, sampling), logprobs, interventions)
        chunks = _read(handle)
        next(chunks)  # up to the `try`: a generator that has not started does not run its `finally` when it is dropped
        return chunks

    async def astream(
        self,
        prompt: str,
        params: SamplingParams | None = None,
        *,
        logprobs: int | None = None,
        interventions: Sequence[Intervention] = (),
        **sampling: Any,
    ) -> AsyncIterator[TokenChunk]:
        """As `stream`, for `async for`. Cancelling the task or closing the generator aborts the request."""
        [handle] = self._submit_many(prompt, sampling_params(params, sampling), logprobs, interventions)
        try:
            async for chunk in handle:
                yield chunk
        finally:
            handle.abort()

    def score(self, text: str) -> Score:
        """Log-probability of each token of a text, given those before it.

        The first token has none. A text longer than the context is scored in windows that overlap by half: each token
        sees at least half a context, except near the beginning.

        Raises:
            UsageError: the text is empty.
        """
        return score(self.engine, text)

    def explain(
        self,
        text: str,
        layer: int = 0,
        *,
        head: int | None = None,
        interventions: Sequence[Intervention] = (),
    ) -> Explanation:
        """Attention, logit lens, surprisal and residual norms over the end of a text.

        Computed in float32 with NumPy, whatever the precision of the engine.

        Args:
            text: the text; its last 256 tokens are used, or fewer if the context is shorter.
            layer: the layer whose attention and MLP activations are returned, from 0.
            head: a head of the layer, from 0, whose vectors at the last 8 tokens are returned, too.
            interventions: as for `generate`.

        Raises:
            UsageError: there is no such layer or head, or an intervention is not possible.
        """
        token_ids = self.engine.encode_prompt(text).token_ids
        edits = self.resolver.resolve(interventions, len(token_ids))
        return explain(self._numpy_model, self.tokenizer, token_ids, layer, edits, head)

    def run(
        self,
        prompt: str,
        hooks: Iterable[tuple[HookName, Hook]] = (),
        *,
        interventions: Sequence[Intervention] = (),
        names: Iterable[str] | Callable[[str], bool] | None = None,
    ) -> RunResult:
        """Run the model over a text once, with hooks on its activations; returns logits and activations.

            def halve(z, point):  # z: (T, n_head, head_size)
                z[:, 3] *= 0.5
                return z

            result = model.run("ROMEO:", hooks=[("blocks.0.attn.hook_z", halve)])
            result["blocks.0.attn.hook_pattern"]  # (n_head, T, T)

        Computed in float32 with NumPy, whatever the precision of the engine.

        Args:
            prompt: the text.
            hooks: pairs of an activation's name, or a function of names, and a function `hook(activation, point)` that
                returns the replacement, or None to leave it. `HookPoint` has the names, which are TransformerLens's,
                and the shapes.
            interventions: as for `generate`; applied after the hooks.
            names: the activations to return; None: all.

        Raises:
            UsageError: the text is longer than the context, or an intervention is not possible.
        """
        token_ids = self.engine.encode_prompt(prompt).token_ids
        edits = self.resolver.resolve(interventions, len(token_ids))
        return run(self._numpy_model, token_ids, hooks, edits, names)

    def _submit_many(
        self,
        prompts: str | Sequence[str],
        params: SamplingParams,
        logprobs: int | None,
        interventions: Sequence[Intervention],
    ) -> Generator[RequestHandle, None, None]:
        if not interventions:
            return self.engine.submit_many(prompts, params, logprobs=logprobs)
        encoded = [self.engine.encode_prompt(each) for each in ([prompts] if isinstance(prompts, str) else prompts)]
        edits = [self.resolver.resolve(interventions, len(prompt.token_ids)) for prompt in encoded]
        return self.engine.submit_many(encoded, params, logprobs=logprobs, edits=edits)

    @cached_property
    def resolver(self) -> InterventionResolver:
        """Checks interventions and turns them into the engine's edits."""
        return InterventionResolver(self.folder, self.config, self.engine.encode_prompt, lambda: self._numpy_model)

    @cached_property
    def _numpy_model(self) -> NumpyModel:
        backend = self.engine.backend
        return backend.model if isinstance(backend, NumpyBackend) else NumpyModel.from_pretrained(self.folder)

    def close(self) -> None:
        """Free threads and memory. Unfinished requests get an error."""
        self.engine.close()

    def __enter__(self) -> "Model":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def load(
    name_or_path: str | Path = "shakespeare",
    *,
    precision: Precision | None = None,
    threads: int | None = None,
    max_num_seqs: int = DEFAULT_MAX_NUM_SEQS,
    backend: BackendName | None = None,
) -> Model:
    """Load a model for inference.

    Args:
        name_or_path: a shipped model's name, a checkpoint folder, or a run folder, whose best checkpoint is used.
        precision: fp32, bf16, int8 or int4; None: int8 with the native backend, fp32 with NumPy.
        threads: the most threads to use; None: one per CPU core.
        max_num_seqs: how many sequences may be generated at once.
        backend: native or numpy; None: native if it is available.

    Raises:
        CheckpointError: the folder is not a valid checkpoint.
        UsageError: the backend is not available, or does not support an option.
    """
    folder = resolve_checkpoint(name_or_path)
    engine = Engine.from_pretrained(
        folder, precision=precision, threads=threads, max_num_seqs=max_num_seqs, backend=backend
    )
    return Model(engine, folder)


def generate(prompt: str = "", model: str | Path = "shakespeare", **sampling: Any) -> str:
    """Load a model, continue a prompt and return the new text.

    Args:
        prompt: the text to continue; may be empty.
        model: as `name_or_path` of `load`.
        sampling: fields of SamplingParams; without a limit the text ends after 200 tokens.
    """
    with load(model) as loaded:
        return loaded.generate(prompt, **sampling).text


def sampling_params(params: SamplingParams | None, sampling: dict[str, Any]) -> SamplingParams:
    """`params` with the fields in `sampling` replaced; without `params` and without a limit, DEFAULT_MAX_TOKENS."""
    if params is not None:
        return dataclasses.replace(params, **sampling)
    limits = (sampling.get("max_tokens"), sampling.get("max_words"), sampling.get("end_at_sentence") or None)
    if all(limit is None for limit in limits):
        sampling = sampling | {"max_tokens": DEFAULT_MAX_TOKENS}
    return SamplingParams(**sampling)


def _read(handle: RequestHandle) -> Iterator[TokenChunk]:
    try:
        yield TokenChunk("", None, None)  # consumed by `stream`
        yield from handle
    finally:
        handle.abort()
