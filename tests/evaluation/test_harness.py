"""Scores in lm-eval's harness equal those of the same checkpoint in transformers."""

import json
import math
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers.eval import PASSAGES, QUESTIONS, save_trained_model, write_tasks

from inkhorn.errors import CorpusError, UsageError
from inkhorn.evaluation.harness import TASKS, InkhornLM, evaluate_tasks
from inkhorn.evaluation.sliding import text_loss
from inkhorn.hardware.device import Hardware
from inkhorn.model import GPT

pytestmark = pytest.mark.filterwarnings("ignore")  # from lm-eval and datasets
CPU = Hardware(torch.device("cpu"), torch.float32, False, ())
LM_EVAL_TASKS = ("own_lambada", "own_hellaswag", "own_wikitext")
OUR_TASKS = ("own_lambada_last_token", "own_hellaswag_completion", "own_hellaswag_completion_norm")


class Case:
    """A checkpoint with its scores in our adapter and in lm-eval's own model for transformers."""

    def __init__(self, path: Path) -> None:
        self.folder, self.tasks = save_trained_model(path / "model"), write_tasks(path / "tasks")
        self.ours = evaluate_tasks(
            self.folder, CPU, [*LM_EVAL_TASKS, *OUR_TASKS], include_path=self.tasks, batch_size=7
        )
        self.reference = self._in_transformers()

    def metric(self, task: str, name: str) -> float:
        return float(self.ours["results"][task][f"{name},none"])

    def _in_transformers(self) -> Any:
        from lm_eval import simple_evaluate
        from lm_eval.models.huggingface import HFLM
        from lm_eval.tasks import TaskManager
        from transformers import AutoModelForCausalLM, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(self.folder)
        model = HFLM(AutoModelForCausalLM.from_pretrained(self.folder), tokenizer=tokenizer, device="cpu", batch_size=4)
        manager = TaskManager(include_path=str(self.tasks), include_defaults=False)
        return simple_evaluate(model, tasks=list(LM_EVAL_TASKS), task_manager=manager, bootstrap_iters=0)


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Case]:
    path = tmp_path_factory.mktemp("evaluation")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_CACHE", str(path / "datasets"))
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        yield Case(path)


def transformers_model(case: Case) -> tuple[Any, Any]:
    from transformers import AutoTokenizer, GPT2LMHeadModel

    return GPT2LMHeadModel.from_pretrained(case.folder).eval(), AutoTokenizer.from_pretrained(case.folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "metric"),
    [
        ("own_lambada", "acc"),
        ("own_lambada", "perplexity"),
        ("own_hellaswag", "acc"),
        ("own_hellaswag", "acc_norm"),
        ("own_wikitext", "word_perplexity"),
        ("own_wikitext", "byte_perplexity"),
        ("own_wikitext", "bits_per_byte"),
    ],
)
def test_scores_equal_transformers_in_lm_eval(case: Case, task: str, metric: str) -> None:
    assert case.metric(task, metric) == pytest.approx(case.reference["results"][task][f"{metric},none"], rel=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_last_token_equals_reference(case: Case) -> None:
    model, tokenizer = transformers_model(case)
    correct, nats = [], []
    for passage in PASSAGES:
        ids = tokenizer(passage, return_tensors="pt").input_ids[:, -model.config.n_positions - 1 :]
        logprobs = model(ids[:, :-1]).logits[0, -1].log_softmax(-1)
        correct.append(int(logprobs.argmax()) == int(ids[0, -1]))
        nats.append(-float(logprobs[ids[0, -1]]))
    assert case.metric("own_lambada_last_token", "acc") == pytest.approx(sum(correct) / len(correct))
    perplexity = math.exp(sum(nats) / len(nats))
    assert case.metric("own_lambada_last_token", "perplexity") == pytest.approx(perplexity, rel=1e-4)


@pytest.mark.slow
@torch.no_grad()
def test_completion_style_equals_reference(case: Case) -> None:
    model, tokenizer = transformers_model(case)
    by_sum, by_mean = [], []
    for question in QUESTIONS:
        sums, means = [], []
        for ending in question["endings"]:
            context, after = tokenizer(question["ctx"]).input_ids, tokenizer(" " + ending).input_ids
            ids = torch.tensor([context + after])[:, -model.config.n_positions - 1 :]
            losses = torch.nn.functional.cross_entropy(model(ids[:, :-1]).logits[0], ids[0, 1:], reduction="none")
            sums.append(float(losses[-len(after) :].sum()))
            means.append(float(losses[-len(after) :].mean()))
        by_sum.append(int(np.argmin(sums)) == int(question["label"]))
        by_mean.append(int(np.argmin(means)) == int(question["label"]))
    assert case.metric("own_hellaswag_completion", "acc") == pytest.approx(sum(by_sum) / len(by_sum))
    assert case.metric("own_hellaswag_completion_norm", "acc") == pytest.approx(sum(by_mean) / len(by_mean))


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize("part", [1, 2, 4])
def test_sliding_window_matches_transformers_guide(case: Case, part: int) -> None:
    """The guide's windows predict one token less; with adjusted windows both score each token equally."""
    model, tokenizer = transformers_model(case)
    ids = tokenizer("\n".join(PASSAGES), return_tensors="pt").input_ids
    size = model.config.n_positions
    stride = size // part
    total, previous = 0.0, 1
    for start in range(0, ids.shape[1] - 1, stride):
        end = min(start + size + 1, ids.shape[1])
        window = ids[:, start:end]
        losses = torch.nn.functional.cross_entropy(model(window[:, :-1]).logits[0], window[0, 1:], reduction="none")
        total += float(losses[max(0, previous - start - 1) :].sum()) if end > previous else 0.0
        previous = end
    own = text_loss(GPT.from_pretrained(case.folder).eval(), ids[0].numpy(), CPU, stride=stride, batch_size=3)
    assert own == pytest.approx(total / (ids.shape[1] - 1), rel=1e-5)


@pytest.mark.slow
def test_truncation_and_replacement_notes(case: Case) -> None:
    assert any("longer than the context of 32 tokens" in note for note in case.ours["notes"])


def request(context: str, continuation: str) -> Any:
    from lm_eval.api.instance import Instance

    return Instance("loglikelihood", {}, (context, continuation), 0, ("task", 0, 1))


def test_continuation_outside_vocabulary(tmp_path: Path) -> None:
    from helpers.models import save_checkpoint, tiny_config, tiny_model

    from inkhorn.tokenizer.char import CharTokenizer

    tokenizer = CharTokenizer("abc ")
    config = tiny_config(vocab_size=tokenizer.vocab_size, eos_token_id=tokenizer.eos_id)
    save_checkpoint(tmp_path, tiny_model(config), tokenizer)
    model = InkhornLM(tmp_path, CPU)
    (logprob, greedy), (scored, _) = model.loglikelihood([request("abc", "日本"), request("abc", " a")])
    assert (logprob, greedy, model.unscorable) == (float("-inf"), False, 1)
    assert -100 < scored < 0


@pytest.mark.slow
def test_empty_context_uses_end_of_text(case: Case) -> None:
    model = InkhornLM(case.folder, CPU)
    rolled = model.loglikelihood_rolling([request(" cat", "")])
    assert model.loglikelihood([request("", " cat")])[0][0] == pytest.approx(rolled[0], rel=1e-5)


@pytest.mark.slow
def test_generate_until_is_greedy_and_stops(case: Case) -> None:
    from lm_eval.api.instance import Instance

    model = InkhornLM(case.folder, CPU)
    (whole,) = model.generate_until(
        [Instance("generate_until", {}, ("The cat", {"until": [], "max_gen_toks": 12}), 0, ("task", 0, 1))]
    )
    assert len(whole) > 3
    (cut,) = model.generate_until(
        [Instance("generate_until", {}, ("The cat", {"until": [whole[2]], "max_gen_toks": 12}), 0, ("task", 0, 1))]
    )
    assert cut == whole[: whole.index(whole[2])]


@pytest.mark.slow
def test_unknown_tasks_and_reductions(case: Case, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="lm-eval has no task 'helaswag'"):
        evaluate_tasks(case.folder, CPU, ["helaswag"])
    lines = (case.tasks / "lambada.yaml").read_text() + "\nmetadata: {version: 1.0, loglikelihood: median}\n"
    (tmp_path / "bad.yaml").write_text(lines.replace("own_lambada", "own_bad"))
    with pytest.raises(UsageError, match="loglikelihood must be one of sum, token_mean, last_token, not median"):
        evaluate_tasks(case.folder, CPU, ["own_bad"], include_path=tmp_path)


@pytest.mark.slow
def test_missing_data_is_reported(case: Case, tmp_path: Path) -> None:
    lines = (case.tasks / "lambada.yaml").read_text().replace("lambada.jsonl", "nowhere.jsonl")
    (tmp_path / "lost.yaml").write_text(lines.replace("own_lambada", "own_lost"))
    with pytest.raises(CorpusError, match="cannot load the data of own_lost"):
        evaluate_tasks(case.folder, CPU, ["own_lost"], include_path=tmp_path)


def test_our_task_files_are_found_by_name() -> None:
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_path=str(TASKS), include_defaults=False)
    assert set(manager.all_tasks) == {path.stem for path in TASKS.glob("*.yaml")}


@pytest.mark.slow
def test_limit_and_json_round_trip(case: Case) -> None:
    found = evaluate_tasks(case.folder, CPU, ["own_lambada"], include_path=case.tasks, limit=2)
    assert found["n-samples"]["own_lambada"] == {"original": len(PASSAGES), "effective": 2}
    assert json.loads(json.dumps(found["results"]))["own_lambada"]["acc,none"] in (0.0, 0.5, 1.0)


def test_text_starts_with_the_beginning_token(tmp_path: Path) -> None:
    """lm-eval's model for transformers puts bos before a text, even where eos is another token."""
    from helpers.models import save_checkpoint, tiny_config, tiny_model

    from inkhorn.tokenizer.bpe import train_bpe

    config = tiny_config(vocab_size=300, bos_token_id=3, eos_token_id=5)
    save_checkpoint(tmp_path, tiny_model(config), train_bpe(["to be or not"], 300))
    model = InkhornLM(tmp_path, CPU)
    assert (model.prefix_token_id, model.eot_token_id) == (3, 5)


def test_lm_eval_knows_the_model_by_name() -> None:
    from lm_eval.api.registry import get_model

    assert get_model("inkhorn") is InkhornLM


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("pretrained=shakespeare,revision=main", "unknown argument revision; inkhorn takes pretrained, device, dtype"),
        ("pretrained=shakespeare,batch_size=auto", "batch_size must be a positive integer, not auto"),
        ("pretrained=shakespeare,dtype=half", "dtype"),
    ],
)
def test_model_args_are_checked(arguments: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        InkhornLM.create_from_arg_string(arguments, {"device": "cpu", "batch_size": None})


def test_model_args_select_the_checkpoint() -> None:
    model = InkhornLM.create_from_arg_string("pretrained=shakespeare", {"device": "cpu", "batch_size": "2"})
    assert (model.folder.name, model.batch_size, model.hardware.device.type) == ("shakespeare", 2, "cpu")


@pytest.mark.slow
def test_the_command_of_lm_eval_evaluates_the_model(case: Case, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "inkhorn.evaluation", "run", "--model", "inkhorn", "--tasks", "own_lambada"]
    command += ["--model_args", f"pretrained={case.folder}", "--device", "cpu", "--include_path", str(case.tasks)]
    done = subprocess.run([*command, "--output_path", str(tmp_path)], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    (file,) = tmp_path.rglob("results_*.json")
    found = json.loads(file.read_text(encoding="utf-8"))["results"]["own_lambada"]
    assert found["acc,none"] == case.metric("own_lambada", "acc")
    assert found["perplexity,none"] == pytest.approx(case.metric("own_lambada", "perplexity"), rel=1e-6)
    command[command.index(f"pretrained={case.folder}")] = "pretrained=nowhere"
    failed = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert failed.returncode in (1, 2)
    assert "error: " in failed.stderr
    assert "Traceback" not in failed.stderr
