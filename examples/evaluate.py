"""Compare losses: the shipped model on a held-out play, on modern prose, and on shuffled letters.

python evaluate.py [TEXT]

Bits per character are comparable between models with different vocabularies; nats per token are not.
"""

import json
import random
import sys
import tempfile
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

from inkhorn.cli.main import main as command

THE_TEMPEST = """PROSPERO:
You do look, my son, in a moved sort,
As if you were dismay'd: be cheerful, sir.
Our revels now are ended. These our actors,
As I foretold you, were all spirits and
Are melted into air, into thin air:
And, like the baseless fabric of this vision,
The cloud-capp'd towers, the gorgeous palaces,
The solemn temples, the great globe itself,
Ye all which it inherit, shall dissolve
And, like this insubstantial pageant faded,
Leave not a rack behind. We are such stuff
As dreams are made on, and our little life
Is rounded with a sleep.
"""
PROSE = """The train was late again, and the people on the platform looked at their telephones. Somebody said that a
signal had failed. A child asked what a signal was, and nobody answered. It began to rain, not much, but enough to make
everyone step back a little from the edge and look up, as if the sky had said something.
"""


def evaluate(text: str) -> dict[str, Any]:
    """The loss over all of a text, as `inkhorn eval --text FILE --json` reports it."""
    with tempfile.TemporaryDirectory() as folder, redirect_stdout(StringIO()) as output:
        path = Path(folder, "text.txt")
        path.write_text(text, "utf-8")
        if command(["eval", "--text", str(path), "--json"]):
            sys.exit(1)
    found: dict[str, Any] = json.loads(output.getvalue())
    return found


def main(path: str = "") -> None:
    letters = list(THE_TEMPEST)
    random.Random(0).shuffle(letters)
    texts = {"The Tempest, held out": THE_TEMPEST, "modern prose": PROSE, "shuffled letters": "".join(letters)}
    if path:
        texts = {path: Path(path).read_text("utf-8")} | texts
    for name, text in texts.items():
        result = evaluate(text)
        bits = result["bits_per_character"]
        print(f"{name:24} {bits:5.2f} bits per character, perplexity {2**bits:5.1f}  {'#' * round(5 * bits)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
