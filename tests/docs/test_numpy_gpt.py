"""The example in NumPy: short, and equal to the model."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.paths import ROOT
from helpers.scripts import load_script
from safetensors.numpy import load_file, save_file

from inkhorn.tokenizer.char import CharTokenizer

EXAMPLE = ROOT / "examples" / "numpy_gpt.py"


def test_file_length() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 80


def test_logits_match_model(tmp_path: Path) -> None:
    config = tiny_config(vocab_size=5, block_size=12)
    model = tiny_model(config)
    model.save_pretrained(tmp_path)
    ids = [0, 3, 1, 4, 4, 2, 0, 1, 3, 3, 2, 4]
    weights = {n.removeprefix("transformer."): w for n, w in load_file(tmp_path / "model.safetensors").items()}
    ours = load_script(EXAMPLE).gpt2(ids, weights, config.n_layer, config.n_head)
    with torch.no_grad():
        theirs = model(torch.tensor([ids]))[0][0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    tokenizer = CharTokenizer("ab é\n")
    config = tiny_config(vocab_size=tokenizer.vocab_size, bos_token_id=tokenizer.eos_id)
    save_checkpoint(tmp_path, tiny_model(config), tokenizer)
    return tmp_path


def run(*argv: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(EXAMPLE), *argv], capture_output=True, text=True, check=False)


def change_config(folder: Path, **values: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | values))


@pytest.mark.parametrize("prompt", ["ab", "", "😀"])
def test_generates_text(folder: Path, prompt: str) -> None:
    done = run(str(folder), prompt, "40")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(prompt)
    assert len(done.stdout) > 20


def test_without_start_token(folder: Path) -> None:
    change_config(folder, bos_token_id=None)
    assert run(str(folder), "", "5").returncode == 0


def test_names_without_a_prefix(folder: Path) -> None:
    """As in openai-community/gpt2."""
    file = folder / "model.safetensors"
    save_file({name.removeprefix("transformer."): weight for name, weight in load_file(file).items()}, file)
    done = run(str(folder), "ab", "40")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("model_type", "openai-gpt"),
        ("activation_function", "relu"),
        ("layer_norm_epsilon", 1e-6),
        ("tie_word_embeddings", False),
    ],
)
def test_unsupported_activation(folder: Path, key: str, value: Any) -> None:
    shown = {key: value}
    change_config(folder, **shown)
    done = run(str(folder), "ab", "5")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{folder} is not supported by this script: it has {shown}\n"


def test_usage_without_arguments() -> None:
    done = run()
    assert (done.returncode, done.stderr) == (0, "")
    assert "python numpy_gpt.py FOLDER" in done.stdout
