"""The commands of `benchmarks/voice_gpu.sh`, with a program in place of `inkhorn` that records them."""

import os
import subprocess
from pathlib import Path

import pytest
from helpers.paths import ROOT

from inkhorn.cli.eval import EvalArgs
from inkhorn.cli.parsing import parse
from inkhorn.cli.train_args import parse_args

SCRIPT = ROOT / "benchmarks" / "voice_gpu.sh"
RECORD = '#!/bin/bash\necho "$*" >> "$CALLS"\n[ "$1" != eval ] || echo "{}"\n'


def calls(folder: Path, *words: str) -> list[list[str]]:
    fake = folder / "bin" / "inkhorn"
    fake.parent.mkdir()
    fake.write_text(RECORD)
    fake.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{fake.parent}{os.pathsep}{os.environ['PATH']}",
        "CALLS": str(folder / "calls"),
        "INKHORN_CACHE": str(folder / "cache"),
        "SEEDS": "5 6",
    }
    command = ["bash", str(SCRIPT), "books.zst", str(folder / "out"), *words]
    subprocess.run(command, env=environment, check=True, capture_output=True, timeout=120)
    return [line.split() for line in (folder / "calls").read_text().splitlines()]


@pytest.mark.parametrize(
    ("corpus", "texts"),
    [
        ("period-shakespeare-dev", {"shakespeare-dev"}),
        ("period-shakespeare", {"shakespeare", "tiny-shakespeare"}),
        ("period-shakespeare-passages", {"shakespeare-passages"}),
    ],
)
def test_commands(corpus: str, texts: set[str], tmp_path: Path) -> None:
    found = calls(tmp_path, corpus, "70")
    assert found[0] == ["data", corpus, "--books", "books.zst"]
    trained = [words for words in found if words[0] == "train"]
    out = tmp_path / "out"
    assert {words[words.index("--out") + 1] for words in trained[:2]} == {str(out / f"teacher-{n}") for n in (5, 6)}
    assert trained[2][-3:] == ["--teachers", str(out / "teacher-5"), str(out / "teacher-6")]
    for words in trained:
        for teacher in words[words.index("--teachers") + 1 :] if "--teachers" in words else ():
            (Path(teacher)).mkdir(parents=True, exist_ok=True)
        flags = words[1 : words.index("--teachers")] if "--teachers" in words else words[1:]
        name, args = parse_args(flags)
        assert (name, args.corpus, args.train.steps, args.resume) == ("shakespeare", corpus, 70, True)
    scored = [parse(EvalArgs, words[1:], "inkhorn eval") for words in found if words[0] == "eval"]
    assert {args.corpus for args in scored} == texts
    assert {args.stride for args in scored} == {None, 256}
    models = {Path(args.model).name for args in scored}
    assert models == ({"student", "teacher-5", "teacher-6"} if corpus.endswith("-dev") else {"student"})
    assert (out / "scores.jsonl").read_text().count("{}") == len(scored)


def test_usage() -> None:
    done = subprocess.run(["bash", str(SCRIPT)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "BOOKS OUT [CORPUS] [STEPS]" in done.stdout
