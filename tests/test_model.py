import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import tiny_config, tiny_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, OpenAIGPTConfig, OpenAIGPTLMHeadModel

from inkhorn import model as model_module
from inkhorn.config.model import ModelConfig
from inkhorn.config.recipes import RECIPES
from inkhorn.errors import CheckpointError
from inkhorn.model import GPT, MLP, CausalSelfAttention, attend
from inkhorn.utils.files import read_json, write_json

VARIANTS = [
    *[("gpt2", activation, tied) for activation in ("gelu_new", "gelu", "relu") for tied in (True, False)],
    *[("openai-gpt", activation, tied) for activation in ("gelu_new", "relu") for tied in (True, False)],
]
SHAPES: list[dict[str, int]] = [
    {},
    {"n_layer": 1, "n_head": 1, "n_embd": 8, "block_size": 5, "vocab_size": 3},
    {"n_layer": 3, "n_head": 5, "n_embd": 20, "block_size": 31, "vocab_size": 101},
]


def some_ids(config: ModelConfig, batch: int = 3, length: int | None = None, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(config.vocab_size, (batch, length or config.block_size), generator=generator)


@torch.no_grad()
def assert_same_logits(ours: GPT, theirs: Any) -> None:
    """Compare at every length from one token to the block size."""
    config = ours.config
    for length in range(1, config.block_size + 1):
        idx = some_ids(config, length=length, seed=length)
        expected = theirs(idx).logits
        assert expected.std() > 0.1  # large enough for a meaningful comparison
        torch.testing.assert_close(ours(idx)[0], expected, atol=1e-5, rtol=0)


def same_bits(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    ours, theirs = dict(a.named_parameters()), dict(b.named_parameters())
    return ours.keys() == theirs.keys() and all(torch.equal(ours[name], theirs[name]) for name in ours)


# Equivalence with transformers


@pytest.mark.parametrize(("kind", "activation", "tied"), VARIANTS)
def test_saved_model_matches_transformers(tmp_path: Path, kind: Any, activation: Any, tied: bool) -> None:
    for number, shape in enumerate(SHAPES):
        config = tiny_config(model_type=kind, activation_function=activation, tie_word_embeddings=tied, **shape)
        ours = tiny_model(config, seed=number)
        ours.save_pretrained(tmp_path / str(number))
        theirs = AutoModelForCausalLM.from_pretrained(tmp_path / str(number)).eval()
        assert type(theirs) is (GPT2LMHeadModel if kind == "gpt2" else OpenAIGPTLMHeadModel)
        assert theirs.dtype == torch.float32
        assert sum(p.numel() for p in theirs.parameters()) == config.num_parameters
        assert_same_logits(ours, theirs)


@pytest.mark.parametrize(("kind", "activation", "tied"), VARIANTS)
def test_loaded_model_matches_transformers(tmp_path: Path, kind: Any, activation: str, tied: bool) -> None:
    sizes: dict[str, Any] = {
        "vocab_size": 23,
        "n_positions": 9,
        "n_embd": 12,
        "n_layer": 2,
        "n_head": 3,
        "tie_word_embeddings": tied,
    }
    sizes |= {"initializer_range": 0.4, "layer_norm_epsilon": 1e-3}
    torch.manual_seed(5)
    if kind == "gpt2":
        theirs: Any = GPT2LMHeadModel(
            GPT2Config(**sizes, activation_function=activation, n_inner=30, bos_token_id=1, eos_token_id=2)
        )
    else:
        theirs = OpenAIGPTLMHeadModel(OpenAIGPTConfig(**sizes, afn={"gelu_new": "gelu"}.get(activation, activation)))
    with torch.no_grad():
        for parameter in theirs.parameters():  # biases and gains too
            parameter += 0.2 * torch.randn_like(parameter)
    theirs.eval().save_pretrained(tmp_path)
    ours = GPT.from_pretrained(tmp_path)
    assert not ours.training
    assert ours.config.inner == (30 if kind == "gpt2" else 48)
    assert_same_logits(ours, theirs)
    # Dropout, epsilon and special token ids are kept.
    assert (ours.config.attn_pdrop, ours.config.layer_norm_epsilon) == (0.1, 1e-3)
    assert (ours.config.bos_token_id, ours.config.eos_token_id) == ((1, 2) if kind == "gpt2" else (None, None))


@pytest.mark.parametrize(("kind", "activation", "tied"), VARIANTS)
def test_round_trip_is_bit_exact(tmp_path: Path, kind: Any, activation: Any, tied: bool) -> None:
    config = tiny_config(
        model_type=kind, activation_function=activation, tie_word_embeddings=tied, attn_pdrop=0.25, eos_token_id=3
    )
    ours = tiny_model(config)
    ours.save_pretrained(str(tmp_path / "ours"))  # str paths are accepted, too
    again = GPT.from_pretrained(str(tmp_path / "ours"))
    assert again.config == config
    assert same_bits(again, ours)
    AutoModelForCausalLM.from_pretrained(tmp_path / "ours").save_pretrained(tmp_path / "theirs")
    back = GPT.from_pretrained(tmp_path / "theirs")
    assert back.config == config
    assert same_bits(back, ours)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_save_half_precision(tmp_path: Path, dtype: torch.dtype, kind: Any) -> None:
    ours = tiny_model(tiny_config(model_type=kind))
    ours.save_pretrained(tmp_path, dtype)
    assert {tensor.dtype for tensor in load_file(tmp_path / "model.safetensors").values()} == {dtype}
    rounded = GPT.from_pretrained(tmp_path)
    for name, parameter in ours.named_parameters():
        loaded = rounded.get_parameter(name)
        assert loaded.dtype == torch.float32
        assert torch.equal(loaded, parameter.to(dtype).float()), name
    assert not same_bits(rounded, ours)
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == dtype  # from config.json
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path, dtype=torch.float32).eval()
    assert_same_logits(rounded, theirs)


def test_float16_overflow_is_rejected(tmp_path: Path) -> None:
    ours = tiny_model(tiny_config())
    with torch.no_grad():
        ours.wte.weight[1, 2] = 1e5
    with pytest.raises(CheckpointError, match=r"wte\.weight.*not finite as float16"):
        ours.save_pretrained(tmp_path / "x", torch.float16)
    assert not (tmp_path / "x").exists()
    ours.save_pretrained(tmp_path / "x", torch.bfloat16)


def test_shape_mismatch_is_rejected(tmp_path: Path) -> None:
    tiny_model(tiny_config()).save_pretrained(tmp_path)
    config = read_json(tmp_path / "config.json")
    write_json(tmp_path / "config.json", config | {"vocab_size": 18})
    with pytest.raises(
        CheckpointError, match=r"transformer\.wte\.weight has shape \[17, 16\], the config asks for \[18, 16\]"
    ):
        GPT.from_pretrained(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"no config\.json"):
        GPT.from_pretrained(tmp_path)


# Sizes


@pytest.mark.parametrize(
    ("recipe", "vocab_size", "count"),
    [
        ("gpt1", 40_478, 116_534_784),
        ("gpt2", 50_257, 124_439_808),
        ("gpt2-medium", 50_257, 354_823_168),
        ("gpt2-large", 50_257, 774_030_080),
        ("gpt2-xl", 50_257, 1_557_611_200),
    ],
)
def test_published_parameter_counts(recipe: str, vocab_size: int, count: int) -> None:
    config = RECIPES[recipe].architecture.to_model_config(vocab_size)
    assert config.num_parameters == count
    assert config.block_size == (512 if recipe == "gpt1" else 1024)
    with torch.device("meta"):
        model = GPT(config)
    assert sum(parameter.numel() for parameter in model.parameters()) == count


@pytest.mark.parametrize(("kind", "activation", "tied"), VARIANTS)
def test_tensor_specs_match_parameters(kind: Any, activation: Any, tied: bool) -> None:
    usual = tiny_config(model_type=kind, activation_function=activation, tie_word_embeddings=tied)
    for config in (usual, tiny_config(tie_word_embeddings=tied, n_inner=21)):
        named = dict(GPT(config).named_parameters())
        assert sum(parameter.numel() for parameter in named.values()) == config.num_parameters
        specs = config.tensor_specs()
        assert [spec.name for spec in specs] == list(named)
        for spec in specs:
            assert named[spec.name].shape == (spec.shape[::-1] if spec.is_linear else spec.shape), spec.name


def test_shakespeare_recipe_size() -> None:
    for name, vocab_sizes, block_size, least in (
        ("shakespeare-char", range(65, 101), 256, 9_000_000),
        ("shakespeare", [2048], 512, 5_000_000),
    ):
        architecture = RECIPES[name].architecture
        for vocab_size in vocab_sizes:
            assert least < architecture.to_model_config(vocab_size).num_parameters < 10_000_000
        assert architecture.n_embd // architecture.n_head == 64
        assert architecture.n_embd % 32 == 0
        assert architecture.block_size == block_size
    assert RECIPES["shakespeare"].vocab_size == 2048


def test_test_recipe_size() -> None:
    assert RECIPES["test"].architecture.to_model_config(66).num_parameters < 40_000


# The forward pass


def test_loss_is_mean_cross_entropy() -> None:
    model = tiny_model(tiny_config())
    idx = some_ids(model.config, batch=2, length=5)
    targets = some_ids(model.config, batch=2, length=5, seed=9)
    targets[0, 1] = targets[1, 0] = targets[1, 4] = -1
    logits, loss = model(idx, targets)
    assert loss is not None
    rows = logits.detach().double().numpy().reshape(-1, 17)
    probs = np.exp(rows) / np.exp(rows).sum(1, keepdims=True)
    terms = [-math.log(probs[i, t]) for i, t in enumerate(targets.flatten().tolist()) if t != -1]
    assert len(terms) == 7
    assert loss.item() == pytest.approx(sum(terms) / 7, rel=1e-6)
    # Ignored positions (target -1) do not contribute to the loss.
    full = model(idx, targets.clamp(min=0))[1]
    assert full.item() != pytest.approx(loss.item(), rel=1e-3)
    assert torch.equal(logits, model(idx)[0])
    assert model(idx)[1] is None


def test_loss_accepts_sliced_targets() -> None:
    model = tiny_model(tiny_config())
    window = some_ids(model.config, batch=4, length=9)
    sliced = model(window[:, :-1], window[:, 1:])[1]
    copied = model(window[:, :-1].clone(), window[:, 1:].clone())[1]
    assert sliced.item() == copied.item()


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_causal_mask(kind: Any) -> None:
    model = tiny_model(tiny_config(model_type=kind))
    idx = some_ids(model.config, batch=1)
    for position in range(1, 12):
        changed = idx.clone()
        changed[0, position] = (changed[0, position] + 1) % 17
        before, after = model(idx)[0], model(changed)[0]
        torch.testing.assert_close(after[:, :position], before[:, :position], atol=1e-6, rtol=0)
        assert (after[:, position:] - before[:, position:]).abs().amax(dim=-1).min() > 1e-3  # later ones change


@pytest.mark.parametrize("length", [1, 5, 512, 513])
def test_explicit_attention_matches_fused_kernel(length: int) -> None:
    torch.manual_seed(0)
    wide = torch.randn(3, 2, 2, length, 16).requires_grad_()
    q, k, v = wide.bfloat16()
    out = attend(q, k, v)
    truth = attend(*wide)
    assert out.dtype == torch.bfloat16
    assert torch.allclose(out.float(), truth, atol=0.02), "equal up to bfloat16 rounding"
    (gradient,) = torch.autograd.grad(out.float().square().sum(), wide)
    (true_gradient,) = torch.autograd.grad(truth.square().sum(), wide)
    assert (gradient - true_gradient).norm() < 0.02 * true_gradient.norm() + 1e-6


def test_explicit_attention_dropout() -> None:
    torch.manual_seed(0)
    q, k = torch.zeros(2, 1, 1, 400, 8, dtype=torch.bfloat16)
    v = torch.ones(1, 1, 400, 8, dtype=torch.bfloat16)
    last = attend(q, k, v, dropout=0.5)[0, 0, -1]
    assert last[0] != 1
    assert last[0].item() == pytest.approx(1, abs=0.3), "kept weights are rescaled"


def test_too_long_input_is_rejected() -> None:
    model = tiny_model(tiny_config())
    with pytest.raises(ValueError, match="13 tokens do not fit into the block size of 12"):
        model(some_ids(model.config, length=13))


@pytest.mark.parametrize("which", ["embd_pdrop", "attn_pdrop", "resid_pdrop"])
@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_dropout_in_training_only(which: str, kind: Any) -> None:
    reference = tiny_model(tiny_config(model_type=kind))
    model = tiny_model(tiny_config(model_type=kind, **{which: 0.5}))
    idx = some_ids(model.config)
    assert torch.equal(model(idx)[0], reference(idx)[0])
    model.train()
    assert not torch.allclose(model(idx)[0], model(idx)[0])
    reference.train()
    assert torch.equal(reference(idx)[0], reference(idx)[0])


def test_residual_dropout_rate() -> None:
    config = tiny_config(resid_pdrop=0.25)
    torch.manual_seed(0)
    x = torch.randn(4, 12, 16)
    for layer in (CausalSelfAttention(config), MLP(config)):
        dropped = (layer.train()(x) == 0).float().mean().item()
        assert dropped == pytest.approx(0.25, abs=0.06)
        assert (layer.eval()(x) != 0).all()


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_initialization_matches_openai(kind: Any) -> None:
    torch.manual_seed(0)
    model = GPT(tiny_config(model_type=kind, n_embd=128, n_head=4, vocab_size=200, block_size=100, n_layer=8))
    gpt2 = kind == "gpt2"
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif ".ln_" in f".{name}":
            assert (parameter == 1).all(), name
        else:
            expected = 0.02
            if gpt2 and name == "wpe.weight":
                expected = 0.01
            if gpt2 and name.endswith("c_proj.weight"):
                expected = 0.02 / 4  # sqrt(2 * 8 layers)
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < expected / 10, name
    loss = model(some_ids(model.config), some_ids(model.config, seed=1))[1]
    assert loss.item() == pytest.approx(math.log(200), abs=0.35)  # uniform predictions


def test_tied_embeddings_share_a_parameter() -> None:
    model = GPT(tiny_config())
    assert model.lm_head.weight is model.wte.weight
    assert GPT(tiny_config(tie_word_embeddings=False)).lm_head.weight is not model.wte.weight


# Generation


def test_greedy_selects_argmax() -> None:
    model = tiny_model(tiny_config())
    idx = some_ids(model.config, length=4)
    out = model.generate(idx, 6, temperature=0)
    assert out.shape == (3, 10)
    assert torch.equal(out[:, :4], idx)
    for end in range(4, 10):
        assert torch.equal(out[:, end], model(out[:, :end])[0][:, -1].argmax(-1))
    assert torch.equal(out, model.generate(idx, 6, top_k=1))
    assert torch.equal(out, model.generate(idx, 6, temperature=1e-4))
    assert len({tuple(row[4:].tolist()) for row in out}) > 1  # rows differ


@pytest.mark.parametrize("kind", ["gpt2", "openai-gpt"])
def test_greedy_matches_transformers(tmp_path: Path, kind: Any) -> None:
    model = tiny_model(tiny_config(model_type=kind, block_size=24))
    model.save_pretrained(tmp_path)
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path).eval()
    idx = some_ids(model.config, length=4)
    mask = torch.ones_like(idx)
    expected = theirs.generate(idx, attention_mask=mask, max_new_tokens=20, do_sample=False, pad_token_id=0)
    assert torch.equal(model.generate(idx, 20, temperature=0), expected)


def test_generate_beyond_block_size() -> None:
    model = tiny_model(tiny_config())
    idx = some_ids(model.config, length=30)
    out = model.generate(idx, 15, temperature=0)
    assert out.shape == (3, 45)
    for end in range(30, 45):
        assert torch.equal(out[:, end], model(out[:, end - 12 : end])[0][:, -1].argmax(-1))


def test_sampling_is_reproducible() -> None:
    model = tiny_model(tiny_config())
    idx = some_ids(model.config, length=2)

    def draw(seed: int, **options: Any) -> torch.Tensor:
        return model.generate(idx, 40, generator=torch.Generator().manual_seed(seed), **options)

    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))
    torch.manual_seed(3)
    state = torch.get_rng_state()
    draw(1)
    assert torch.equal(state, torch.get_rng_state())  # the global generator is not used
    assert not torch.equal(draw(1, temperature=3.0), draw(1, temperature=0.3))


def test_sampling_distribution() -> None:
    model = tiny_model(tiny_config(), scale=0.15)
    prompt = some_ids(model.config, batch=1, length=5)
    logits = model(prompt)[0][0, -1].detach()
    many = prompt.expand(20_000, -1)
    for temperature, top_k in ((1.0, None), (0.7, None), (1.0, 4), (1.5, 99)):
        kept = logits / temperature
        if top_k is not None and top_k < 17:
            kept[kept < kept.sort().values[-top_k]] = -math.inf
        generator = torch.Generator().manual_seed(0)
        drawn = model.generate(many, 1, temperature, top_k, generator)[:, -1]
        share = torch.bincount(drawn, minlength=17) / len(drawn)
        torch.testing.assert_close(share, kept.softmax(-1), atol=0.015, rtol=0)
        assert (share[kept == -math.inf] == 0).all()


@pytest.mark.parametrize("training", [True, False])
def test_generate_restores_training_mode(training: bool) -> None:
    model = tiny_model(tiny_config(embd_pdrop=0.5, attn_pdrop=0.5, resid_pdrop=0.5)).train(training)
    idx = some_ids(model.config, length=3)
    out = model.generate(idx, 8, temperature=0)
    assert model.training is training
    assert all(module.training is training for module in model.modules())
    assert torch.equal(out, model.generate(idx, 8, temperature=0))
    assert torch.equal(model.generate(idx, 0), idx)
    assert not out.requires_grad


# Source file


def test_model_file_length() -> None:
    source = Path(model_module.__file__).read_text(encoding="utf-8")
    lines = source.splitlines()
    assert len(lines) <= 225
    assert max(map(len, lines)) <= 120
    order = [source.index(f"class {name}(") for name in ("CausalSelfAttention", "MLP", "Block", "GPT")]
    assert all(earlier < later for earlier, later in pairwise(order))
