"""Tests of `benchmarks/train_test_overlap.py`."""

import importlib
import json
import sys
from pathlib import Path

import pytest
from helpers.paths import ROOT

from inkhorn.data.text import TextSource
from inkhorn.tokenizer.base import END_OF_TEXT

sys.path.insert(0, str(ROOT / "benchmarks"))  # the benchmarks are scripts that import one another
overlap = importlib.import_module("train_test_overlap")

PLAY = "QUILL:\nThe ink is dry;\n\nFIRST CLERK:\nand so am I.\n"


def test_runs_do_not_cross_works() -> None:
    assert not overlap.passages({"x": "abcdef"}, overlap.works(f"abc{END_OF_TEXT}def", "y", {}), 4)
    assert not overlap.passages(overlap.works(f"abc{END_OF_TEXT}def", "y", {}), {"x": "abcdef"}, 4)


def test_works_are_named_by_title_or_number() -> None:
    assert overlap.works("a", "mine", {}) == {"mine": "a"}
    assert overlap.works(f"a{END_OF_TEXT}b", "mine", {"b": "hamlet"}) == {"mine 1": "a", "hamlet": "b"}


@pytest.mark.parametrize(("most", "code"), [(None, 0), (19, 0), (18, 1)])
def test_report_and_exit_code(
    most: int | None,
    code: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "mine.txt"
    file.write_text(PLAY + "\nQUILL:\nBut what is this?\n", encoding="utf-8")
    source = TextSource(name="tiny-shakespeare", pieces=lambda: [PLAY], val_pieces=lambda: ["Nothing of it.\n"])
    monkeypatch.setattr(overlap, "load_text_corpus", lambda name: source)
    flags = ["--corpus", "tiny-shakespeare", "--run", "12", *(["--fail-above", str(most)] if most else [])]

    def report(*more: str) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["overlap.py", *flags, *more])
        try:
            overlap.main()
        except SystemExit as ended:
            return int(str(ended.code)), capsys.readouterr().out
        return 0, capsys.readouterr().out

    ended, printed = report("--held-out", str(file))
    assert ended == code
    assert "19 letters of mine.txt, in tiny-shakespeare:\n    The ink is dry;\n\n    FIRST CLERK:\n" in printed
    facts = {"passages": 1, "held-out letters": 32, "letters in passages": 19, "share": 0.59375, "longest": 19}
    assert json.loads(printed.splitlines()[-1])["facts"] == facts

    ended, printed = report()
    assert ended == 0
    assert json.loads(printed.splitlines()[-1])["facts"]["passages"] == 0
