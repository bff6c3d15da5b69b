"""Quality of generated text: share of real words, known speakers, and text copied from the training set.

    python benchmarks/text_quality.py [--model shakespeare] [--corpus shakespeare] [--texts 20] [--tokens 2000]

Generates samples from an empty prompt, one seed each, and reports
- the share of words that occur in the corpus (training or held-out text), ignoring case,
- the share of 50-character runs that occur in the training text (memorization), with held-out text of the same length
  as a baseline, because Shakespeare repeats himself,
- the share of speeches whose speaker occurs in the corpus.
"""

import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import tyro
from common import Series, report

from inkhorn.config.sampling import SamplingParams
from inkhorn.data.corpora import load_text_corpus
from inkhorn.inference.engine import Engine

RUN = 50  # characters
WORD = re.compile(r"[A-Za-z]+(?:['-][A-Za-z]+)*")
SPEAKER = re.compile(r"^([A-Z][A-Za-z'-]*(?: [A-Za-z'-]+)*):$", re.M)


@dataclass
class Args:
    model: str = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    corpus: str = "shakespeare"
    """the corpus it was trained on"""
    texts: int = 20
    """number of samples"""
    tokens: int = 2000
    """tokens per sample"""
    temperature: float = 0.8
    save: Path | None = None
    """save the samples to this file"""


def runs(text: str) -> Iterable[str]:
    return (text[i : i + RUN] for i in range(len(text) - RUN + 1))


def copied_share(text: str, known: frozenset[int]) -> float:
    """Share of the 50-character runs of `text` that occur in the training text (compared by hash)."""
    found = [hash(run) in known for run in runs(text)]
    return sum(found) / len(found)


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    source = load_text_corpus(args.corpus)
    train, val = "".join(source.train_chunks()), "".join(source.val_chunks())
    known = frozenset(hash(run) for run in runs(train))
    vocabulary = {word.lower() for word in WORD.findall(train + val)}
    speakers = set(SPEAKER.findall(train + val))
    engine = Engine.from_pretrained(args.model)
    prompt = engine.encode_prompt("")
    words, copied, known_speakers, texts = [], [], [], []
    for seed in range(args.texts):
        params = SamplingParams(max_tokens=args.tokens, temperature=args.temperature, seed=seed, ignore_eos=True)
        text = engine.submit(prompt, params).result().text
        found_words, found_speakers = WORD.findall(text), SPEAKER.findall(text)
        words.append(sum(word.lower() in vocabulary for word in found_words) / len(found_words))
        copied.append(copied_share(text, known))
        known_speakers.append(sum(name in speakers for name in found_speakers) / max(1, len(found_speakers)))
        texts.append(f"--- seed {seed} ---\n{text}\n")
        print(f"  seed {seed}: {words[-1]:.1%} words, {copied[-1]:.2%} copied", file=sys.stderr)
    if args.save is not None:
        args.save.write_text("".join(texts), encoding="utf-8")
    held_out = [copied_share(val[i : i + args.tokens], known) for i in range(0, len(val) - args.tokens, args.tokens)]
    series = [
        Series("words in the corpus's vocabulary", "share", tuple(words)),
        Series("speakers of the corpus", "share", tuple(known_speakers)),
        Series("runs of 50 in the training text", "share", tuple(copied)),
        Series("the same of held-out Shakespeare", "share", tuple(held_out)),
    ]
    means = {s.name: round(sum(s.values) / len(s.values), 5) for s in series}
    report(
        f"Text quality of {args.model} at temperature {args.temperature:g}",
        series,
        {"means": means, "tokens": args.tokens},
    )


if __name__ == "__main__":
    main()
