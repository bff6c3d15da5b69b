"""Configuration dataclasses: validation, and config.json."""

import dataclasses
import math
from typing import Any

import pytest
from helpers.models import tiny_config
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoConfig

from inkhorn.config.model import Architecture, ModelConfig
from inkhorn.config.recipes import RECIPES
from inkhorn.config.sampling import SamplingParams
from inkhorn.config.train import TrainConfig
from inkhorn.errors import CheckpointError, InkhornError, UsageError, nearest

GPT2 = {"model_type": "gpt2", "vocab_size": 17, "n_positions": 12, "n_layer": 2, "n_head": 2, "n_embd": 16}
GPT1 = GPT2 | {"model_type": "openai-gpt"}


@st.composite
def model_configs(draw: st.DrawFn) -> ModelConfig:
    """Any config that both kinds can have on disk."""
    kind = draw(st.sampled_from(["gpt2", "openai-gpt"]))
    vocab_size = draw(st.integers(1, 60_000))
    n_head = draw(st.integers(1, 12))
    token = st.none() | st.integers(0, min(vocab_size, 50_256) - 1)
    drop = st.floats(0.0, 0.99)
    return ModelConfig(
        vocab_size=vocab_size,
        block_size=draw(st.integers(1, 4096)),
        n_layer=draw(st.integers(1, 48)),
        n_head=n_head,
        n_embd=n_head * draw(st.integers(1, 128)),
        n_inner=draw(st.none() | st.integers(1, 9000)) if kind == "gpt2" else None,
        model_type=kind,  # type: ignore[arg-type]
        activation_function=draw(
            st.sampled_from(["gelu_new", "gelu", "relu"] if kind == "gpt2" else ["gelu_new", "relu"])
        ),
        tie_word_embeddings=draw(st.booleans()),
        embd_pdrop=draw(drop),
        attn_pdrop=draw(drop),
        resid_pdrop=draw(drop),
        layer_norm_epsilon=draw(st.floats(1e-12, 0.1)),
        bos_token_id=draw(token),
        eos_token_id=draw(token),
    )


@given(model_configs())
def test_config_json_round_trip(config: ModelConfig) -> None:
    assert ModelConfig.from_hf(config.to_hf()) == config


@given(model_configs())
def test_transformers_reads_config_json(config: ModelConfig) -> None:
    ours = config.to_hf()
    theirs = AutoConfig.for_model(**ours)
    assert theirs.model_type == config.model_type
    for key in ("vocab_size", "n_layer", "n_head", "n_embd", "layer_norm_epsilon", "bos_token_id", "eos_token_id"):
        assert getattr(theirs, key) == getattr(config, key), key
    for key in ("embd_pdrop", "attn_pdrop", "resid_pdrop", "tie_word_embeddings"):
        assert getattr(theirs, key) == getattr(config, key), key
    assert theirs.n_positions == theirs.max_position_embeddings == config.block_size
    if config.pre_norm:
        assert theirs.activation_function == config.activation_function
        assert (theirs.n_inner or 4 * theirs.n_embd) == config.inner
    # The config that transformers saves is read back unchanged.
    assert ModelConfig.from_hf(theirs.to_dict()) == config


def test_default_gpt2_of_transformers() -> None:
    config = ModelConfig.from_hf(AutoConfig.for_model("gpt2").to_dict())
    assert (config.vocab_size, config.block_size, config.n_layer, config.n_head, config.n_embd) == (
        50257,
        1024,
        12,
        12,
        768,
    )
    assert (config.embd_pdrop, config.attn_pdrop, config.resid_pdrop) == (0.1, 0.1, 0.1)
    assert (config.bos_token_id, config.eos_token_id) == (50256, 50256)
    assert config.activation_function == "gelu_new"
    assert config.tie_word_embeddings
    assert config.pre_norm


def test_missing_keys_use_transformers_defaults() -> None:
    config = ModelConfig.from_hf(GPT2)
    assert config.activation_function == "gelu_new"
    assert config.tie_word_embeddings
    assert config.layer_norm_epsilon == 1e-5
    assert config.inner == 64


@pytest.mark.parametrize(("afn", "activation"), [("gelu", "gelu_new"), ("relu", "relu")])
def test_activation_names_of_gpt1(afn: str, activation: str) -> None:
    config = ModelConfig.from_hf(GPT1 | {"afn": afn})
    assert config.activation_function == activation
    assert not config.pre_norm
    assert config.to_hf()["afn"] == afn
    assert ModelConfig.from_hf(GPT1).activation_function == "gelu_new"
    # GPT-2's key has no effect in a GPT-1 config, where "gelu" is the erf form.
    assert ModelConfig.from_hf(GPT1 | {"afn": "relu", "activation_function": "gelu"}).activation_function == "relu"
    assert ModelConfig.from_hf(GPT2 | {"activation_function": "gelu", "afn": "relu"}).activation_function == "gelu"


def test_gpt1_ignores_n_inner() -> None:
    assert ModelConfig.from_hf(GPT1 | {"n_inner": 5}).inner == 64
    assert ModelConfig.from_hf(GPT2 | {"n_inner": 5}).inner == 5


@pytest.mark.parametrize(
    "changes", [{"activation_function": "gelu"}, {"n_inner": 65}, {"activation_function": "gelu", "n_inner": 65}]
)
def test_gpt1_without_equivalent_in_transformers(changes: dict[str, Any]) -> None:
    config = tiny_config(model_type="openai-gpt", **changes)
    with pytest.raises(CheckpointError, match=rf"{config.activation_function}.*MLP width {config.inner}"):
        config.to_hf()


def test_gpt1_with_explicit_default_n_inner() -> None:
    config = ModelConfig.from_hf(tiny_config(model_type="openai-gpt", n_inner=64).to_hf())
    assert config.inner == 64


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("scale_attn_weights", False),
        ("scale_attn_by_inverse_layer_idx", True),
        ("add_cross_attention", True),
        ("activation_function", "silu"),
        ("model_type", "llama"),
        ("n_layer", "two"),
        ("n_layer", None),
        ("n_embd", 15),
        ("vocab_size", True),
        ("layer_norm_epsilon", "tiny"),
        ("attn_pdrop", None),
        ("tie_word_embeddings", "no"),
    ],
)
def test_unsupported_keys(key: str, value: Any) -> None:
    with pytest.raises(CheckpointError) as caught:
        ModelConfig.from_hf(GPT2 | {key: value})
    message = str(caught.value)
    assert message.startswith("config.json: ")
    if key not in ("layer_norm_epsilon", "attn_pdrop"):  # a word where a number should be: Python's own message
        assert key in message
        assert str(value) in message


def test_unknown_activation_of_gpt1() -> None:
    with pytest.raises(CheckpointError, match="'swish'"):
        ModelConfig.from_hf(GPT1 | {"afn": "swish"})


def test_missing_required_keys() -> None:
    with pytest.raises(CheckpointError, match="is missing n_embd, n_positions"):
        ModelConfig.from_hf({k: v for k, v in GPT2.items() if k not in ("n_embd", "n_positions")})
    with pytest.raises(CheckpointError, match="model_type is None"):
        ModelConfig.from_hf({})


def test_default_eos_token_in_small_vocabulary() -> None:
    filled = GPT2 | {"bos_token_id": 50256, "eos_token_id": 50256}
    assert ModelConfig.from_hf(filled).eos_token_id is None
    assert ModelConfig.from_hf(filled).bos_token_id is None
    assert ModelConfig.from_hf(filled | {"vocab_size": 50256}).eos_token_id is None
    assert ModelConfig.from_hf(filled | {"vocab_size": 50257}).eos_token_id == 50256


@pytest.mark.parametrize(
    ("changes", "offenders"),
    [
        *[({name: 0}, (name, "0")) for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_inner")],
        *[
            ({name: -3}, (name, "-3"))
            for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_inner")
        ],
        *[
            ({name: 2.5}, (name, "2.5"))
            for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd", "n_inner")
        ],
        ({"n_layer": True}, ("n_layer", "True")),
        ({"n_embd": 18, "n_head": 4}, ("n_embd (18)", "n_head (4)")),
        ({"model_type": "gpt3"}, ("model_type", "'gpt3'", "gpt2, openai-gpt")),
        ({"activation_function": "swish"}, ("activation_function", "'swish'", "gelu_new, gelu, relu")),
        *[({name: 1.0}, (name, "1.0")) for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")],
        *[({name: -0.1}, (name, "-0.1")) for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")],
        *[({name: math.nan}, (name, "nan")) for name in ("embd_pdrop", "attn_pdrop", "resid_pdrop")],
        *[({"layer_norm_epsilon": bad}, ("layer_norm_epsilon", str(bad))) for bad in (0.0, -1e-5, math.nan, math.inf)],
        ({"tie_word_embeddings": 1}, ("tie_word_embeddings", "1")),
        *[({name: 17}, (name, "17", "0 to 16")) for name in ("bos_token_id", "eos_token_id")],
        *[({name: -1}, (name, "-1")) for name in ("bos_token_id", "eos_token_id")],
        *[({name: 1.5}, (name, "1.5")) for name in ("bos_token_id", "eos_token_id")],
    ],
)
def test_model_config_limits(changes: dict[str, Any], offenders: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        tiny_config(**changes)  # through dataclasses.replace, which must check again
    for offender in offenders:
        assert offender in str(caught.value)


def test_smallest_and_largest_values() -> None:
    config = ModelConfig(
        vocab_size=1, block_size=1, n_layer=1, n_head=1, n_embd=1, n_inner=1, bos_token_id=0, eos_token_id=0
    )
    assert config.head_dim == 1
    assert tiny_config(eos_token_id=16, embd_pdrop=0.999).eos_token_id == 16


@pytest.mark.parametrize("value", [tiny_config(), TrainConfig(), SamplingParams(), Architecture(), RECIPES["gpt2"]])
def test_configs_are_frozen_and_keyword_only(value: Any) -> None:
    first = dataclasses.fields(value)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(value, first, getattr(value, first))
    with pytest.raises(TypeError):
        type(value)(getattr(value, first))


@pytest.mark.parametrize(
    ("changes", "offenders"),
    [
        *[({n: 0}, (n, "0")) for n in ("steps", "batch_size", "grad_accum", "eval_every", "save_every", "log_every")],
        *[({n: bad}, (n, str(bad))) for n in ("lr", "muon_lr") for bad in (0, -0.1, 10, math.nan)],
        *[({n: 1.0}, (n, "1.0")) for n in ("dropout", "attn_dropout", "beta1", "beta2", "momentum", "ema_decay")],
        *[({n: -0.5}, (n, "-0.5")) for n in ("dropout", "attn_dropout", "beta1", "beta2", "momentum", "ema_decay")],
        *[({n: 1.5}, (n, "1.5")) for n in ("cooldown_frac", "final_lr_frac")],
        *[
            ({n: -1}, (n, "-1"))
            for n in ("warmup_steps", "momentum_warmup", "weight_decay", "grad_clip", "sample_tokens")
        ],
        ({"seed": -7}, ("seed", "-7")),
        ({"optimizer": "sgd"}, ("optimizer", "'sgd'", "muon, adamw")),
        ({"schedule": "cos"}, ("schedule", "'cos'", "linear, cosine")),
        ({"device": "tpu"}, ("device", "'tpu'")),
        ({"dtype": "float16"}, ("dtype", "'float16'")),
        ({"compile": True}, ("compile", "True")),
    ],
)
def test_train_config_limits(changes: dict[str, Any], offenders: tuple[str, ...]) -> None:
    with pytest.raises(UsageError) as caught:
        dataclasses.replace(TrainConfig(), **changes)
    for offender in offenders:
        assert offender in str(caught.value)


def test_usage_error_exit_code() -> None:
    with pytest.raises(ValueError, match="n_layer") as caught:
        tiny_config(n_layer=0)
    assert isinstance(caught.value, InkhornError)
    assert caught.value.exit_code == 2
    assert CheckpointError("").exit_code == 1


def test_nearest() -> None:
    assert nearest("gpt2-medum", RECIPES) == "did you mean 'gpt2-medium'?"
    assert nearest("qqq", ["b", "a"]) == "valid: a, b"


def test_architecture_to_model_config() -> None:
    architecture = Architecture(
        n_layer=3, n_head=2, n_embd=8, block_size=5, model_type="openai-gpt", activation_function="relu"
    )
    architecture = dataclasses.replace(architecture, tie_word_embeddings=False, n_inner=7)
    config = architecture.to_model_config(11, dropout=0.1, attn_dropout=0.2, bos_token_id=4, eos_token_id=10)
    assert Architecture.of(config) == architecture
    assert config == ModelConfig(
        vocab_size=11,
        block_size=5,
        n_layer=3,
        n_head=2,
        n_embd=8,
        n_inner=7,
        model_type="openai-gpt",
        activation_function="relu",
        tie_word_embeddings=False,
        embd_pdrop=0.1,
        resid_pdrop=0.1,
        attn_pdrop=0.2,
        bos_token_id=4,
        eos_token_id=10,
    )


@pytest.mark.parametrize(("value", "expected"), [(17, None), ([3, 4], 3), ([], None), (16, 16)])
def test_end_of_text_ids(value: Any, expected: int | None) -> None:
    """An id outside the vocabulary is never sampled; of several the first one is kept."""
    assert ModelConfig.from_hf(GPT2 | {"eos_token_id": value}).eos_token_id == expected


@pytest.mark.parametrize(
    ("architecture", "kind"), [("GPT2LMHeadModel", "gpt2"), ("OpenAIGPTLMHeadModel", "openai-gpt")]
)
def test_model_type_by_architecture(architecture: str, kind: str) -> None:
    old = {key: value for key, value in GPT2.items() if key != "model_type"}
    assert ModelConfig.from_hf(old | {"architectures": [architecture]}).model_type == kind
    with pytest.raises(CheckpointError, match="model_type"):
        ModelConfig.from_hf(old)
