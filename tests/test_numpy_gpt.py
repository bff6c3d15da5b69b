"""The example in NumPy: short, and equal to the model."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from helpers import save_checkpoint, tiny_config, tiny_model
from safetensors.numpy import load_file

from inkhorn.tokenizer import CharTokenizer

EXAMPLE = Path(__file__).parents[1] / "examples" / "numpy_gpt.py"


def load_example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("numpy_gpt", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_it_is_short() -> None:
    assert len(EXAMPLE.read_text().splitlines()) < 80


def test_its_logits_are_the_model_s(tmp_path: Path) -> None:
    config = tiny_config(vocab_size=5, block_size=12)
    model = tiny_model(config)
    model.save_pretrained(tmp_path)
    ids = [0, 3, 1, 4, 4, 2, 0, 1, 3, 3, 2, 4]
    ours = load_example().gpt2(ids, load_file(tmp_path / "model.safetensors"), config.n_layer, config.n_head)
    with torch.no_grad():
        theirs = model(torch.tensor([ids]))[0][0].numpy()
    np.testing.assert_allclose(ours, theirs, atol=2e-5)


def test_it_writes(tmp_path: Path) -> None:
    tokenizer = CharTokenizer("ab é\n")
    model = tiny_model(tiny_config(vocab_size=tokenizer.vocab_size))
    save_checkpoint(tmp_path, model, tokenizer)
    done = subprocess.run(
        [sys.executable, str(EXAMPLE), str(tmp_path), "ab", "40"], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("ab")
    assert len(done.stdout) > 20
