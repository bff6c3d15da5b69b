"""Helpers for tests of the web page: Chromium, Node, and exported pages of small models."""

import functools
import http.server
import json
import shutil
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import tokenizers
from tokenizers import decoders, models, pre_tokenizers, trainers

from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.paths import ROOT
from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.quantization import Precision
from inkhorn.tokenizer.base import END_OF_TEXT
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.char import CharTokenizer
from inkhorn.web.export import write_site

SHIPPED = resolve_checkpoint("shakespeare")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
CHROMIUM_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
    "--disable-background-networking",
    "--disable-component-update",
]
NODE = shutil.which("node")
NODE_DRIVER = ROOT / "tests" / "web" / "engine_driver.mjs"
VERSE = "JULIET:\nO Romeo, Romeo! wherefore art thou Romeo?\nDeny thy father and refuse thy name;\n"
ALPHABET = "abcdefgh .\n:ABé"


def run_engine(*jobs: dict[str, Any]) -> list[Any]:
    """Run jobs of engine_driver.mjs in Node and return their results; for a job that throws, the error message."""
    if NODE is None:
        pytest.skip("Node is not installed (apt install nodejs)")
    done = subprocess.run([NODE, NODE_DRIVER], input=json.dumps(jobs), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [answer.get("result", answer.get("error")) for answer in json.loads(done.stdout)]


def export_tiny(folder: Path, alphabet: str = ALPHABET, precision: Precision | None = None, **changes: Any) -> Path:
    """Write a small model to folder/checkpoint and its page to folder/site; return the latter."""
    tokenizer = CharTokenizer(alphabet)
    special = {"bos_token_id": tokenizer.eos_id, "eos_token_id": tokenizer.eos_id}
    config = tiny_config(**{"vocab_size": tokenizer.vocab_size, "block_size": 24, **special, **changes})
    save_checkpoint(folder / "checkpoint", tiny_model(config, scale=0.2), tokenizer)
    write_site(folder / "checkpoint", "tiny", folder / "site", precision)
    return folder / "site"


def save_bpe_checkpoint(folder: Path) -> Path:
    """Write a small model with a byte-level BPE, whose vocabulary is padded by three tokens."""
    inner = tokenizers.Tokenizer(models.BPE())
    inner.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=400, special_tokens=[END_OF_TEXT], initial_alphabet=alphabet)
    inner.train_from_iterator([VERSE * 3, "don't we'll 10 € naïve façade 字字 😀"], trainer)
    tokenizer = BPETokenizer(inner)
    save_checkpoint(folder, tiny_model(tiny_config(vocab_size=tokenizer.vocab_size + 3, block_size=24)), tokenizer)
    return folder


@contextmanager
def static_server(folder: Path) -> Iterator[str]:
    """Serve a folder on loopback; gives its URL."""

    class QuietHandler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: Any) -> None:
            pass

    handler = functools.partial(QuietHandler, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}"
        server.shutdown()
