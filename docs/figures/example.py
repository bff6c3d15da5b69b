"""Generate src/inkhorn/web/static/example.json: the activations that the page's tour shows before a text is generated.

python docs/figures/example.py
"""

import json
from pathlib import Path
from typing import Any

from inkhorn.checkpoint.resolve import resolve_checkpoint
from inkhorn.config.sampling import SamplingParams
from inkhorn.inference.engine import Engine
from inkhorn.inference.explain import explain
from inkhorn.inference.numpy_model import NumpyModel
from inkhorn.tokenizer.load import load_tokenizer

TARGET = Path(__file__).parents[2] / "src/inkhorn/web/static/example.json"
MODEL, PROMPT, SEED, TOKENS, TOP = "shakespeare", "JULIET:\nO ", 4, 14, 5
TEMPERATURE = 0.5


def make() -> dict[str, Any]:
    """The example as a JSON object."""
    folder = resolve_checkpoint(MODEL)
    tokenizer, model = load_tokenizer(folder), NumpyModel.from_pretrained(folder)
    texts = [token.decode("utf-8", "replace") for token in tokenizer.token_bytes]
    params = SamplingParams(temperature=TEMPERATURE, seed=SEED, max_tokens=TOKENS)
    with Engine.from_pretrained(MODEL, backend="numpy") as engine:  # float32: equal everywhere up to rounding
        text = engine.submit(PROMPT, params, logprobs=TOP).result()
    prompt = tokenizer.encode(PROMPT).tolist()
    ids = [*prompt, *text.token_ids]
    tokens = [
        {
            "text": texts[token],
            "logprob": round(entry.logprob, 3),
            "top": [[texts[other], round(logprob, 3)] for other, logprob in entry.top],
        }
        for token, entry in zip(text.token_ids, text.logprobs, strict=True)
    ]
    explanations = [explain(model, tokenizer, ids, layer).to_json() for layer in range(model.config.n_layer)]
    for other in explanations[1:]:  # what does not depend on the layer is kept only once
        del other["last"]["wte"], other["last"]["wpe"]
        for name in set(other) - {"layer", "attention", "last"}:
            del other[name]
    return {
        "request": {"model": MODEL, "prompt": PROMPT, "temperature": TEMPERATURE, "seed": SEED, "max_tokens": TOKENS},
        "text": PROMPT + text.text,
        "prompt_tokens": len(prompt),
        "tokens": tokens,
        "explanations": explanations,
    }


if __name__ == "__main__":
    data = json.dumps(make(), ensure_ascii=False, separators=(",", ":"))
    TARGET.write_text(data + "\n", encoding="utf-8")
    print(f"{TARGET.name}: {len(data):,} characters")  # noqa: T201
