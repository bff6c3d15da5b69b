"""lm-eval's local-completions client against a server process: its scores equal the NumPy model's."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers.server import BLOCK
from helpers.server_process import ServerProcess, run_server

from inkhorn.inference.numpy_model import KVCache, NumpyModel
from inkhorn.tokenizer.load import load_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # in lm-eval itself

QUESTIONS = [
    {"question": "abc", "choices": [" def", " e", "\nABA"], "label": 1},
    {"question": "A:", "choices": [" bad", "\nB", " cab face"], "label": 0},
    {"question": "a cab", "choices": [".", "bage", " Be"], "label": 2},
    {"question": "fed", "choices": [" head", "é", " dad"], "label": 2},
]
TEXTS = ["abc def.", "A: bad\nB: head", "a face"]
CHOICE = """
task: tiny_choice
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/questions.jsonl}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: "{{choices}}"
doc_to_target: label
target_delimiter: ""
metric_list:
  - {metric: acc, aggregation: mean, higher_is_better: true}
  - {metric: acc_norm, aggregation: mean, higher_is_better: true}
"""
ROLLING = """
task: tiny_text
dataset_path: json
dataset_kwargs: {data_files: {test: FOLDER/texts.jsonl}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list:
  - {metric: bits_per_byte, aggregation: bits_per_byte, higher_is_better: false}
"""


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[ServerProcess]:
    with run_server("--model", str(folder), "--quantize", "fp32") as server:
        yield server


def score(folder: Path, context_text: str, text: str) -> float:
    """ln p(text | context), computed directly."""
    tokenizer, model = load_tokenizer(folder), NumpyModel.from_pretrained(folder)
    context = tokenizer.encode(context_text).tolist() or [tokenizer.eos_id]
    ids = [*context, *tokenizer.encode(text).tolist()]
    logits = model.forward(ids, KVCache(model.config), all_logits=True).astype(np.float64)
    logprobs = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    return float(sum(logprobs[i - 1, ids[i]] for i in range(len(context), len(ids))))


def test_scores_equal_numpy_model(
    server: ServerProcess, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    from lm_eval import simple_evaluate
    from lm_eval.models.openai_completions import LocalCompletionsAPI
    from lm_eval.tasks import TaskManager

    for name, task in (("choice", CHOICE), ("text", ROLLING)):
        (tmp_path / f"{name}.yaml").write_text(task.replace("FOLDER", str(tmp_path)), encoding="utf-8")
    (tmp_path / "questions.jsonl").write_text("\n".join(map(json.dumps, QUESTIONS)), encoding="utf-8")
    (tmp_path / "texts.jsonl").write_text("\n".join(json.dumps({"text": text}) for text in TEXTS), encoding="utf-8")
    model = LocalCompletionsAPI(
        base_url=f"{server.url}/v1/completions",
        model="tiny",
        tokenizer_backend="remote",
        max_length=BLOCK,
        batch_size=2,
    )
    tasks: Any = ["tiny_choice", "tiny_text"]
    manager = TaskManager(include_path=str(tmp_path), include_defaults=False)
    found = simple_evaluate(model, tasks=tasks, task_manager=manager, log_samples=True, bootstrap_iters=0)
    assert found is not None

    for sample in found["samples"]["tiny_choice"]:
        doc = sample["doc"]
        expected = [score(folder, doc["question"], choice) for choice in doc["choices"]]
        scores = [response[0] for response in sample["filtered_resps"]]
        assert [float(value) for value in scores] == pytest.approx(expected, abs=1e-4)
    correct = [
        int(np.argmax([score(folder, q["question"], c) for c in q["choices"]])) == q["label"]  # type: ignore[attr-defined,arg-type]
        for q in QUESTIONS
    ]
    assert found["results"]["tiny_choice"]["acc,none"] == pytest.approx(sum(correct) / len(correct))

    bits = -sum(score(folder, "", text) for text in TEXTS) / math.log(2)
    size = sum(len(text.encode()) for text in TEXTS)
    assert found["results"]["tiny_text"]["bits_per_byte,none"] == pytest.approx(bits / size, rel=1e-5)
