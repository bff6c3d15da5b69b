"""The model card and generation defaults of a checkpoint folder."""

from pathlib import Path

from inkhorn.config import ModelConfig
from inkhorn.dataset import Dataset
from inkhorn.recipes import TrainConfig
from inkhorn.weights import write_json


def write(folder: Path, config: ModelConfig, dataset: Dataset, train: TrainConfig, step: int) -> None:
    """Write README.md and generation_config.json beside a model's weights."""
    defaults = {"do_sample": True, "temperature": 0.8, "max_new_tokens": 200}
    ends = {"bos_token_id": config.bos_token_id, "eos_token_id": config.eos_token_id}
    write_json(folder / "generation_config.json", defaults | ends)
    text = card(config, dataset, train, step)
    (folder / "README.md").write_text(text, encoding="utf-8")


def card(config: ModelConfig, dataset: Dataset, train: TrainConfig, step: int) -> str:
    """The card's text: what the model is, what it was trained on and how."""
    kind = "GPT-2" if config.pre_norm else "GPT-1"
    rows = train.batch_size * train.grad_accum
    optimizer = f"Muon {train.muon_lr:g}, AdamW {train.lr:g}" if train.optimizer == "muon" else f"AdamW {train.lr:g}"
    epochs = step * rows * config.block_size / len(dataset.train)
    return f"""---
library_name: transformers
pipeline_tag: text-generation
tags: [inkhorn, {config.model_type}]
---

# A {kind} of {config.num_parameters:,} parameters, trained on {dataset.name}

| | |
| --- | --- |
| architecture | {kind}: {config.n_layer} layers, {config.n_head} heads, {config.n_embd} wide, block {config.block_size} |
| vocabulary | {config.vocab_size} tokens |
| training text | {dataset.name}, {len(dataset.train):,} tokens; held out: {len(dataset.val):,} |
| training | {step:,} steps of {rows} x {config.block_size} tokens ({epochs:.1f} epochs), {optimizer}, dropout {train.dropout:g}, \
weight decay {train.weight_decay:g}, seed {train.seed} |
| made with | Inkhorn |

The loss over the held-out text is in the run's `metrics.jsonl`.

It loads in transformers as it is:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer
model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
```
"""
