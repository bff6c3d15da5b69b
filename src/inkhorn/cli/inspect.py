"""`inkhorn inspect`: what the attention heads of a model look at, and the means for mean ablation."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from inkhorn.checkpoint.resolve import display_name, resolve_checkpoint
from inkhorn.cli.inspection_text import InspectionText
from inkhorn.cli.parsing import default, exclusive, parse
from inkhorn.errors import require
from inkhorn.inference.activation_files import FOLDER, MEANS, write_activations
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.inspection.atlas import PAGE, Atlas, make_atlas, write_atlas
from inkhorn.inspection.atlas_page import atlas_page
from inkhorn.inspection.head_scores import BEHAVIOURS
from inkhorn.inspection.means import mean_activations
from inkhorn.inspection.windows import MAX_TOKENS
from inkhorn.utils.files import atomic_write


@dataclass(frozen=True, kw_only=True)
class InspectArgs:
    """Score what every attention head looks at, and store the mean activations that interventions use.

    Writes heads.json, atlas.html and means.safetensors into the folder `inspection` of the checkpoint.
    """

    model: tyro.conf.Positional[Annotated[str, tyro.conf.arg(metavar="MODEL")]] = "shakespeare"
    """name of a shipped model, checkpoint folder or run folder"""
    text: Annotated[Path | None, default()] = None
    """text file that the model was not trained on; its first 8,192 tokens are used"""
    encoding: Annotated[str | None, default("utf-8, or that of a byte order mark")] = None
    """encoding of the text file"""
    rebuild: bool = False
    """instead of --text: make all files of a model of Shakespeare's works again, steering vectors included"""


def run(argv: list[str]) -> int:
    args = parse(InspectArgs, argv, "inkhorn inspect", example="inkhorn inspect runs/mine --text held-out.txt")
    exclusive(args, "text", "rebuild")
    hint = " (or --rebuild, for a model of Shakespeare's works)"
    require(args.text is not None or args.rebuild, f"--text is missing: give a text that the model has not seen{hint}")
    folder = resolve_checkpoint(args.model)
    source = InspectionText(folder, args.encoding)
    if args.text is None:
        _rebuild(folder, args.model, source)
    else:
        ids = source.read(args.text)[1]
        _inspect(folder, args.model, source, ids, args.text.name)
    return 0


def _inspect(folder: Path, model: str, source: InspectionText, ids: Sequence[int], text: str) -> None:
    """Write the atlas and the means, and print the strongest heads."""
    network, name = NumpyModel.from_pretrained(folder), display_name(model)
    atlas = make_atlas(network, source.tokenizer, ids, text)
    write_activations(folder / FOLDER / f"{MEANS}.safetensors", folder, mean_activations(network, ids))
    path = write_atlas(folder, atlas)
    with atomic_write(path.parent / PAGE) as partial:
        partial.write_text(atlas_page(atlas, name), encoding="utf-8")
    print(f"{name}: the head that looks most at")
    for behaviour, where in BEHAVIOURS.items():
        print(f"  {where}: {_strongest(atlas, behaviour)}")
    print(f"written to {path.parent}: {path.name}, {PAGE} and {MEANS}.safetensors")


def _strongest(atlas: Atlas, behaviour: str) -> str:
    found = atlas.strongest(behaviour)
    if not found:
        return "not in this text"
    layer, head, score = found[0]
    return f"layer {layer + 1}, head {head + 1} ({score:.2f})"


def _rebuild(folder: Path, model: str, source: InspectionText) -> None:
    """Make the atlas, the means and the steering vectors of a model of Shakespeare's works again."""
    from inkhorn.cli.steer import make_vector
    from inkhorn.data import shakespeare
    from inkhorn.data.corpora import CORPORA, TextCorpus
    from inkhorn.inspection.shipped import CONTRASTS, HELD_OUT, STEERING_TOKENS, contrast_texts, held_out_text

    corpus = CORPORA["shakespeare"]
    assert isinstance(corpus, TextCorpus)
    works = shakespeare.works(corpus.download())
    _inspect(folder, model, source, source.encode(held_out_text(works), MAX_TOKENS), HELD_OUT)
    for name, (positive, _, negative, _) in CONTRASTS.items():
        texts = contrast_texts(works, name)
        make_vector(folder, source, name, texts, kinds=(positive, negative), max_tokens=STEERING_TOKENS, num_samples=16)
