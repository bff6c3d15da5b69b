"""Look inside: where each head looks, what each layer would say, how surprised the model is.

python look_inside.py ["TEXT" [layer [picture.png]]]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import inkhorn

TEXT = "ROMEO:\nO, she doth teach the torches to burn bright"


def main(text: str = TEXT, layer: str = "1", picture: str = "inside.png") -> None:
    with inkhorn.load("shakespeare") as model:
        found = model.explain(text, int(layer))
    shown = ["↵" if token == "\n" else token for token in found.tokens]

    print("next:", ", ".join(f"{token!r} {odds:.0%}" for token, odds in found.next_tokens[:5]))
    least = np.argsort(-np.nan_to_num(found.surprisal))[:5]
    print("most surprising:", ", ".join(f"{shown[i]!r} after {''.join(shown[max(0, i - 8) : i])!r}" for i in least))
    print("\nthe last 15 places: what comes, and what each depth would have said (the logit lens)")
    print("  text    ", " ".join(shown[-15:]))
    for depth, row in enumerate(found.lens_tokens[:, -16:-1]):
        print(f"  block {depth} ", " ".join(found.vocabulary[i].replace("\n", "↵") for i in row))

    heads = len(found.attention)
    figure, axes = plt.subplots(1, heads, figsize=(3.2 * heads, 3.6), layout="constrained")
    for head, axis in enumerate(axes):
        axis.imshow(np.sqrt(found.attention[head]), cmap="magma")  # the root, so that small weights show
        axis.set(title=f"head {head}", xticks=range(len(shown)), yticks=range(len(shown)))
        axis.set_xticklabels(shown, fontsize=5)
        axis.set_yticklabels(shown, fontsize=5)
    figure.suptitle(f"Attention of block {layer}: each row says what a character takes from those before it")
    figure.savefig(Path(picture), dpi=120)
    print(f"\nthe attention of block {layer} is drawn in {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
