"""Train a small model on a text of yours, read its curve, let it write.

python train_your_text.py [TEXT [steps [OUT]]]

Without a text it learns the Python of this very package.
"""

import json
import sys
import tempfile
from pathlib import Path

import inkhorn
from inkhorn.cli.main import main as command


def own_source(folder: Path) -> Path:
    package = Path(inkhorn.__file__).parent
    text = folder / "source.txt"
    text.write_text("\n\n".join(path.read_text("utf-8") for path in sorted(package.rglob("*.py"))), "utf-8")
    return text


def main(text: str = "", steps: str = "300", out: str = "") -> None:
    folder = Path(tempfile.mkdtemp(prefix="inkhorn-"))
    run = Path(out or folder / "run")
    path = text or str(own_source(folder))
    # What a shell would say: inkhorn train small --text ... Every flag's help: inkhorn train small --help
    failed = command(["train", "small", "--text", path, "--out", str(run), "--steps", steps, "--eval-every", "50"])
    if failed:
        sys.exit(failed)

    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    print("step   loss on text that it never saw")
    for line in lines:
        if "val/loss" in line:
            loss = line["val/loss"]
            print(f"{line['step']:4}   {loss:.3f} {'#' * round(20 * loss)}")
    print(f"the report, with a sample at each of them: {run / 'report.html'}\n")

    print("def " + inkhorn.generate("def ", run, max_tokens=300, temperature=0.6, seed=1))


if __name__ == "__main__":
    main(*sys.argv[1:])
