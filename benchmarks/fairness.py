"""How long a prompt that is scored keeps other requests waiting, on a vocabulary of 50,257 tokens.

    python benchmarks/fairness.py [--rounds 5] [--tokens 128] [--prompts 32]

A small GPT-2 with random weights is served. One client streams a text and times the gaps between its events, first
alone, then while another client has prompts read, then while the same prompts are scored (echo with log-probabilities,
as lm-eval does). Reported is the longest gap of each round, and how much longer it is with log-probabilities than
without: the delay that scoring adds to the next event of other requests.
"""

import http.client
import json
import random
import re
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import tokenizers
import tyro
from common import Series, report

from inkhorn.checkpoint.weights import write_weights
from inkhorn.config.model import ModelConfig
from inkhorn.tokenizer.base import END_OF_TEXT, bytes_to_unicode
from inkhorn.tokenizer.bpe import BPETokenizer

VOCAB_SIZE = 50_257


@dataclass
class Args:
    rounds: int = 5
    """measurements of each kind"""
    tokens: int = 128
    """tokens of a prompt"""
    prompts: int = 32
    """prompts of the other client's request"""
    seconds: float = 3.0
    """duration of the stream before the other client starts, when it is measured alone"""


def save_model(folder: Path) -> None:
    """Write a GPT-2 of 3.4 million parameters, with the 256 bytes and made-up words as its vocabulary."""
    config = ModelConfig(vocab_size=VOCAB_SIZE, block_size=1024, n_layer=2, n_head=4, n_embd=64)
    source = np.random.default_rng(0)

    def weights(name: str, shape: tuple[int, ...]) -> Callable[[], Any]:
        mean = 1.0 if ".ln_" in f".{name}" and name.endswith("weight") else 0.0
        return lambda: (mean + 0.02 * source.standard_normal(shape)).astype(np.float32)

    folder.mkdir()
    write_weights(
        folder, config, {spec.name: weights(spec.name, spec.shape) for spec in config.tensor_specs()}, "float32"
    )
    words = [*bytes_to_unicode(), *(f"w{number}" for number in range(VOCAB_SIZE - 257))]
    inner = tokenizers.Tokenizer(tokenizers.models.BPE({word: i for i, word in enumerate(words)}, []))
    inner.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    inner.decoder = tokenizers.decoders.ByteLevel()
    inner.add_special_tokens([END_OF_TEXT])
    BPETokenizer(inner).save(folder)


@contextmanager
def running_server(folder: Path) -> Iterator[int]:
    """Serve the model; gives the port."""
    command = [sys.executable, "-m", "inkhorn", "serve", "--port", "0", "--model", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        try:
            assert process.stdout is not None
            found = re.search(r":(\d+)$", process.stdout.readline().strip())
            if found is None:
                sys.exit("the server did not start")
            yield int(found[1])
        finally:
            process.kill()


def post(port: int, body: dict[str, Any]) -> http.client.HTTPResponse:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=600)
    connection.request("POST", "/v1/completions", json.dumps(body), {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        sys.exit(f"status {response.status}: {response.read().decode()}")
    return response


def longest_gap(port: int, beside: Callable[[], None]) -> float:
    """The longest time between two events of a stream while `beside` runs, in milliseconds."""
    times: list[float] = []
    stop = threading.Event()

    def read() -> None:
        body = {"prompt": "a", "max_tokens": 60_000, "ignore_eos": True, "stream": True, "seed": 1}
        response = post(port, body)
        while not stop.is_set() and (line := response.readline()):
            if line.startswith(b"data: {"):
                times.append(time.perf_counter())
        response.close()

    reader = threading.Thread(target=read)
    reader.start()
    while reader.is_alive() and len(times) < 10:  # the stream is under way
        time.sleep(0.01)
    start = time.perf_counter()
    beside()
    end = time.perf_counter()
    time.sleep(0.3)
    if not reader.is_alive():
        sys.exit("the stream ended before the other client had its answer: use fewer or shorter prompts")
    stop.set()
    reader.join()
    inside = [start, *(each for each in times if start <= each <= end + 0.2)]
    return max(1000 * (b - a) for a, b in pairwise(inside))


def main(args: Args) -> None:
    source = random.Random(1)
    series: dict[str, list[float]] = {"alone": [], "beside prompts": [], "beside scored prompts": []}
    with tempfile.TemporaryDirectory() as folder:
        save_model(Path(folder) / "model")
        with running_server(Path(folder) / "model") as port:

            def read_prompts(scored: bool) -> None:
                prompts = [
                    [source.randrange(256, VOCAB_SIZE - 1) for _ in range(args.tokens)] for _ in range(args.prompts)
                ]
                body: dict[str, Any] = {"prompt": prompts, "max_tokens": 1, "temperature": 0}
                post(port, body | ({"echo": True, "logprobs": 1} if scored else {})).read()

            for _ in range(args.rounds):
                series["alone"].append(longest_gap(port, lambda: time.sleep(args.seconds)))
                series["beside prompts"].append(longest_gap(port, lambda: read_prompts(False)))
                series["beside scored prompts"].append(longest_gap(port, lambda: read_prompts(True)))
    pairs = zip(series["beside scored prompts"], series["beside prompts"], strict=True)
    series["added by scoring"] = [scored - plain for scored, plain in pairs]
    title = f"Longest gap between events beside {args.prompts} prompts of {args.tokens} tokens"
    report(title, [Series(name, "ms", tuple(values)) for name, values in series.items()], {})


if __name__ == "__main__":
    main(tyro.cli(Args))
