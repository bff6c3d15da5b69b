"""The benchmarks' numbers are those of lm-eval's own tasks and of transformers, on the same small trained model."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.eval import PAGES, PASSAGES, QUESTIONS, make_folder, write_items
from helpers.models import save_checkpoint, tiny_config, tiny_model
from helpers.paths import DATA

from inkhorn.evaluation.evaldata import HELLASWAG, LAMBADA, WIKITEXT2
from inkhorn.evaluation.loglikelihood import Score, score
from inkhorn.evaluation.tasks import registry, wikitext
from inkhorn.evaluation.tasks.session import Session
from inkhorn.hardware.device import Hardware
from inkhorn.tokenizer.bpe import BPETokenizer
from inkhorn.tokenizer.pretrained import gpt2_tokenizer

pytestmark = pytest.mark.filterwarnings("ignore")  # lm-eval's own
CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
"""the published files, where they are at hand; they are no part of this repository"""
OURS = {"lambada": "lambada", "hellaswag": "hellaswag-lm-eval", "wikitext": "wikitext2-lm-eval"}
"""lm-eval's names and ours"""


class Case:
    """A model and some items, scored by lm-eval."""

    def __init__(self, folder: Path, items: Path, cache: Path) -> None:
        self.folder, self.items = folder, items
        self.session = Session(folder, CPU, batch_size=7)
        self.found = lm_eval_scores(folder, items, cache)

    def measures(self, name: str) -> dict[str, float]:
        task, _ = registry.task(name, self.items, self.session.reader, None)
        with self.session.journal(task) as journal:
            outcome = self.session.examine(task, journal)
        return {measure.name: measure.value for measure in outcome.measures}

    def scores(self, name: str) -> list[list[Score]]:
        task, _ = registry.task(name, self.items, self.session.reader, None)
        return [score(self.session.model, task.passages(item), CPU) for item in range(len(task))]


def lm_eval_scores(folder: Path, items: Path, work: Path) -> dict[str, Any]:
    """What lm-eval's own tasks say of the folder in transformers, reading the same items."""
    import lm_eval
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager
    from transformers import AutoModelForCausalLM, AutoTokenizer

    work.mkdir()
    pages = wikitext.pages((items / "wiki.test.raw").read_text(encoding="utf-8"))
    (work / "pages.jsonl").write_text("".join(json.dumps({"page": page}) + "\n" for page in pages), encoding="utf-8")
    known = Path(lm_eval.__file__).parent / "tasks"
    for name, theirs, split, file in (
        ("lambada", "lambada/lambada_openai.yaml", "test", items / "lambada_test.jsonl"),
        ("hellaswag", "hellaswag/hellaswag.yaml", "validation", items / "hellaswag_val.jsonl"),
        ("wikitext", "wikitext/wikitext.yaml", "test", work / "pages.jsonl"),
    ):
        lines = [f"include: {known / theirs}", f"task: own_{name}", "dataset_path: json", "dataset_name: null"]
        lines += [f"dataset_kwargs: {{data_files: {{{split}: {file}}}}}", "training_split: null"]
        lines += ["validation_split: null"] if split == "test" else []
        (work / f"{name}.yaml").write_text("\n".join(lines), encoding="utf-8")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = HFLM(AutoModelForCausalLM.from_pretrained(folder), tokenizer=tokenizer, device="cpu", batch_size=4)
    found = lm_eval.simple_evaluate(
        model,
        tasks=[f"own_{name}" for name in OURS],
        task_manager=TaskManager(include_path=str(work), include_defaults=False),
        log_samples=True,
        bootstrap_iters=0,
    )
    assert found is not None
    return found


@pytest.fixture(scope="module", params=["own", "published"])
def case(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    path = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(path / "datasets"))
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        if request.param == "own":
            folder = make_folder(path / "model")
            items = write_items(path / "items", PASSAGES, QUESTIONS, "\n".join(PAGES))
        else:
            if not (DATA / "eval").is_dir() or not (DATA / "gpt2-bpe").is_dir():
                pytest.skip("test data missing: set INKHORN_TEST_DATA to the folder with the evaluation sets")
            folder, items = published(path)
        yield Case(folder, items, path / "work")


def published(path: Path) -> tuple[Path, Path]:
    """A random model with GPT-2's vocabulary, and every 400th or so of the published items."""
    vocabulary = gpt2_tokenizer(DATA / "gpt2-bpe" / "encoder.json", DATA / "gpt2-bpe" / "vocab.bpe")
    tokenizer = BPETokenizer(vocabulary)
    config = tiny_config(vocab_size=tokenizer.vocab_size, block_size=128, n_embd=8, eos_token_id=tokenizer.eos_id)
    save_checkpoint(path / "model", tiny_model(config), tokenizer)
    passages = [line["text"] for line in LAMBADA.read(DATA / "eval").lines(["text"])][::500]
    questions = HELLASWAG.read(DATA / "eval").lines(["label"])[::1200]
    pages = sorted(wikitext.pages(WIKITEXT2.read(DATA / "eval").text), key=len)[:2]
    return path / "model", write_items(path / "items", passages, questions, "\n".join(pages))


@pytest.mark.parametrize("theirs", OURS)
def test_the_numbers_are_lm_eval_s(case: Case, theirs: str) -> None:
    expected = case.found["results"][f"own_{theirs}"]
    measures = case.measures(OURS[theirs])
    common = [name for name in measures if f"{name},none" in expected]
    assert len(common) == {"lambada": 2, "hellaswag": 2, "wikitext": 3}[theirs]
    for name in common:
        assert measures[name] == pytest.approx(expected[f"{name},none"], rel=1e-4), name


@pytest.mark.parametrize("theirs", OURS)
def test_each_log_probability_is_lm_eval_s(case: Case, theirs: str) -> None:
    samples = sorted(case.found["samples"][f"own_{theirs}"], key=lambda sample: int(sample["doc_id"]))
    scores = case.scores(OURS[theirs])
    assert len(scores) == len(samples) > 1
    for sample, own in zip(samples, scores, strict=True):
        answers = [response[0] for response in sample["resps"]]
        given = [float(answer[0] if isinstance(answer, list | tuple) else answer) for answer in answers]
        assert [one.total for one in own] == pytest.approx(given, rel=1e-5, abs=1e-4)
        if theirs == "lambada":
            assert [all(one.greedy) for one in own] == [bool(answer[1]) for answer in answers]


def test_the_items_tell_right_from_wrong(case: Case) -> None:
    """With all right or all wrong, equal numbers would say little."""
    if case.session.model.config.vocab_size == 50_257:
        return  # a random model of 50,257 tokens is never right
    lambada = case.measures("lambada")
    assert 0 < lambada["acc"] < 1
    assert lambada["acc"] < lambada["last_token_acc"]
    assert lambada["last_token_perplexity"] < lambada["perplexity"]
    assert 0 < case.measures("hellaswag-lm-eval")["acc_norm"] < 1


def reference(case: Case) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(case.folder).eval(), AutoTokenizer.from_pretrained(case.folder)


@torch.no_grad()
def test_the_last_token_is_transformers_s(case: Case) -> None:
    model, tokenizer = reference(case)
    right, nats = [], []
    for line in (case.items / "lambada_test.jsonl").read_text(encoding="utf-8").splitlines():
        ids = tokenizer(json.loads(line)["text"], return_tensors="pt").input_ids
        if ids.shape[1] == 1 or " " not in json.loads(line)["text"].strip():
            ids = torch.cat([torch.tensor([[tokenizer.eos_token_id]]), ids], dim=1)
        ids = ids[:, -model.config.n_positions - 1 :]
        odds = model(ids[:, :-1]).logits[0, -1].log_softmax(-1)
        right.append(int(odds.argmax()) == int(ids[0, -1]))
        nats.append(-float(odds[ids[0, -1]]))
    measures = case.measures("lambada")
    assert measures["last_token_acc"] == pytest.approx(sum(right) / len(right))
    assert measures["last_token_perplexity"] == pytest.approx(math.exp(sum(nats) / len(nats)), rel=1e-4)


@torch.no_grad()
def test_completion_style_is_that_of_a_plain_loop(case: Case) -> None:
    """Context and ending encoded apart, losses summed for acc and averaged for acc_norm."""
    model, tokenizer = reference(case)
    acc, acc_norm = [], []
    for line in map(json.loads, (case.items / "hellaswag_val.jsonl").read_text(encoding="utf-8").splitlines()):
        sums, means = [], []
        for ending in line["endings"]:
            context, after = tokenizer(line["ctx"]).input_ids, tokenizer(" " + ending).input_ids
            ids = torch.tensor([context + after])[:, -model.config.n_positions - 1 :]
            losses = torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits[0], ids[0, 1:], reduction="none")
            sums.append(float(losses[-len(after) :].sum()))
            means.append(float(losses[-len(after) :].mean()))
        acc.append(int(np.argmin(sums)) == int(line["label"]))
        acc_norm.append(int(np.argmin(means)) == int(line["label"]))
    measures = case.measures("hellaswag-completion")
    assert measures["acc"] == pytest.approx(sum(acc) / len(acc))
    assert measures["acc_norm"] == pytest.approx(sum(acc_norm) / len(acc_norm))


@torch.no_grad()
@pytest.mark.parametrize("part", [1, 2, 4])
def test_the_sliding_window_is_that_of_transformers_documentation(case: Case, part: int) -> None:
    """Its loop: windows of the block size, labels -100 where a window before has scored."""
    model, tokenizer = reference(case)
    longest = model.config.n_positions
    stride = longest // part
    lines = (case.items / "wiki.test.raw").read_text(encoding="utf-8").split("\n")[:-1]
    ids = tokenizer("\n\n".join(line + "\n" if line.strip() else "" for line in lines), return_tensors="pt").input_ids
    total, count, previous = 0.0, 0, 0
    for begin in range(0, ids.shape[1], stride):
        end = min(begin + longest, ids.shape[1])
        window, labels = ids[:, begin:end], ids[:, begin:end].clone()
        labels[:, : previous - end] = -100
        scored = int((labels[:, 1:] != -100).sum())  # the documentation's weight is one less for each window but one
        if scored:
            total += float(model(window, labels=labels).loss) * scored
            count += scored
        previous = end
        if end == ids.shape[1]:
            break
    task = wikitext.sliding(WIKITEXT2.read(case.items), case.session.reader, stride)
    with case.session.journal(task) as journal:
        outcome = case.session.examine(task, journal)
    assert sum(record["tokens"] for record in outcome.records) == count > 2 * longest
    assert outcome.measures[0].value == pytest.approx(total / count, rel=1e-5)
    assert outcome.measures[1].value == pytest.approx(math.exp(total / count), rel=1e-4)


def test_the_published_text_is_read_as_lm_eval_and_transformers_read_it() -> None:
    from lm_eval.tasks.wikitext.preprocess_wikitext import wikitext_detokenizer

    for page in PAGES:
        assert wikitext.detokenised(page) == wikitext_detokenizer({"page": page})
    assert [page.strip() for page in wikitext.pages("\n".join(PAGES))] == [page.strip() for page in PAGES]
    if not (DATA / "eval").is_dir():
        pytest.skip("test data missing: set INKHORN_TEST_DATA to the folder with the evaluation sets")
    data = WIKITEXT2.read(DATA / "eval")
    assert data.published
    found = wikitext.pages(data.text)
    assert len(found) == 62  # as many as the document-level data set has
    assert all(wikitext.detokenised(page) == wikitext_detokenizer({"page": page}) for page in found)
    assert LAMBADA.read(DATA / "eval").published
    if (DATA / "gpt2-bpe").is_dir():
        vocabulary = gpt2_tokenizer(DATA / "gpt2-bpe" / "encoder.json", DATA / "gpt2-bpe" / "vocab.bpe")
        assert len(BPETokenizer(vocabulary).encode(wikitext.as_transformers_reads(data.text))) == 287_644
