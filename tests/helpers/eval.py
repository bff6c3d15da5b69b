"""A small trained model with a byte-pair encoding, and a few items of each benchmark, for tests of evaluation."""

import json
from pathlib import Path
from typing import Any

import torch

from helpers.models import save_checkpoint, tiny_config
from inkhorn.model import GPT
from inkhorn.tokenizer.base import Tokenizer
from inkhorn.tokenizer.bpe import train_bpe

PASSAGES = [
    "The cat sat on the mat. The dog ran to the cat. In the end the dog sat on the mat",
    "A boat went down the river. On the river there was a boat.\n\nThe man in the boat saw the river",
    "She gave the book to the man. The man read the book and gave it to the dog",
    "“It is late,” said the man. “It is,” said the dog. So they went to the house",
    "The house was old. The man was old. Even the dog was old, and the cat, said the man, was naïve",
    "The dog",
]
QUESTIONS: list[dict[str, Any]] = [
    {
        "activity_label": "Reading",
        "ctx_a": "A man reads the book.",
        "ctx_b": "the man",
        "ctx": "A man reads the book. the man",
        "endings": ["gave it to the dog.", "is a boat on the river of mats.", "sat.", "the the the the"],
        "label": 0,
    },
    {
        "activity_label": "Sailing",
        "ctx_a": "[header] How to sail [title] A boat went down the river.",
        "ctx_b": "",
        "ctx": "[header] How to sail [title] A boat went down the river.",
        "endings": [
            "[substeps] On the river  there was a boat.",
            "It is late, said the river.",
            "cat",
            "The man was old.",
        ],
        "label": "3",
    },
    {
        "activity_label": "Sitting",
        "ctx_a": "The cat and the dog are in the house.",
        "ctx_b": "they",
        "ctx": "The cat and the dog are in the house. they",
        "endings": [
            "went to the house.",
            "naïve",
            "ran to the cat, and the cat ran.",
            "sat on the mat. The dog sat too.",
        ],
        "label": 2,
    },
]
PAGES = [
    " \n = The Cat = \n \n The cat sat on the mat , and the dog 's house ( old ) was 1 @,@ 200 @.@ 5 feet off . \n \n",
    " = The River = \n \n = = Boats = = \n \n A boat went down the \" river \" ; an old @-@ new boat : ' old ' ! \n"
    + " = = = More = = = \n The man in the boat saw the river . The man was 20 ° N of it . " * 3,
]
"""such that, joined by line breaks, they are a wiki.test.raw of two pages"""


def trained_model(tokenizer: Tokenizer, block_size: int = 32) -> GPT:
    """A model that has read the passages often enough to be right now and then."""
    torch.manual_seed(0)
    config = tiny_config(
        vocab_size=tokenizer.vocab_size, block_size=block_size, n_embd=32, eos_token_id=tokenizer.eos_id
    )
    model = GPT(config)
    ids = torch.from_numpy(tokenizer.encode("\n".join(PASSAGES[:4] * 2))).long()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(200):
        starts = torch.randint(len(ids) - block_size - 1, (8,))
        rows = torch.stack([ids[start : start + block_size + 1] for start in starts.tolist()])
        _, loss = model(rows[:, :-1], rows[:, 1:])
        assert loss is not None
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model.eval()


def write_items(folder: Path, passages: list[str], questions: list[dict[str, Any]], text: str) -> Path:
    """The benchmarks' files, as they are published."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, lines in (("lambada_test", [{"text": passage} for passage in passages]), ("hellaswag_val", questions)):
        written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(written, encoding="utf-8")
    (folder / "wiki.test.raw").write_text(text + "\n", encoding="utf-8", newline="")
    return folder


def make_folder(path: Path) -> Path:
    """A checkpoint folder of the trained model."""
    tokenizer = train_bpe(["\n".join([*PASSAGES, *PAGES]) * 2], 285)
    save_checkpoint(path, trained_model(tokenizer), tokenizer)
    return path
