"""Fine-tune the shipped model with LoRA, and use the adapter.

python finetune_lora.py [TEXT [STEPS [OUT]]]

The model's weights are frozen; an adapter of rank 8 is trained, with 4 % of the parameters. Without a text the
model is fine-tuned on this project's documentation.
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

DOCS = Path(__file__).parents[1] / "docs"


def documentation(folder: Path) -> Path:
    """The prose of the documentation, without tables and commands."""
    lines = (line for page in sorted(DOCS.glob("*.md")) for line in page.read_text("utf-8").splitlines())
    text = folder / "docs.txt"
    text.write_text("\n".join(line for line in lines if line[:1].isalpha()), "utf-8")
    return text


def main(text: str = "", steps: str = "60", out: str = "") -> None:
    folder = Path(out or tempfile.mkdtemp(prefix="inkhorn-"))
    folder.mkdir(parents=True, exist_ok=True)
    run, text = folder / "lora", text or str(documentation(folder))
    flags = ["--lora-rank", "8", "--lr", "0.003", "--batch-size", "4", "--eval-every", "20", "--steps", steps]
    failed = command(["train", "--init-from", "shakespeare", "--text", text, "--out", str(run), *flags])
    if failed:
        sys.exit(failed)

    best = RunFolder(run).best()
    assert best is not None
    adapter = best / "adapter"
    size, base = (sum(f.stat().st_size for f in folder.iterdir()) for folder in (adapter, SHIPPED["shakespeare"]))
    print(f"\n{adapter} has {size / 1e3:,.0f} kB; the base model has {base / 1e6:,.0f} MB\n")

    for name, model in {"before": "shakespeare", "after": str(run)}.items():  # a run folder holds the merged model
        text_out = inkhorn.generate("The model", model, max_tokens=160, temperature=0.6, seed=3)
        print(f"{name}: The model{text_out}\n")

    # By hand: load the base model, add the adapter, and merge them. peft loads the same folder.
    merged = merge_lora(load_adapter(inkhorn.GPT.from_pretrained(SHIPPED["shakespeare"]), adapter)).eval()
    saved, ids = inkhorn.GPT.from_pretrained(best), torch.arange(60)[None]
    with torch.no_grad():
        print("largest difference between logits:", (merged(ids)[0] - saved(ids)[0]).abs().max().item())


if __name__ == "__main__":
    main(*sys.argv[1:])
