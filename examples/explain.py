"""Inspect the model: attention of each head, the logit lens, and surprisal.

python explain.py ["TEXT" [LAYER [PICTURE.png]]]
"""

import sys
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import inkhorn

TEXT = "ROMEO:\nO, she doth teach the torches to burn bright"


def main(text: str = TEXT, layer: str = "5", picture: str = "attention.png") -> None:
    with inkhorn.load("shakespeare") as model:
        explanation = model.explain(text, int(layer))
    tokens = ["↵" if token == "\n" else token for token in explanation.tokens]

    print("next:", ", ".join(f"{token!r} {probability:.0%}" for token, probability in explanation.next_tokens[:5]))
    top = np.argsort(-np.nan_to_num(explanation.surprisal))[:5]
    print(
        "highest surprisal:",
        ", ".join(f"{tokens[i]!r} after {''.join(tokens[max(0, i - 4) : i])!r}" for i in top),
    )
    print("\nlogit lens: the last 8 tokens, and the most likely next token after each block")
    print("  text    " + "".join(f"{token:>8}" for token in tokens[-8:]))
    for depth, row in enumerate(explanation.lens_tokens[:, -9:-1]):
        predicted = (explanation.vocabulary[i].replace("\n", "↵") for i in row)
        print(f"  block {depth} " + "".join(f"{token:>8}" for token in predicted))

    heads = len(explanation.attention)
    figure, axes = plt.subplots(1, heads, figsize=(3.2 * heads, 3.6), layout="constrained")
    for head, axis in enumerate(axes):
        axis.imshow(np.sqrt(explanation.attention[head]), cmap="magma")  # sqrt: shows small weights
        axis.set(title=f"head {head}", xticks=range(len(tokens)), yticks=range(len(tokens)))
        axis.set_xticklabels(tokens, fontsize=5, rotation=90)
        axis.set_yticklabels(tokens, fontsize=5)
    figure.suptitle(f"Attention of block {layer}: each row holds the weights of one token over those before it")
    figure.savefig(Path(picture), dpi=120)
    print(f"\nattention of block {layer}: {picture}")


if __name__ == "__main__":
    main(*sys.argv[1:])
