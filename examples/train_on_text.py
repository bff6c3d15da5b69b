"""Train a small model on a text, print its validation losses, and generate.

python train_on_text.py [TEXT [STEPS [OUT]]]

Without a text it trains on the Python source of this package.
"""

import json
import sys
import tempfile
from pathlib import Path

import inkhorn
from inkhorn.cli.main import main as command


def package_source(folder: Path) -> Path:
    package = Path(inkhorn.__file__).parent
    text = folder / "source.txt"
    text.write_text("\n\n".join(path.read_text("utf-8") for path in sorted(package.rglob("*.py"))), "utf-8")
    return text


def main(text: str = "", steps: str = "300", out: str = "") -> None:
    folder = Path(tempfile.mkdtemp(prefix="inkhorn-"))
    run = Path(out or folder / "run")
    path = text or str(package_source(folder))
    # The same as `inkhorn train small --text ...`; `inkhorn train small --help` lists all flags.
    failed = command(["train", "small", "--text", path, "--out", str(run), "--steps", steps, "--eval-every", "50"])
    if failed:
        sys.exit(failed)

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    print("step   validation loss")
    for line in lines:
        if "val/loss" in line:
            loss = line["val/loss"]
            print(f"{line['step']:4}   {loss:.3f} {'#' * round(20 * loss)}")
    print(f"report with samples: {run / 'report.html'}\n")

    print("def " + inkhorn.generate("def ", run, max_tokens=300, temperature=0.6, seed=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
