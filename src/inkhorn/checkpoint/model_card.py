"""The model card of a checkpoint folder: README.md in the hub's form."""

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from inkhorn.checkpoint.card import CardFacts, card_header
from inkhorn.config.model import ModelConfig

NO_FACTS = CardFacts()


def model_card(
    config: ModelConfig,
    title: str,
    facts: Mapping[str, str],
    page: CardFacts = NO_FACTS,
    fields: Mapping[str, str] | None = None,
) -> str:
    """The text of a card: the architecture and `facts` as a table, and how to use the folder.

    Args:
        config: the model's config.
        title: what follows "A GPT-2 of 9,967,360 parameters".
        facts: further rows of the table.
        page: what the web page says of the model; without a tagline, it is the card's heading.
        fields: further fields of the hub, such as the license.
    """
    kind, norm = ("GPT-2", "pre-norm") if config.pre_norm else ("GPT-1", "post-norm")
    rows = {
        "architecture": f"{kind} ({norm}): {config.n_layer} layers, {config.n_head} heads, width {config.n_embd}",
        "context": f"{config.block_size} tokens",
        "vocabulary": f"{config.vocab_size} tokens",
        **facts,
        "made with": "Inkhorn",
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    heading = f"A {kind} of {config.num_parameters:,} parameters, {title}"
    header = {"library_name": "transformers", "pipeline_tag": "text-generation", "tags": ["inkhorn", config.model_type]}
    header |= fields or {}
    return f"""{card_header(header, replace(page, tagline=page.tagline or heading))}
# {heading}

| | |
| --- | --- |
{table}

It loads in transformers, where prompt and output together are limited to {config.block_size} tokens;
`inkhorn generate --model FOLDER` has no such limit.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

model = AutoModelForCausalLM.from_pretrained("path/to/this/folder")
tokenizer = AutoTokenizer.from_pretrained("path/to/this/folder")
inputs = tokenizer("The ", return_tensors="pt")
print(tokenizer.decode(model.generate(**inputs, max_new_tokens=100)[0]))
```
"""


def read_license(folder: Path) -> str | None:
    """The license that the card of a folder states; None if there is no card or it states none."""
    try:
        text = (folder / "README.md").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return None
    header = re.match(r"---\n(.*?)\n---\n", text, re.DOTALL)
    found = re.search(r"^license: *(\S+) *$", header[1], re.MULTILINE) if header else None
    return found[1] if found else None
