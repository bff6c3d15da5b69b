"""`inkhorn inspect`: what the attention heads of a model look at, and the means for mean ablation."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from inkhorn.checkpoint.resolve import display_name, resolve_checkpoint
from inkhorn.cli.inspection_text import InspectionText
from inkhorn.cli.parsing import default, parse
from inkhorn.inference.activation_files import FOLDER, MEANS, write_activations
from inkhorn.inference.backends.packed_weights import weights_digest
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inspection.head_scores import BEHAVIOURS, head_scores, strongest
from inkhorn.inspection.means import mean_activations
from inkhorn.utils.files import write_json


@dataclass(frozen=True, kw_only=True)
class InspectArgs:
    """Score what every attention head looks at, and store the mean activations that interventions use.

    Writes heads.json and means.safetensors into the folder `inspection` of the checkpoint.
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]] = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    text: Path
    """text file that the model was not trained on; its first 8,192 tokens are used"""
    encoding: Annotated[str | None, default("utf-8, or that of a byte order mark")] = None
    """encoding of the text file"""


def run(argv: list[str]) -> int:
    args = parse(InspectArgs, argv, "inkhorn inspect", example="inkhorn inspect runs/mine --text held-out.txt")
    folder = resolve_checkpoint(args.model)
    source = InspectionText(folder, args.encoding)
    ids, model = source.read(args.text), NumpyModel.from_pretrained(folder)
    scores = head_scores(model, source.tokenizer, ids)
    write_activations(folder / FOLDER / f"{MEANS}.safetensors", folder, mean_activations(model, ids))
    rounded = {name: np.round(values, 4).tolist() for name, values in scores.items()}
    path = folder / FOLDER / "heads.json"
    write_json(path, {"weights": weights_digest(folder), "text": args.text.name, "tokens": len(ids), "scores": rounded})
    print(f"{display_name(args.model)}: the head that looks most at")
    for name, where in BEHAVIOURS.items():
        layer, head, score = strongest(scores, name)
        found = f"layer {layer + 1}, head {head + 1} ({score:.2f})" if score >= 0 else "not in this text"
        print(f"  {where}: {found}")
    print(f"written: {path} and {MEANS}.safetensors")
    return 0
