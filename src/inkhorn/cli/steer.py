"""`inkhorn steer`: a steering vector from two texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.cli.inspection_text import InspectionText
from inkhorn.cli.parsing import default, parse
from inkhorn.errors import require
from inkhorn.inference.activation_files import steering_path, write_activations
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inspection.steering import steering_vector


@dataclass(frozen=True, kw_only=True)
class SteerArgs:
    """Make a steering vector: the direction in which the residual stream differs between two texts.

    Interventions add it by its name: {"component": "resid", "layer": L, "action": "add", "vector": NAME, "factor": 4}.
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]] = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    name: str
    """name of the vector"""
    positive: Path
    """text file of the kind to steer towards"""
    negative: Path
    """text file of the kind to steer away from"""
    layer: Annotated[int | None, default("the middle one")] = None
    """layer whose input is compared, from 0"""
    encoding: Annotated[str | None, default("utf-8, or that of a byte order mark")] = None
    """encoding of the text files"""
    force: bool = False
    """replace a vector with this name"""


def run(argv: list[str]) -> int:
    example = "inkhorn steer runs/mine --name verse --positive verse.txt --negative prose.txt"
    args = parse(SteerArgs, argv, "inkhorn steer", example=example)
    folder = resolve_checkpoint(args.model)
    path = steering_path(folder, args.name)
    require(args.force or not path.exists(), f"{path} exists: give another --name, or --force to replace it")
    source, model = InspectionText(folder, args.encoding), NumpyModel.from_pretrained(folder)
    layer = model.config.n_layer // 2 if args.layer is None else args.layer
    vector = steering_vector(model, source.read(args.positive), source.read(args.negative), layer)
    texts = {"layer": str(layer), "positive": args.positive.name, "negative": args.negative.name}
    write_activations(path, folder, {"vector": vector}, texts)
    print(f"{args.name}: layer {layer}, length {np.linalg.norm(vector):.2f}; written: {path}")
    return 0
