"""Generation: tokens a second of the 10M-parameter shape, beside nanoGPT's generate and transformers'.

    python benchmarks/generate.py [--nanogpt FOLDER] [--tokens 200] [--rounds 5]

Every engine writes the same number of tokens after the same one-token prompt, with random weights of one shape (speed
does not depend on their values) and float32. Engines take turns. What is not installed, or not given, is left out.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
import tyro
from common import interleave, load_module, report

from inkhorn.config import ModelConfig, SamplingParams
from inkhorn.model import GPT
from inkhorn.recipes import Shape
from inkhorn.runtime.engine import load
from inkhorn.tokenizer import CharTokenizer


@dataclass
class Args:
    nanogpt: Path | None = None
    """a checkout of nanoGPT"""
    tokens: int = 200
    """tokens to write; with the prompt at most the block size, 256"""
    rounds: int = 5
    """measurements of each engine"""


def timed(tokens: int, write: Callable[[], object]) -> Callable[[], float]:
    def measure() -> float:
        start = time.perf_counter()
        write()
        return tokens / (time.perf_counter() - start)

    write()  # once to warm up
    return measure


def contenders(args: Args, folder: Path, config: ModelConfig, model: GPT) -> dict[str, Callable[[], float]]:
    engine = load(folder)
    params = SamplingParams(max_tokens=args.tokens, ignore_eos=True, seed=1)
    found = {"inkhorn generate (NumPy)": timed(args.tokens, lambda: engine.complete("A", params))}
    start = torch.tensor([[0]])
    found["inkhorn model.py's naive generate"] = timed(args.tokens, lambda: model.generate(start, args.tokens, 0.8))
    if args.nanogpt is not None:
        nanogpt = load_module(args.nanogpt / "model.py", "nanogpt_model")
        shape = {k: getattr(config, k) for k in ("block_size", "vocab_size", "n_layer", "n_head", "n_embd")}
        peer = nanogpt.GPT(nanogpt.GPTConfig(**shape, dropout=0.0, bias=True)).eval()
        found["nanoGPT generate"] = timed(args.tokens, lambda: peer.generate(start, args.tokens, temperature=0.8))
    try:
        from transformers import AutoModelForCausalLM
    except ImportError:
        return found
    hf = AutoModelForCausalLM.from_pretrained(folder).eval()
    options = {
        "do_sample": True,
        "temperature": 0.8,
        "max_new_tokens": args.tokens,
        "min_new_tokens": args.tokens,
        "pad_token_id": 0,
    }
    found["transformers generate"] = timed(args.tokens, lambda: hf.generate(start, **options))
    return found


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    if not 1 <= args.tokens <= 255:
        sys.exit(f"--tokens must be from 1 to 255, to fit the block with the prompt; it is {args.tokens}")
    torch.manual_seed(0)
    alphabet = CharTokenizer([chr(code) for code in range(58, 58 + 65)])
    config = Shape().config(alphabet.vocab_size, start=0, end=alphabet.eos_id)
    model = GPT(config).eval()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        model.save_pretrained(folder)
        alphabet.save(folder)
        with torch.no_grad():
            series = interleave(args.rounds, contenders(args, folder, config, model), "tokens/s")
    facts = {"threads": torch.get_num_threads(), "tokens": args.tokens, "parameters": config.num_parameters}
    report("Generation, batch 1, float32", series, facts)


if __name__ == "__main__":
    main()
