"""Interventions give the logits of a torch model with hooks, on every backend, and change nobody else's text."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import save_checkpoint, tiny_config, tiny_model, to_numpy_model
from hypothesis import given
from hypothesis import strategies as st

import inkhorn
from inkhorn.config.interventions import MAX_INTERVENTIONS, Intervention
from inkhorn.config.model import ModelConfig
from inkhorn.errors import UsageError
from inkhorn.inference.activation_files import steering_path, write_activations
from inkhorn.inference.backends import native_bindings
from inkhorn.inference.backends.base import Backend, ModelInput
from inkhorn.inference.backends.numpy_backend import NumpyBackend
from inkhorn.inference.edits import Edit, Edits, Site
from inkhorn.inference.interventions import InterventionResolver
from inkhorn.inference.numpy_model import Array, HookPoint
from inkhorn.inference.outputs import Prompt
from inkhorn.model import GPT
from inkhorn.tokenizer.char import CharTokenizer

KINDS = ["gpt2", "openai-gpt"]
TOKENIZER = CharTokenizer("abcdefghijklmnop")
CONFIG: dict[str, Any] = {"vocab_size": 17, "n_layer": 3, "n_head": 2, "n_embd": 24, "block_size": 20}


@pytest.fixture(scope="module", params=KINDS)
def gpt(request: pytest.FixtureRequest) -> GPT:
    return tiny_model(tiny_config(model_type=request.param, **CONFIG), seed=4)


@pytest.fixture(scope="module")
def folder(gpt: GPT, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    save_checkpoint(path, gpt, TOKENIZER)
    return path


def native(folder: Path, precision: Any) -> Backend:
    from inkhorn.inference.backends.native_backend import NativeBackend
    from inkhorn.inference.backends.packed_weights import load_packed

    if reason := native_bindings.unavailable_reason():
        pytest.skip(reason)
    return NativeBackend(load_packed(folder, precision), max_num_seqs=4)


@pytest.fixture(scope="module", params=["numpy", "native"])
def backend(request: pytest.FixtureRequest, gpt: GPT, folder: Path) -> Iterator[Backend]:
    found = NumpyBackend(to_numpy_model(gpt), 4) if request.param == "numpy" else native(folder, "fp32")
    yield found
    found.close()


def vector(size: int, seed: int) -> bytes:
    return np.random.default_rng(seed).standard_normal(size).astype(np.float32).tobytes()


@st.composite
def edit_lists(draw: st.DrawFn) -> tuple[Edit, ...]:
    def edit(site: Site, layer: int, head: int, scale: float, seed: int | None, first: int, length: int) -> Edit:
        size = 12 if site == Site.HEAD_OUT else 24
        end = first + length
        last = layer if site == Site.RESID else min(layer, 2)
        return Edit(site, last, head, scale, None if seed is None else vector(size, seed), first, end)

    edits = st.builds(
        edit,
        site=st.sampled_from(Site),
        layer=st.integers(0, 3),
        head=st.integers(0, 1),
        scale=st.sampled_from([0.0, 1.0, 0.5, -2.0, 1.75]),
        seed=st.one_of(st.none(), st.integers(0, 9)),
        first=st.integers(0, 9),
        length=st.sampled_from([1, 4, 2**31 - 10]),
    )
    return tuple(draw(st.lists(edits, min_size=1, max_size=5)))


def torch_logits(model: GPT, ids: Sequence[int], edits: Sequence[Edit]) -> Array:
    """The logits of model.py with forward hooks that make the same changes."""

    def change(x: torch.Tensor, site: Site, layer: int) -> torch.Tensor:  # x: (1, T, C)
        x = x.clone()
        for edit in edits:
            if (edit.site, edit.layer) == (site, layer):
                size = x.shape[2] // model.config.n_head
                columns = slice(edit.head * size, (edit.head + 1) * size) if site == Site.HEAD_OUT else slice(None)
                part = x[0, edit.first : edit.end, columns]
                part *= edit.scale
                if edit.vector is not None:
                    part += torch.from_numpy(np.frombuffer(edit.vector, np.float32).copy())
        return x

    def before(site: Site, layer: int) -> Callable[..., Any]:
        return lambda _module, inputs: (change(inputs[0], site, layer),)

    def after(site: Site, layer: int) -> Callable[..., Any]:
        return lambda _module, _inputs, output: change(output, site, layer)

    with ExitStack() as hooks, torch.no_grad():
        for i in range(model.config.n_layer):
            block = model.get_submodule(f"h.{i}")
            handles = [
                block.get_submodule("attn.c_proj").register_forward_pre_hook(before(Site.HEAD_OUT, i)),
                block.get_submodule("attn").register_forward_hook(after(Site.ATTN_OUT, i)),
                block.get_submodule("mlp").register_forward_hook(after(Site.MLP_OUT, i)),
                block.register_forward_pre_hook(before(Site.RESID, i)),
            ]
            for handle in handles:
                hooks.callback(handle.remove)
        last = model.config.n_layer
        hooks.callback(model.get_submodule("ln_f").register_forward_pre_hook(before(Site.RESID, last)).remove)
        logits: Array = model(torch.tensor([list(ids)]))[0][0].numpy()
        return logits


def backend_logits(backend: Backend, ids: Sequence[int], edits: Sequence[Edit], split: int = 0, slot: int = 0) -> Array:
    """The logits after each token, in two calls if `split` is not 0."""
    packed = Edits(tuple(edits))
    if split:
        backend.run([ModelInput(slot, 0, ids[:split], 0, edits=packed)])
    found = backend.run([ModelInput(slot, split, ids[split:], len(ids) - split, edits=packed)])[0].logits
    assert found is not None
    return found


@given(edits=edit_lists(), seed=st.integers(0, 99), split=st.integers(0, 9))
def test_logits_equal_torch_with_hooks(
    gpt: GPT, backend: Backend, edits: tuple[Edit, ...], seed: int, split: int
) -> None:
    ids = np.random.default_rng(seed).integers(17, size=12).tolist()
    expected = torch_logits(gpt, ids, edits)[split:]
    np.testing.assert_allclose(backend_logits(backend, ids, edits, split), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "int8", "int4"])
def test_others_in_a_batch_keep_their_bytes(folder: Path, precision: str) -> None:
    """A sequence without edits has the same bits beside one with edits, which has the same bits as alone."""
    backend = native(folder, precision)
    ids = [list(range(i, i + 9)) for i in range(4)]
    edits = Edits(
        (Edit(Site.HEAD_OUT, 1, 1, 0.0), Edit(Site.MLP_OUT, 0, 0, 0.5), Edit(Site.RESID, 2, 0, 1, vector(24, 1)))
    )
    given_edits = [None, edits, None, Edits((Edit(Site.ATTN_OUT, 2, 0, 0.0),))]
    inputs = [
        ModelInput(i, 0, each, 9, edits=edit) for i, (each, edit) in enumerate(zip(ids, given_edits, strict=True))
    ]
    together = [output.logits for output in backend.run(inputs)]
    alone = [backend.run([each])[0].logits for each in inputs]
    np.testing.assert_array_equal(together, alone)
    plain, changed = backend.run([ModelInput(1, 0, ids[1], 9)])[0].logits, alone[1]
    assert plain is not None
    assert changed is not None
    assert np.abs(plain - changed).max() > 1e-3
    backend.close()


def test_a_scale_of_one_changes_no_bit(backend: Backend) -> None:
    ids = list(range(12))
    plain = backend.run([ModelInput(0, 0, ids, 12)])[0].logits
    edits = [Edit(site, 1) for site in Site]
    np.testing.assert_array_equal(backend_logits(backend, ids, edits), plain)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (Edit(Site.HEAD_OUT, 3), "the layer of an edit must be from 0 to 2, not 3"),
        (Edit(Site.RESID, 4), "the layer of an edit must be from 0 to 3, not 4"),
        (Edit(Site.HEAD_OUT, 0, 2), "the head of an edit must be from 0 to 1, not 2"),
        (Edit(9, 0), "unknown site 9"),  # type: ignore[arg-type]
    ],
)
def test_the_kernel_checks_edits(folder: Path, edit: Edit, message: str) -> None:
    backend = native(folder, "fp32")
    with pytest.raises(ValueError, match=message):
        backend.run([ModelInput(0, 0, [1], 1, edits=Edits((edit,)))])


OFF = Intervention(component="head", layer=0, head=1)


@pytest.fixture(scope="module", params=["numpy", "native"])
def model(request: pytest.FixtureRequest, folder: Path) -> Iterator[inkhorn.Model]:
    if request.param == "native" and (reason := native_bindings.unavailable_reason()):
        pytest.skip(reason)
    with inkhorn.load(folder, backend=request.param, max_num_seqs=4) as loaded:
        yield loaded


def test_prefixes_are_shared_only_between_equal_interventions(model: inkhorn.Model) -> None:
    """The texts of requests that run one after the other, and together, are those of a fresh model."""
    prompt = "abcdefghijklmnopab"
    cases: list[list[Intervention]] = [
        [],
        [OFF],
        [Intervention(component="mlp", layer=1, action="scale", factor=2)],
        [Intervention(component="resid", layer=1, action="patch", prompt="ponm", position=-1)],
    ]
    expected = []
    for case in cases:
        with inkhorn.load(model.folder, backend="numpy" if "numpy" in model.engine.backend.name else "native") as fresh:
            expected.append(fresh.generate(prompt, seed=5, max_tokens=30, interventions=case).token_ids)
    assert len(set(map(tuple, expected))) >= 3, "the interventions change too little for this test"
    for order in (cases, cases[::-1], [*cases, *cases]):
        found = [model.generate(prompt, seed=5, max_tokens=30, interventions=case).token_ids for case in order]
        assert found == [expected[cases.index(case)] for case in order]
    streams = [model.stream(prompt, seed=5, max_tokens=30, interventions=case) for case in [*cases, *cases]]
    together = [tuple(chunk.token_id for chunk in stream if chunk.token_id is not None) for stream in streams]
    assert together == [tuple(ids) for ids in [*expected, *expected]]


def test_run_returns_activations_and_applies_hooks(model: inkhorn.Model, gpt: GPT) -> None:
    ids = model.engine.encode_prompt("abcde").token_ids
    plain = model.run("abcde")
    np.testing.assert_allclose(plain.logits, torch_logits(gpt, ids, []), atol=1e-4)

    def switch_off(z: Array, point: HookPoint) -> Array:
        assert (z.shape, point.layer()) == ((5, 2, 12), 0)
        z[:, 1] = 0
        return z

    expected = torch_logits(gpt, ids, [Edit(Site.HEAD_OUT, 0, 1, 0.0)])
    by_hook = model.run("abcde", hooks=[("blocks.0.attn.hook_z", switch_off)])
    np.testing.assert_allclose(by_hook.logits, expected, atol=1e-4)
    assert (by_hook["blocks.0.attn.hook_z"][:, 1] == 0).all()
    by_intervention = model.run("abcde", interventions=[OFF], names=lambda name: name.endswith("hook_z"))
    np.testing.assert_array_equal(by_intervention.logits, by_hook.logits)
    assert set(by_intervention.activations) == {f"blocks.{i}.attn.hook_z" for i in range(3)}
    with pytest.raises(UsageError, match="the text has 21 tokens; this model reads at most 20"):
        model.run("a" * 21)


def test_explain_shows_the_changed_activations(model: inkhorn.Model) -> None:
    plain, changed = (model.explain("abcdef", 1, interventions=case) for case in ([], [OFF]))
    assert np.abs(plain.attention - changed.attention).max() > 1e-3
    np.testing.assert_array_equal(changed.residual_rms[0], plain.residual_rms[0])


def patch(**changes: Any) -> Intervention:
    fields: dict[str, Any] = {"component": "resid", "layer": 0, "action": "patch", "prompt": "cd"}
    return Intervention(**(fields | changes))


def test_a_patch_of_the_whole_stream_gives_the_other_prompts_prediction(model: inkhorn.Model) -> None:
    """With the stream before the first layer patched at every position, the model reads the other prompt."""
    case = [patch(position=i, source_position=i) for i in range(2)]
    np.testing.assert_allclose(model.run("ab", interventions=case).logits, model.run("cd").logits, atol=1e-5)


def test_a_patch_concerns_one_position(model: inkhorn.Model) -> None:
    name = "blocks.0.hook_resid_pre"
    plain, other = model.run("abcd")[name], model.run("cd")[name]
    changed = model.run("abcd", interventions=[patch(position=-2, source_position=0)])[name]
    np.testing.assert_array_equal(changed[2], other[0])
    np.testing.assert_array_equal(np.delete(changed, 2, 0), np.delete(plain, 2, 0))


def test_positions_hold_when_the_window_moves(model: inkhorn.Model) -> None:
    """Once the patched token has left the context, the text is that of the tokens alone."""
    prompt = "abcdefghijklmnop"
    start = model.generate(prompt, max_tokens=20, temperature=0, interventions=[patch(position=0)])
    later = model.generate(prompt + start.text, max_tokens=12, temperature=0, interventions=[patch(position=0)])
    plain = model.generate(prompt + start.text, max_tokens=12, temperature=0)
    assert later.text == plain.text


def test_mean_and_steering_use_the_files_of_the_model(model: inkhorn.Model, gpt: GPT) -> None:
    folder, rng = model.folder, np.random.default_rng(3)
    mean = rng.standard_normal((2, 12)).astype(np.float32)
    write_activations(folder / "inspection" / "means.safetensors", folder, {"blocks.0.attn.hook_z": mean})
    direction = rng.standard_normal(24).astype(np.float32)
    write_activations(steering_path(folder, "verse"), folder, {"vector": direction}, {"layer": "2"})
    ids = model.engine.encode_prompt("abcde").token_ids
    found = model.run("abcde", interventions=[Intervention(component="head", layer=0, head=1, action="mean")])
    expected = torch_logits(gpt, ids, [Edit(Site.HEAD_OUT, 0, 1, 0.0, mean[1].tobytes())])
    np.testing.assert_allclose(found.logits, expected, atol=1e-4)
    steer = Intervention(component="resid", layer=2, action="add", vector="verse", factor=2)
    expected = torch_logits(gpt, ids, [Edit(Site.RESID, 2, 0, 1.0, (2 * direction).tobytes())])
    np.testing.assert_allclose(model.run("abcde", interventions=[steer]).logits, expected, atol=1e-4)
    numbers = Intervention(component="resid", layer=2, action="add", vector=tuple(direction.tolist()), factor=2)
    np.testing.assert_array_equal(
        model.run("abcde", interventions=[numbers]).logits, model.run("abcde", interventions=[steer]).logits
    )


def test_files_of_other_weights_are_refused(gpt: GPT, tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a", gpt, TOKENIZER)
    save_checkpoint(tmp_path / "b", tiny_model(gpt.config, seed=9), TOKENIZER)
    path = steering_path(tmp_path / "a", "verse")
    write_activations(path, tmp_path / "b", {"vector": np.zeros(24, np.float32)}, {"layer": "2"})
    with (
        inkhorn.load(tmp_path / "a", backend="numpy") as loaded,
        pytest.raises(UsageError, match="made from other weights"),
    ):
        loaded.run("ab", interventions=[Intervention(component="resid", layer=2, action="add", vector="verse")])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"component": "head", "layer": 0}, "head: the component head needs the number of the head"),
        ({"component": "mlp", "layer": 0, "head": 1}, "head: the component mlp has no heads"),
        ({"component": "tail", "layer": 0}, "component must be one of head, attn, mlp, layer, resid"),
        ({"component": "mlp", "layer": -1}, "layer must be at least 0, not -1"),
        ({"component": "mlp", "layer": 0, "action": "scale", "factor": float("nan")}, "factor must be between"),
        ({"component": "mlp", "layer": 0, "action": "scale", "factor": 1001}, "factor must be between -1000 and 1000"),
        ({"component": "mlp", "layer": 0, "action": "add"}, "vector: needed for the action add, and only for it"),
        ({"component": "mlp", "layer": 0, "prompt": "a"}, "prompt: needed for the action patch, and only for it"),
        ({"component": "layer", "layer": 0, "action": "patch", "prompt": "a"}, "a layer cannot be changed by patch"),
        ({"component": "mlp", "layer": 0, "action": "add", "vector": ()}, "vector"),
    ],
)
def test_fields_are_checked(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Intervention(**fields)


@pytest.mark.parametrize(
    ("intervention", "message"),
    [
        (
            Intervention(component="mlp", layer=3),
            r"interventions\[0\].layer: mlp has layers 0 to 2 in this model, not 3",
        ),
        (Intervention(component="resid", layer=4), "resid has layers 0 to 3"),
        (Intervention(component="head", layer=0, head=2), "heads 0 to 1 in each layer, not 2"),
        (patch(position=5), "position: the prompt has 5 tokens, so there is no token 5"),
        (patch(source_position=-3), "source_position: the prompt has 2 tokens, so there is no token -3"),
        (patch(prompt="ab" * 20, source_position=0), "token 0 is not among the last 20"),
        (
            Intervention(component="mlp", layer=0, action="add", vector=(1.0,)),
            "it has 1 numbers; this activation has 24",
        ),
        (Intervention(component="resid", layer=0, action="add", vector="x"), "no steering vector 'x'"),
        (Intervention(component="resid", layer=0, action="add", vector="../x"), "is not a name"),
        (Intervention(component="mlp", layer=0, action="mean"), "no mean activations"),
    ],
)
def test_interventions_are_checked_against_the_model(
    gpt: GPT, tmp_path: Path, intervention: Intervention, message: str
) -> None:
    config: ModelConfig = gpt.config
    reference = to_numpy_model(gpt)

    def encode(text: str) -> Prompt:
        return Prompt(text, tuple(TOKENIZER.encode(text).tolist()))

    resolver = InterventionResolver(tmp_path, config, encode, lambda: reference)
    with pytest.raises(UsageError, match=message):
        resolver.resolve([intervention], 5)
    with pytest.raises(UsageError, match=f"257 are given; the limit is {MAX_INTERVENTIONS}"):
        resolver.resolve([intervention] * 257, 5)
