"""`inkhorn learn`: the solution passes its checks, the hole fails them, and wrong answers are explained in words."""

import json
from pathlib import Path

import pytest
import torch
from helpers.models import run

from inkhorn.course.chapter import HOLE, chapters
from inkhorn.course.check import outcomes_of
from inkhorn.course.compare import difference
from inkhorn.course.exercises import CHECKS
from inkhorn.course.learner import Exercise

NUMBERS = sorted(chapters())


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def fill(number: int, code: str) -> Path:
    """The learner's file of a chapter with the hole filled."""
    path = Path(chapters()[number].path.name).resolve()
    exercise = chapters()[number].exercise
    line = next(line for line in exercise.splitlines() if line.strip() == HOLE)
    indent = line[: len(line) - len(line.lstrip())]
    path.write_text(exercise.replace(line, "\n".join(indent + part for part in code.splitlines())), encoding="utf-8")
    return path


def problems(number: int, code: str) -> str:
    """What the checks say about an answer, one after the other."""
    found = outcomes_of(number, fill(number, code))
    return "\n".join(f"{what}: {problem}" for what, problem in found if problem)


@pytest.mark.parametrize("number", NUMBERS)
def test_solution_passes_and_hole_fails(number: int, tmp_path: Path) -> None:
    chapter = chapters()[number]
    solved, hole = tmp_path / "solved.py", tmp_path / "hole.py"
    solved.write_text(chapter.complete, encoding="utf-8")
    hole.write_text(chapter.exercise, encoding="utf-8")
    assert [what for what, _ in outcomes_of(number, solved)] == [check.what for check in CHECKS[number]]
    assert [problem for _, problem in outcomes_of(number, solved) if problem] == []
    assert any(problem and "NotImplementedError" in problem for _, problem in outcomes_of(number, hole))


@pytest.mark.parametrize("number", NUMBERS)
def test_one_hole_in_a_chapter(number: int) -> None:
    chapter = chapters()[number]
    assert chapter.exercise.count(HOLE) == chapter.source.count("# EXERCISE: ") == chapter.source.count("# END\n") == 1
    assert chapter.solution in chapter.complete
    assert chapter.solution not in chapter.exercise
    assert "# EXERCISE" not in chapter.complete


WRONG = {
    "sum of the wrong axis": (
        1,
        "smoothed = counts + 1\nreturn smoothed / smoothed.sum(dim=0, keepdim=True)",
        "probabilities_of(counts): first wrong value at [0, 0]: expected 0.1429, found 0.1000",
    ),
    "no smoothing": (
        1,
        "return counts / counts.sum(dim=1, keepdim=True)",
        "first wrong value at [0, 0]: expected 0.14",
    ),
    "nothing returned": (1, "counts + 1", "expected a tensor of shape (3, 3), found None, which a function without"),
    "sum instead of mean": (
        2,
        "log_p = logits.log_softmax(dim=-1)\nreturn -log_p.gather(-1, targets.unsqueeze(-1)).sum()",
        "cross_entropy of equal logits: wrong value: expected 1.3863, found 2.7726",
    ),
    "no reduction": (
        2,
        "return -logits.log_softmax(dim=-1).gather(-1, targets.unsqueeze(-1))",
        "expected shape (), found (1, 2, 1)",
    ),
    "overflow": (
        2,
        "p = logits.exp() / logits.exp().sum(dim=-1, keepdim=True)\n"
        "return -p.gather(-1, targets.unsqueeze(-1)).log().mean()",
        "cross_entropy of logits around 1,000: wrong value: expected 1.9648, found nan\nexp(1000) is infinite",
    ),
    "rows do not sum to 1": (
        3,
        "return torch.ones(T, T).tril() / T",
        "average_weights(4): first wrong value at [0, 0]: expected 1.0000, found 0.2500 (6 of 16 values differ)\n"
        "Row t has 1 / (t + 1) for tokens 0 to t and 0 for later ones: each row must sum to 1",
    ),
    "no mask": (3, "return torch.ones(T, T) / T", "first wrong value at [0, 0]: expected 1.0000, found 0.2500"),
    "mask after softmax": (
        4,
        "T, hs = q.shape[-2:]\nreturn (q @ k.mT / math.sqrt(hs)).softmax(dim=-1).tril()",
        "the sums of the rows of attention_weights(q, k): first wrong value at [0, 0]: expected 1.0000, found",
    ),
    "keys not transposed": (
        4,
        "return (q @ k.transpose(0, 1)).softmax(dim=-1)",
        "RuntimeError",
    ),
    "weights of the wrong shape": (
        4,
        "return q.softmax(dim=-1)",
        "attention_weights(q, k): expected shape (2, 4, 4), found (2, 4, 8)",
    ),
    "no scaling": (
        4,
        "T = q.shape[-2]\nfuture = torch.ones(T, T, dtype=torch.bool).triu(1)\n"
        "return (q @ k.mT).masked_fill(future, -math.inf).softmax(dim=-1)",
        "Divide the scores by sqrt(hs)",
    ),
    "view without transpose": (
        5,
        "return x.view(B, n_head, T, C // n_head)",
        "split_heads(x, 2): first wrong value at [0, 0, 1, 0]: expected 8.0000, found 4.0000 (16 of 24 values differ)\n"
        "Head 0 has the first C / nh numbers of every token. A view as (B, nh, T, hs) mixes up tokens",
    ),
    "heads last": (5, "return x.view(B, T, n_head, C // n_head)", "expected shape (1, 2, 3, 4), found (1, 3, 2, 4)"),
    "no residual": (
        6,
        "x = self.attn(x)\nx = self.mlp(x)",
        "x must reach the head as it was: x = x + ..., not x = ...",
    ),
    "side by side": (6, "x = x + self.attn(x) + self.mlp(x)", "the MLP must see what attention has added"),
    "unbiased variance": (
        7,
        "mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True)\n"
        "return (x - mean) / (variance + 1e-5).sqrt() * self.weight + self.bias",
        "The variance is a mean: divide by C, not by C - 1",
    ),
    "no epsilon": (
        7,
        "mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)\n"
        "return (x - mean) / variance.sqrt() * self.weight + self.bias",
        "LayerNorm()(equal numbers): first wrong value at [0, 0, 0]: expected 0.0000, found nan",
    ),
    "no positions": (
        8,
        "x = self.wte(idx)\nfor block in self.h:\n    x = block(x)\nreturn self.lm_head(self.ln_f(x))",
        "GPT(5)(idx): first wrong value at [0, 0, 0]",
    ),
    "no final norm": (
        8,
        "x = self.wte(idx) + self.wpe(torch.arange(T))\nfor block in self.h:\n    x = block(x)\nreturn self.lm_head(x)",
        "then every block in order, then ln_f, then lm_head",
    ),
    "no warmup": (
        9,
        "return 0.5 * (1 + math.cos(math.pi * step / steps))",
        "rate(step) during warmup: value 0: wrong value: expected 0.0333, found 1.0000",
    ),
    "constant": (
        9,
        "return 1.0",
        "rate(steps): wrong value: expected 0.0000, found 1.0000\nThe last step has the rate 0",
    ),
    "new tokens first": (
        10,
        'if cache:\n    k = torch.cat([k, cache["k"]], dim=2)\n    v = torch.cat([v, cache["v"]], dim=2)\n'
        'cache["k"], cache["v"] = k, v',
        "Cached keys and values come first",
    ),
    "only the new ones kept": (
        10,
        'new = {"k": k, "v": v}\nif cache:\n    k = torch.cat([cache["k"], k], dim=2)\n'
        '    v = torch.cat([cache["v"], v], dim=2)\ncache.update(new)',
        "the logits after tokens one by one: first wrong value at",
    ),
}


@pytest.mark.parametrize(("number", "code", "words"), WRONG.values(), ids=WRONG)
def test_wrong_answers_are_explained(number: int, code: str, words: str) -> None:
    assert words in problems(number, code)


def test_errors_name_the_line() -> None:
    found = problems(3, "allowed = torch.ones(T, T).tril()\nreturn allowed / allowed.sum(dim=2)")
    line = fill(3, "").read_text("utf-8").splitlines().index("    # EXERCISE: " + chapters()[3].task) + 3
    assert f"line {line} failed: return allowed / allowed.sum(dim=2)\nIndexError: Dimension out of range" in found
    found = problems(3, "return torch.ones(T, T))")
    assert f"Python cannot read line {line - 1}: return torch.ones(T, T))\nSyntaxError: unmatched ')'" in found
    assert "SystemExit: 3" in problems(3, "raise SystemExit(3)")
    path = fill(3, "return torch.ones(T, T)")
    path.write_text("import torch\n", encoding="utf-8")
    assert "has no attribute 'average_weights'" in str(outcomes_of(3, path))


@pytest.mark.parametrize(
    ("expected", "found", "words"),
    [
        (torch.zeros(2, 4, 4), torch.zeros(2, 4, 8), "expected shape (2, 4, 4), found (2, 4, 8)"),
        (
            torch.full((1, 2, 3), 0.5),
            torch.tensor([[[0.5, 0.5, 0.5], [0.5, 0.3333, 0.5]]]),
            "first wrong value at [0, 1, 1]: expected 0.5000, found 0.3333 (1 of 6 values differ)",
        ),
        (torch.zeros(2), [0.0, 0.0], "expected a tensor of shape (2,), found a list"),
        (torch.zeros(2), torch.zeros(2, dtype=torch.long), "expected numbers of type float32, found int64"),
        ((torch.zeros(2), 1), (torch.zeros(3), 1), "value 0: expected shape (2,), found (3,)"),
        ((1, 2), (1, 2, 3), "expected 2 values, found 3"),
        (3, 4, "expected 3, found 4"),
        (0.5, torch.tensor(0.25), "wrong value: expected 0.5000, found 0.2500"),
        (torch.zeros(2), torch.zeros(2) + 1e-7, None),
        (True, True, None),
    ],
)
def test_differences_in_words(expected: object, found: object, words: str | None) -> None:
    assert difference(expected, found) == words


def test_learn_one_exercise(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """The way of a learner: list, write, check too early, answer wrongly, look, answer, list again."""
    monkeypatch.setattr("inkhorn.course.learner.TIME_LIMIT", 600)  # importing torch takes long on a busy machine
    assert run("learn") == 0
    assert "3  Attention by averaging (not started)" in capfd.readouterr().out
    assert run("learn", "3") == 0
    path = Exercise(chapters()[3]).path
    assert str(path) in capfd.readouterr().out
    assert run("learn", "3") == 1
    assert "is there already, with your work" in capfd.readouterr().err
    assert run("learn", "3", "--check") == 1
    assert "still says 'raise NotImplementedError': replace it" in capfd.readouterr().err

    fill(3, "return torch.ones(T, T).tril()").replace(path)
    assert run("learn", "3", "--check") == 1
    shown = capfd.readouterr().out
    assert "FAILED  average_weights(4): first wrong value at [1, 0]: expected 0.5000, found 1.0000" in shown
    assert "2 of 3 checks failed. To see the solution: inkhorn learn 3 --solution" in shown
    assert run("learn", "3", "--solution") == 0
    assert capfd.readouterr().out == chapters()[3].solution
    assert run("learn") == 0
    assert "3  Attention by averaging (started)" in capfd.readouterr().out

    path.write_text(chapters()[3].complete, encoding="utf-8")
    assert run("learn", "3", "--check") == 0
    assert "Chapter 3: all 3 checks passed." in capfd.readouterr().out
    assert run("learn") == 0
    assert "3  Attention by averaging (passed)" in capfd.readouterr().out
    path.write_text(path.read_text("utf-8") + "\n", encoding="utf-8")
    assert run("learn") == 0
    assert "3  Attention by averaging (changed since it passed)" in capfd.readouterr().out


def test_usage_errors(capfd: pytest.CaptureFixture[str]) -> None:
    assert run("learn", "99") == 2
    assert f"there is no chapter 99: the chapters are 1 to {len(NUMBERS)}" in capfd.readouterr().err
    assert run("learn", "--check") == 2
    assert run("learn", "1", "--check", "--solution") == 2
    assert run("learn", "1", "--check") == 1
    assert "inkhorn learn 1 writes it" in capfd.readouterr().err


def test_code_that_ends_or_blocks_python(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    assert run("learn", "3") == 0
    path = Exercise(chapters()[3]).path
    monkeypatch.setattr("inkhorn.course.learner.TIME_LIMIT", 600)
    fill(3, "import os; os._exit(0)").replace(path)
    assert run("learn", "3", "--check") == 1
    assert "ended Python before its checks were done (exit code 0)" in capfd.readouterr().err
    monkeypatch.setattr("inkhorn.course.learner.TIME_LIMIT", 0.2)
    assert run("learn", "3", "--check") == 1
    assert "did not end within 0.2 seconds: does a loop never end?" in capfd.readouterr().err
    path.write_bytes(b"\xff\xfe")
    assert run("learn", "3", "--check") == 1
    assert "is not UTF-8 text" in capfd.readouterr().err
    Path("inkhorn-course/progress.json").write_text(json.dumps([1]))
    assert run("learn") == 0
