"""`inkhorn steer`: a steering vector from two texts, and its measured effect."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.cli.inspection_text import InspectionText
from inkhorn.cli.parsing import default, parse
from inkhorn.config.bounds import Range
from inkhorn.errors import require
from inkhorn.inference.activation_files import SteeringFacts, steering_path, write_activations
from inkhorn.inference.engine import Engine
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inspection.effects import NUM_WORDS, SEED, TEMPERATURE, Effect, TypicalWords, measure
from inkhorn.inspection.steering import steering_vector
from inkhorn.inspection.windows import MAX_TOKENS


@dataclass(frozen=True, kw_only=True)
class SteerArgs:
    """Make a steering vector: the direction in which the residual stream differs between two texts.

    Interventions add it by its name: {"component": "resid", "layer": L, "action": "add", "vector": NAME, "factor": 4}.
    Its effect on generated texts is measured for several factors: the share of verse lines, the share of the words that
    are typical of the positive text, and the perplexity.
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]] = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    name: str
    """name of the vector"""
    positive: Path
    """text file of the kind to steer towards; its first 8,192 tokens are used"""
    negative: Path
    """text file of the kind to steer away from"""
    layer: Annotated[int | None, default("the middle one")] = None
    """layer whose input is compared, from 0"""
    samples: Annotated[int, Range(ge=0, le=1000)] = 16
    """texts generated for each factor to measure the effect; 0: do not measure"""
    encoding: Annotated[str | None, default("utf-8, or that of a byte order mark")] = None
    """encoding of the text files"""
    force: bool = False
    """replace a vector with this name"""


def run(argv: list[str]) -> int:
    example = "inkhorn steer runs/mine --name verse --positive verse.txt --negative prose.txt"
    args = parse(SteerArgs, argv, "inkhorn steer", example=example)
    folder = resolve_checkpoint(args.model)
    path = steering_path(folder, args.name, "--name")
    require(args.force or not path.exists(), f"{path} exists: give another --name, or --force to replace it")
    source = InspectionText(folder, args.encoding)
    texts = source.read(args.positive)[0], source.read(args.negative)[0]
    kinds = args.positive.stem, args.negative.stem
    make_vector(folder, source, args.name, texts, kinds=kinds, layer=args.layer, num_samples=args.samples)
    return 0


def make_vector(
    folder: Path,
    source: InspectionText,
    name: str,
    texts: tuple[str, str],
    *,
    kinds: tuple[str, str],
    layer: int | None = None,
    max_tokens: int = MAX_TOKENS,
    num_samples: int,
) -> None:
    """Make a vector from two texts, the positive one first, measure its effect, and write both into one file.

    Args:
        folder: the checkpoint.
        source: encodes the texts.
        name: of the vector.
        texts: the two texts; all their words count, and their first tokens.
        kinds: what the texts are called.
        layer: the layer whose input is compared; None: the middle one.
        max_tokens: of each text.
        num_samples: texts generated for each factor; 0: the effect is not measured.
    """
    model = NumpyModel.from_pretrained(folder)
    layer = model.config.n_layer // 2 if layer is None else layer
    positive, negative = (source.encode(text, max_tokens) for text in texts)
    vector, factors = steering_vector(model, positive, negative, layer, max_tokens)
    print(f"{name}: layer {layer}, length {np.linalg.norm(vector):.2f}")
    effects: list[Effect] = []
    measured: dict[str, object] = {}
    if num_samples:
        print(f"  factor   {kinds[0]}-like words   verse lines   perplexity")
        with Engine.from_pretrained(folder) as engine:
            for effect in measure(engine, layer, vector, factors, TypicalWords(*texts), num_samples):
                effects.append(effect)
                print(_row(effect, len(kinds[0])), flush=True)
            fingerprint = engine.backend.fingerprint
        measured = {"samples": num_samples, "words": NUM_WORDS, "temperature": TEMPERATURE, "seed": SEED}
        measured["fingerprint"] = fingerprint
    facts = SteeringFacts(name, layer, *kinds, [each.to_json() for each in effects], measured)
    path = steering_path(folder, name)
    write_activations(path, folder, {"vector": vector}, facts.to_metadata())
    print(f"written: {path}")


def _row(effect: Effect, width: int) -> str:
    typical, verse = (f"{100 * x:.0f} %" if x is not None else "-" for x in (effect.typical, effect.verse))
    perplexity = "-" if effect.perplexity is None else f"{effect.perplexity:.2f}"
    return f"  {effect.factor:6.2g}   {typical:>{width + 11}}   {verse:>11}   {perplexity:>10}"
