"""A small trained BPE model and a few documents of each lm-eval task."""

import json
from pathlib import Path
from typing import Any

import torch

from helpers.models import save_checkpoint, tiny_config
from inkhorn import evaluation
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
"""Two pages in the format of WikiText's document-level data set."""


def trained_model(tokenizer: Tokenizer, block_size: int = 32) -> GPT:
    """A model trained on the passages until it predicts some of their tokens correctly."""
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


def write_tasks(folder: Path) -> Path:
    """Write task YAMLs named own_TASK: lm-eval's tasks and ours, on a few local documents."""
    import lm_eval

    folder.mkdir(parents=True, exist_ok=True)
    lm_eval_tasks, inkhorn_tasks = Path(lm_eval.__file__).parent / "tasks", Path(evaluation.__file__).parent / "tasks"
    documents = {
        "lambada": [{"text": passage} for passage in PASSAGES],
        "hellaswag": QUESTIONS,
        "wikitext": [{"page": PAGES[0].removeprefix(" \n")}, {"page": PAGES[1] + "\n"}],
    }
    for name, lines in documents.items():
        written = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        (folder / f"{name}.jsonl").write_text(written, encoding="utf-8")
    for name, source, split in (
        ("lambada", lm_eval_tasks / "lambada/lambada_openai.yaml", "test"),
        ("hellaswag", lm_eval_tasks / "hellaswag/hellaswag.yaml", "validation"),
        ("wikitext", lm_eval_tasks / "wikitext/wikitext.yaml", "test"),
        ("lambada_last_token", inkhorn_tasks / "lambada_openai_last_token.yaml", "test"),
        ("hellaswag_completion", inkhorn_tasks / "hellaswag_completion.yaml", "validation"),
        ("hellaswag_completion_norm", inkhorn_tasks / "hellaswag_completion_norm.yaml", "validation"),
    ):
        data = folder / f"{name.split('_')[0]}.jsonl"
        config = [f"include: {source}", f"task: own_{name}", "dataset_path: json", "dataset_name: null"]
        config += [f"dataset_kwargs: {{data_files: {{{split}: {data}}}}}", "training_split: null"]
        config += ["validation_split: null"] if split == "test" else []
        (folder / f"{name}.yaml").write_text("\n".join(config), encoding="utf-8")
    return folder


def save_trained_model(path: Path) -> Path:
    """Save the trained model as a checkpoint."""
    tokenizer = train_bpe(["\n".join([*PASSAGES, *PAGES]) * 2], 285)
    save_checkpoint(path, trained_model(tokenizer), tokenizer)
    return path
