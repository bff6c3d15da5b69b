"""Teach the shipped model another tone with LoRA, and use what it learnt.

python finetune_lora.py [TEXT [steps [OUT]]]

The model's ten million weights stay; a change of rank 8 is learnt, a thirtieth of that. Without a text the poet learns
to write manuals, from this project's guides.
"""

import sys
import tempfile
from pathlib import Path

import torch

import inkhorn
from inkhorn.checkpoint.resolve import SHIPPED
from inkhorn.checkpoint.run_folder import RunFolder
from inkhorn.cli.main import main as command
from inkhorn.training.lora import load_adapter, merge_lora

GUIDES = Path(__file__).parents[1] / "docs"


def guides(folder: Path) -> Path:
    """Their prose alone: tables and commands are not in Shakespeare's alphabet."""
    lines = (line for page in sorted(GUIDES.glob("*.md")) for line in page.read_text("utf-8").splitlines())
    text = folder / "guides.txt"
    text.write_text("\n".join(line for line in lines if line[:1].isalpha()), "utf-8")
    return text


def main(text: str = "", steps: str = "60", out: str = "") -> None:
    folder = Path(out or tempfile.mkdtemp(prefix="inkhorn-"))
    run, text = folder / "lora", text or str(guides(folder))
    flags = ["--lora-rank", "8", "--lr", "0.003", "--batch-size", "4", "--eval-every", "20", "--steps", steps]
    failed = command(["train", "--init-from", "shakespeare", "--text", text, "--out", str(run), *flags])
    if failed:
        sys.exit(failed)

    best = RunFolder(run).best()
    assert best is not None
    adapter = best / "adapter"
    size, base = (sum(f.stat().st_size for f in folder.iterdir()) for folder in (adapter, SHIPPED["shakespeare"]))
    print(f"\n{adapter} has {size / 1e3:,.0f} kB; the model that it changes has {base / 1e6:,.0f} MB\n")

    for name, model in {"before": "shakespeare", "after": str(run)}.items():  # a run's folder is the merged model
        written = inkhorn.generate("The model", model, max_tokens=160, temperature=0.6, seed=3)
        print(f"{name}: The model{written}\n")

    # By hand: the base, the change on top of it, and the two made one. peft reads the same folder.
    changed = merge_lora(load_adapter(inkhorn.GPT.from_pretrained(SHIPPED["shakespeare"]), adapter)).eval()
    saved, ids = inkhorn.GPT.from_pretrained(best), torch.arange(60)[None]
    with torch.no_grad():
        print("largest difference of a logit:", (changed(ids)[0] - saved(ids)[0]).abs().max().item())


if __name__ == "__main__":
    main(*sys.argv[1:])
